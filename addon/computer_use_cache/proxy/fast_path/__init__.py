"""Hits answered before mitmproxy makes a flow of the request. Everything else goes the normal way."""
