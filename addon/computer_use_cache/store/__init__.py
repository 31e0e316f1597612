"""Where entries, requests, pictures, runs and counters are kept: on disk, or on Redis or Valkey."""
