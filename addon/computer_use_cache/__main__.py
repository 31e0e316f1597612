"""`python -m computer_use_cache` is the same as `computer-use-cache`."""

from computer_use_cache.cli import run

run()
