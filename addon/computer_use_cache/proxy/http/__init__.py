"""HTTP/1.1 between clients, the proxy and upstreams, where mitmproxy's own is too slow or too strict."""
