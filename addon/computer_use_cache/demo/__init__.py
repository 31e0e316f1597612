"""What `computer-use-cache demo` runs: an agent, and a server in a model's place. Neither knows of the cache."""
