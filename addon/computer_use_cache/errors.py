"""What can go wrong, as the core sees it.

CacheError
├── SettingError    a setting has a value that is not allowed; stops the start
├── RequestError    the client's request is refused here, with a status and a message for the client
├── FormatError     a body is not what its API sends, or cannot be turned into the other shape
└── StoreError      the store could not be opened, read or written
    └── StoreDown   its server does not answer, which the store has logged already
"""

import logging

from computer_use_cache.models import Skip


class CacheError(Exception):
    """The root of every exception this package raises on purpose."""


class SettingError(CacheError):
    """A setting's value is not allowed; the message names the setting, the value and what is allowed."""


class RequestError(CacheError):
    """The client's request is answered here with an error in the API's own form.

    `status` is the HTTP status, `message` is meant for the client, `param` names the field at fault
    (or is None) and `code` is the machine-readable word of OpenAI's error object (or None).
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class FormatError(CacheError):
    """A body is not complete, not well-formed, or not what its API sends: `reason` in one word, the message in full."""

    def __init__(self, message: str, reason: Skip = Skip.MALFORMED) -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(CacheError):
    """The store could not be opened, read or written; the message says what to do.

    `level` is the logging level for who catches it.
    """

    level = logging.WARNING


class StoreDown(StoreError):
    """The store's server does not answer. The store warns once, and says when it does again."""

    level = logging.DEBUG
