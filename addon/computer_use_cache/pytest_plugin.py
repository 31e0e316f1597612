"""The pytest plugin under its earlier name, for projects that load it with `-p computer_use_cache.pytest_plugin`."""

import sys

from computer_use_cache.testing import pytest_plugin

sys.modules[__name__] = pytest_plugin
