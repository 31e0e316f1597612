"""Starting proxies: `start`'s master process, workers and companions, their environment and authorities."""
