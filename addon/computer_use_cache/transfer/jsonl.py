"""Entries as JSON lines, suited to a repository: one entry per line, sorted by key, the same entries as the same bytes.

A file that is read back may have been edited: a line is accepted only if this cache could have stored it exactly so.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.accounting import prices
from computer_use_cache.cache import judging, policy
from computer_use_cache.cache.cache import Cache
from computer_use_cache.credentials import places
from computer_use_cache.diagnosis import similarity
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import KEPT_HEADERS, helper_routes, walking
from computer_use_cache.formats.base import Format, Json, dump, load_object
from computer_use_cache.keys import canonical_json, key
from computer_use_cache.models import Entry, RequestRecord, Response, Shape, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from computer_use_cache.transfer import run_lines
from computer_use_cache.transfer.recordings import EXPORT_MARK, Damaged, Exported, Read

_VERSION = 1
_HEADING_OF_ANOTHER_VERSION = re.compile(rf'\s*{{\s*"{EXPORT_MARK}"\s*:(?!\s*{_VERSION}\s*[,}}])'.encode())
_TEMPLATE = re.compile(r"[!-~]{1,200}")
_MOST_SECONDS = 2**53
"""Larger integers are no exact floats, and their milliseconds are too many for a Redis server."""
_LINE_PER_BODY = 8
"""A line may have this many times the bytes of the largest request and answer: JSON escapes a byte with up to six."""


def lines(store: Store, chosen: Callable[[Entry], bool], now: float) -> Iterator[bytes]:
    """The chosen entries that are fresh at `now` (Unix seconds) as an export: a heading, then one line per entry.

    Raises StoreError.
    """
    yield dump({EXPORT_MARK: _VERSION}) + b"\n"
    for each in sorted(entry.key for entry in store.entries() if entry.format != helper_routes.NAME and chosen(entry)):
        entry = store.get(each)
        if entry and entry.is_fresh(now):
            yield dump(_line(entry, store.request(each))) + b"\n"


def write(path: Path, content: Iterable[bytes]) -> int:
    """Write an export to a file, all of it or nothing; returns how many entries and runs it has. Raises OSError."""
    count = -1  # the heading
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            for line in content:
                file.write(line)
                count += 1
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    return count


def _line(entry: Entry, record: RequestRecord | None) -> Json:
    line = {
        "key": entry.key,
        "format": entry.format,
        "model": entry.model,
        "namespace": entry.namespace,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
        "seconds": entry.seconds,
        "request": _request(record) if record else None,
        "shape": entry.shape,
        "with_usage": entry.with_usage,
        "headers": dict(sorted(entry.headers)),
        **text_or_base64("body", entry.body),
        "chunks": entry.chunks,
    }
    if entry.template:
        line |= {"template": entry.template, "bindings_base64": base64.b64encode(entry.bindings).decode()}
    return line


def text_or_base64(name: str, data: bytes) -> Json:
    """A member that holds a body: text, or base64 under `<name>_base64` if it is not UTF-8."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _request(record: RequestRecord) -> Json:
    return {
        "upstream": record.upstream,
        "path": record.path,
        "query": record.query,
        "headers": dict(sorted(record.headers)),
        "body": _document(record.body),
    }


def _document(body: bytes) -> Any:
    """A request's body as JSON, or as text where numbers would not survive that."""
    try:
        document = load_object(body)
        written, sent = map(canonical_json.parse_body, (dump(document), body))
        if canonical_json.canonical(written) == canonical_json.canonical(sent):
            return document
    except (FormatError, RequestError):
        pass
    return body.decode("utf-8", "replace")


def read(path: Path, into: Cache) -> Iterator[Read]:
    """The entries and runs in an export, checked against the settings of `into`."""
    return itertools.chain.from_iterable(read_line(line, into) for line in split(path, into.settings))


class Line(NamedTuple):
    """A line of an export, and where it stands."""

    where: str
    data: bytes
    is_cut: bool = False
    """True if the line is too long to be accepted; `data` is then only its beginning."""


def split(path: Path, settings: Settings) -> Iterator[Line]:
    """The lines of an export, counted from 1. Stops after a line that is cut, or the heading of another version."""
    longest = _LINE_PER_BODY * (settings.max_input_chars + settings.max_response_chars)
    with path.open("rb") as file:
        for number in itertools.count(1):
            if not (data := file.readline(longest)):
                return
            line = Line(f"{path}: line {number}", data, len(data) == longest and not data.endswith(b"\n"))
            yield line
            if line.is_cut or _HEADING_OF_ANOTHER_VERSION.match(data):
                return


def read_line(line: Line, into: Cache) -> Iterator[Read]:
    """What a line holds: nothing if it is a heading, a Damaged if it cannot be read."""
    try:
        if line.is_cut:
            raise FormatError("the line is too long")
        found = load_object(line.data)
        version = found.get(EXPORT_MARK)
        if run_lines.MEMBER in found:
            yield run_lines.read(found)
        elif version is None:
            yield _entry(found, into)
        elif version != _VERSION:
            raise FormatError(f"version {version} of an export is not supported")
    except (FormatError, RequestError) as error:
        yield Damaged(line.where, str(error))


def _entry(line: Json, into: Cache) -> Exported | Skipped:
    format = _format(line.get("format"))
    entry = Entry(
        key=_checked(line, "key", str, re.compile(r"[0-9a-f]{64}")),
        format=format.name,
        shape=_shape(line.get("shape")),
        model=_checked(line, "model", str),
        namespace=_checked(line, "namespace", str, policy.NAMESPACE),
        headers=_headers(line, KEPT_HEADERS),
        body=_body(line),
        created_at=_seconds(line, "created_at"),
        expires_at=None if line.get("expires_at") is None else _seconds(line, "expires_at"),
        seconds=_seconds(line, "seconds"),
        with_usage=_checked(line, "with_usage", bool),
        chunks=_chunks(line),
        template=_checked(line, "template", str, _TEMPLATE) if "template" in line else "",
        bindings=_base64(line, "bindings_base64") if "template" in line else b"",
    )
    if entry.chunks and sum(size for size, _ in entry.chunks) != len(entry.body):
        raise FormatError("the chunks do not add up to the body")
    if bypass := policy.model_verdict(entry.model, into.settings):
        return Skipped(str(bypass))
    answer = Response(200, dict(entry.headers), entry.body, entry.seconds, ended=True)
    verdict = judging.judge_answer(format, answer, entry.shape, into.settings)
    if isinstance(verdict, Skipped):
        return verdict
    if verdict.answer.shape is not entry.shape:
        raise FormatError(f"the shape is {entry.shape}, but the content type is for {verdict.answer.shape}")
    record = None if line.get("request") is None else _record(_checked(line, "request", dict), entry, format, into)
    if isinstance(record, Skipped):
        return record
    upstream = record.upstream if record else ""
    cost = prices.cost_of(verdict.answer, upstream, entry.model, seconds=entry.seconds, now=entry.created_at)
    is_json = entry.shape is Shape.JSON
    entry = replace(
        entry.costing(cost),
        offline_only=verdict.offline_only,
        usable_until=verdict.usable_until,
        asked_form=format.unasked_form(entry.body, load_object(record.body)) if record and is_json else "",
    )
    return Exported(entry, record)


def _record(request: Json, entry: Entry, format: Format, into: Cache) -> RequestRecord | Skipped:
    body: Any = request.get("body")
    if isinstance(body, str):
        data = body.encode("utf-8", "replace")
    else:
        data = canonical_json.write(_checked(request, "body", dict), lambda: body)
    path = _checked(request, "path", str)
    if format.match(path) is None:
        raise FormatError(f"the request's path does not belong to {format.name}")
    if len(data) > into.settings.max_input_chars:
        return Skipped("request is larger than CACHE_MAX_INPUT_CHARS")
    parsed = canonical_json.parse_body(data)
    if places.part(parsed).credentials:
        return Skipped("request holds a credential: a tool's")
    if kind := into.kind_of_credential(walking.texts(parsed)):
        return Skipped(f"request holds a credential: {kind}")
    # Only the key knows the scope; near entries are searched for among shared ones.
    group = ("", entry.namespace, "1", format.name)
    return RequestRecord(
        upstream=_checked(request, "upstream", str),
        path=path,
        query=_checked(request, "query", str),
        headers=_headers(request, key.RELEVANT_HEADERS),
        body=data,
        parts=similarity.parts(format, group, into.keying.key_body(format, parsed)),
    )


def _checked(line: Json, name: str, kind: type[Any], pattern: re.Pattern[str] | None = None) -> Any:
    value: Any = line.get(name)
    if type(value) is not kind or (pattern and not pattern.fullmatch(value)):
        raise FormatError(f"{name} is missing or malformed")
    return value


def _format(name: object) -> Format:
    try:
        return formats.by_name(str(name))
    except KeyError:
        raise FormatError(f"format {name!r} is not known") from None


def _shape(name: object) -> Shape:
    try:
        return Shape(str(name))
    except ValueError:
        raise FormatError(f"shape {name!r} is not one of {', '.join(Shape)}") from None


def _seconds(line: Json, name: str) -> float:
    value: Any = line.get(name)
    if type(value) not in (int, float) or not 0 <= value <= _MOST_SECONDS:
        raise FormatError(f"{name} is not a number of seconds")
    seconds: float = value
    return seconds


def _headers(line: Json, known: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Checked strictly because they are sent to clients: a value must not be able to end a header line."""
    headers = _checked(line, "headers", dict)
    for name, value in headers.items():
        if name not in known or not isinstance(value, str) or not re.fullmatch(r"[\t -~]*", value):
            raise FormatError(f"header {name!r} is not a recorded one, or its value is malformed")
    return tuple(sorted(headers.items()))


def _body(line: Json) -> bytes:
    if "body_base64" in line:
        return _base64(line, "body_base64")
    try:
        body: bytes = _checked(line, "body", str).encode()
    except ValueError:
        raise FormatError("the body is neither text nor base64") from None
    return body


def _base64(line: Json, name: str) -> bytes:
    try:
        return base64.b64decode(_checked(line, name, str), validate=True)
    except ValueError:
        raise FormatError(f"{name} is not base64") from None


def _chunks(line: Json) -> tuple[tuple[int, int], ...]:
    chunks = _checked(line, "chunks", list)
    for chunk in chunks:
        if not isinstance(chunk, list) or [type(part) for part in chunk] != [int, int] or min(chunk) < 0:
            raise FormatError("chunks are not pairs of bytes and milliseconds")
    return tuple((size, pause) for size, pause in chunks)
