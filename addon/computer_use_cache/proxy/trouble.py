"""One warning when something begins to fail and one line when it works again, not one for every request."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class Trouble:
    """What is told of one thing that can fail, from any thread; `what` begins the sentence."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failing = False

    def failed(self, error: Exception) -> None:
        """It did not work."""
        logger.log(logging.DEBUG if self._failing else logging.WARNING, "%s fails: %s", self._what, error)
        self._failing = True

    def worked(self) -> None:
        """It did."""
        if self._failing:
            self._failing = False
            logger.warning("%s works again", self._what)
