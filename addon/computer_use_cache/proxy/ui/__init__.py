"""What mitmproxy's user interfaces show of the cache: comments on flows, content views and commands."""
