"""For users' tests: the pytest plugin, and the cassette that it records."""
