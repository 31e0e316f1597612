"""Forms (multipart/form-data, RFC 7578) as objects, so that they have keys and records as JSON bodies do.

A field is its text, a file `{"file_data": …}` with a data URL of its content. Neither the boundary nor a file's name
and type are part of that, nor is the order of fields with different names.
"""

from __future__ import annotations

import base64
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from computer_use_cache.errors import FormatError

_HEADERS = HeaderParser()


def is_form(content_type: str) -> bool:
    """Whether a request of this content type is a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def parse(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a form by name; a name that occurs more than once has a list. Raises FormatError."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if not boundary:
        raise FormatError("the form names no boundary")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not parts or not parts.pop().startswith(b"--"):
        raise FormatError("the form has no end")
    fields: dict[str, list[Any]] = {}
    for part in parts:
        name, value = _field(part)
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _field(part: bytes) -> tuple[str, Any]:
    text, blank, content = part.partition(b"\r\n\r\n")
    head = _HEADERS.parsestr(text.strip().decode("utf-8", "replace"))
    name = head.get_param("name", header="content-disposition")
    if not blank or not isinstance(name, str):
        raise FormatError("a part of the form has no name")
    if head.get_filename() is None:
        try:
            return name, content.decode()
        except UnicodeDecodeError:
            pass
    return name, {"file_data": f"data:;base64,{base64.b64encode(content).decode()}"}
