"""mitmproxy's side. Hooks translate flows for the core and ask it; no rule about caching stands here."""
