"""One warning when something begins to fail and one line when it works again, not one for every request."""

from __future__ import annotations

import logging

from computer_use_cache.errors import StoreError

logger = logging.getLogger(__name__)


class Trouble:
    """What is told of one thing that can fail, from any thread; `what` begins the sentence."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = False

    def failed(self, error: Exception) -> None:
        """It did not work; what a store that is down has told itself is not told again."""
        level = error.level if isinstance(error, StoreError) else logging.WARNING
        logger.log(logging.DEBUG if self._told else level, "%s fails: %s", self._what, error)
        self._told = self._told or level == logging.WARNING

    def worked(self) -> None:
        """It did."""
        if self._told:
            self._told = False
            logger.warning("%s works again", self._what)
