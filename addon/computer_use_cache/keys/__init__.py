"""Which requests are the same: canonical JSON, normalisers, the upstream's name, and the key made of them."""
