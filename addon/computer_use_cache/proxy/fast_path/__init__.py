"""Hits answered before mitmproxy makes a flow of the request. Everything else takes the normal path."""
