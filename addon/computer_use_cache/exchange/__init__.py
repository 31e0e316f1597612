"""One request from its arrival to its one outcome. exchange.py holds the states; nothing here knows mitmproxy."""
