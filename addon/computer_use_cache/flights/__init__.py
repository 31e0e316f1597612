"""Identical requests in flight: one leads and asks upstream, the others follow its answer, also across machines."""
