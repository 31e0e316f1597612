"""One worker: `python -m computer_use_cache.launch.worker_main` with mitmdump's command line."""

from __future__ import annotations

import sys

from computer_use_cache.launch import launcher, workers

if __name__ == "__main__":
    workers.end_with_parent()
    sys.exit(launcher.mitmdump(sys.argv[1:], shares_port=True))
