"""One worker: `python -m computer_use_cache.proxy.worker` with mitmdump's command line."""

from __future__ import annotations

import sys

from computer_use_cache.proxy import launch, workers

if __name__ == "__main__":
    workers.end_with_parent()
    sys.exit(launch.mitmdump(sys.argv[1:], shares_port=True))
