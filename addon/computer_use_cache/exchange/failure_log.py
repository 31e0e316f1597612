"""Logs a failure once and its recovery once, not once for every request."""

from __future__ import annotations

import logging

from computer_use_cache.errors import StoreError

logger = logging.getLogger(__name__)


class FailureLog:
    """The failures of one activity, from any thread; `activity` begins the log line."""

    def __init__(self, activity: str) -> None:
        self._activity = activity
        self._is_failing = False

    def failed(self, error: Exception) -> None:
        """The activity failed. A store that is down has already been logged by the store."""
        level = error.level if isinstance(error, StoreError) else logging.WARNING
        logger.log(logging.DEBUG if self._is_failing else level, "%s fails: %s", self._activity, error)
        self._is_failing = self._is_failing or level == logging.WARNING

    def worked(self) -> None:
        """The activity succeeded."""
        if self._is_failing:
            self._is_failing = False
            logger.warning("%s works again", self._activity)
