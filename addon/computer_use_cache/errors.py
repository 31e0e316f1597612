"""The exceptions that this package raises on purpose.

CacheError
├── SettingError    a setting has an invalid value, so the proxy does not start
├── RequestError    the cache refuses the client's request, with a status and a message for the client
├── FormatError     a body is not valid for its API, or cannot be converted to the requested shape
└── StoreError      the store cannot be opened, read or written
    ├── StoreDown    the store's server does not respond; the store has logged this already
    └── StoreClosed  the store is about to be closed
"""

import logging

from computer_use_cache.models import Skip


class CacheError(Exception):
    """Base class of all exceptions that this package raises on purpose."""


class SettingError(CacheError):
    """A setting has an invalid value. The message names the setting, the value and what is allowed."""


class RequestError(CacheError):
    """The cache refuses a request, with an error in the form that the API's clients expect.

    `status` is the HTTP status and `message` is written for the client. `param` names the offending field, and `code`
    is the machine-readable code in OpenAI's error object.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class FormatError(CacheError):
    """A body is incomplete, malformed, or not valid for its API. `reason` is a category, the message has details."""

    def __init__(self, message: str, reason: Skip = Skip.MALFORMED) -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(CacheError):
    """The store cannot be opened, read or written. The message says what to do.

    Handlers log it at `level`.
    """

    level = logging.WARNING


class StoreDown(StoreError):
    """The store's server does not respond. The store itself logs the outage once and the recovery once."""

    level = logging.DEBUG


class StoreClosed(StoreError):
    """Work that takes many transactions was interrupted, because the store is about to be closed."""

    level = logging.DEBUG

    def __init__(self) -> None:
        super().__init__("the store is being closed")
