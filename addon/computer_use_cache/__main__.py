"""Makes `python -m computer_use_cache` run the command line."""

from computer_use_cache.cli import run

run()
