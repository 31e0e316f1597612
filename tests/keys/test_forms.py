"""Forms: what is sent in them has a key and a record, in whatever way a client writes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.replay import replay
from computer_use_cache.diagnosis import audit
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.errors import FormatError
from computer_use_cache.keys import forms
from computer_use_cache.models import Bypass, Entry, Reason, Request, Response, Shape, Skip, Skipped
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import jsonl

NOW = 1_800_000_000.0
SOUND = bytes(range(256)) * 8 + b"\r\n--sound\xff"
type Parts = tuple[tuple[str, bytes], ...]
FILE = '; name="file"; filename="a.wav"'
MODEL = ('; name="model"', b"whisper-1")
PARTS: Parts = ((FILE, SOUND), MODEL)


def form(parts: Parts, boundary: str = "b0undary", more: str = "") -> bytes:
    head = b"--" + boundary.encode() + b"\r\nContent-Disposition: form-data"
    pieces = [head + name.encode() + more.encode() + b"\r\n\r\n" + content + b"\r\n" for name, content in parts]
    return b"".join(pieces) + b"--" + boundary.encode() + b"--\r\n"


def request(body: bytes, boundary: str = "b0undary", path: str = "/audio/transcriptions") -> Request:
    headers = {"content-type": f'multipart/form-data; boundary="{boundary}"'}
    return Request("https://api.example/v1", path, (), headers, body)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskStore]:
    """One for all tests: to make one takes most of a second."""
    opened = DiskStore(tmp_path_factory.mktemp("store"), 2**24)
    yield opened
    opened.close()


@pytest.fixture
def core(store: DiskStore) -> Cache:
    store.clear()
    return Cache(Settings.load({}), store, loopback=True)


def test_a_field_is_its_text_and_a_file_its_content() -> None:
    parsed = forms.parse("multipart/form-data; boundary=b0undary", form((*PARTS, ("; name=x", b""), MODEL)))
    assert parsed == {
        "file": {"file_data": f"data:;base64,{base64.b64encode(SOUND).decode()}"},
        "model": ["whisper-1", "whisper-1"],
        "x": "",
    }


@pytest.mark.parametrize(
    "same",
    [
        request(form(PARTS, "an-other"), "an-other"),
        request(form(PARTS[::-1])),
        request(form((('; name="file"; filename="b.mp3"', SOUND), MODEL))),
        request(form(PARTS, more="\r\nContent-Type: application/octet-stream")),
        request(form((*PARTS, ('; name="user"', b"u")))),
    ],
    ids=["boundary", "order of names", "file name", "type of a part", "user"],
)
def test_the_same_form_written_otherwise_has_the_same_key(core: Cache, same: Request) -> None:
    assert core.plan(same).key == core.plan(request(form(PARTS))).key


@pytest.mark.parametrize(
    "other",
    [
        request(form(((FILE, SOUND + b"."), MODEL))),
        request(form(((FILE, SOUND), ('; name="model"', b"whisper-2")))),
        request(form((('; name="other"; filename="a.wav"', SOUND), MODEL))),
        request(form((*PARTS, ('; name="language"', b"no")))),
        request(form((*PARTS, MODEL))),
        request(form(PARTS), path="/audio/translations"),
    ],
    ids=["file", "field", "name", "more", "twice", "path"],
)
def test_another_form_has_another_key(core: Cache, other: Request) -> None:
    assert core.plan(other).key != core.plan(request(form(PARTS))).key


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form(PARTS)),
        ("multipart/form-data; boundary=other", form(PARTS)),
        ("multipart/form-data; boundary=b0undary", form(PARTS)[:-12]),
        ("multipart/form-data; boundary=b0undary", form((("", b"x"),))),
        ("multipart/form-data; boundary=b0undary", b""),
    ],
)
def test_an_incomplete_form_bypasses_the_cache_unchanged(core: Cache, content_type: str, body: bytes) -> None:
    with pytest.raises(FormatError):
        forms.parse(content_type, body)
    plan = core.plan(Request("https://api.example/v1", "/images/edits", (), {"content-type": content_type}, body))
    assert isinstance(plan.verdict, Bypass)
    assert plan.verdict.reason is Reason.FORM
    assert plan.forward == body


SUBTITLES = b"WEBVTT\n\n00:00.000 --> 00:01.000\n\xef\xbb\xbfH\xc3\xa6\n"


@pytest.mark.parametrize(
    ("more", "content_type", "answer"),
    [
        ((), "application/json", b'{"text": "Good morning."}'),
        ((('; name="response_format"', b"vtt"),), "text/vtt; charset=utf-8", SUBTITLES),
        ((('; name="stream"', b"true"),), "text/event-stream", b'data: {"type": "transcript.text.done"}\n\n'),
    ],
    ids=["json", "bytes", "stream"],
)
def test_a_transcript_is_replayed_byte_for_byte(core: Cache, more: Parts, content_type: str, answer: bytes) -> None:
    plan = core.plan(request(form((*PARTS, *more))))
    assert plan.forward == form((*PARTS, *more))
    entry = core.judge(plan, Response(200, {"content-type": content_type}, answer, 1.0, ended=True), NOW)
    assert isinstance(entry, Entry), entry
    core.keep(entry, NOW, record(core, plan))
    found = core.lookup(core.plan(request(form((*more, *PARTS), "again"), "again")), NOW)
    assert isinstance(found, Entry)
    assert replay(plan, found) == [answer]


def test_sound_survives_store_record_and_export(core: Cache, tmp_path: Path) -> None:
    body = json.dumps({"model": "tts-1", "input": "Good morning.", "voice": "alloy"}).encode()
    plan = core.plan(Request("https://api.example/v1", "/audio/speech", (), {}, body))
    assert plan.shape is Shape.RAW
    answer = Response(200, {"content-type": "audio/mpeg"}, SOUND, 1.0, ended=True)
    entry = core.judge(plan, answer, NOW)
    assert isinstance(entry, Entry), entry
    core.keep(entry, NOW, record(core, plan))
    assert replay(plan, entry) == [SOUND]
    file = tmp_path / "export.jsonl"
    jsonl.write(file, jsonl.lines(core.store, lambda _: True, NOW))
    (exported,) = jsonl.read(file, core)
    assert not isinstance(exported, Skipped | jsonl.Damaged), exported
    assert exported.entry == entry


@pytest.mark.parametrize(
    ("content_type", "body", "ended", "reason"),
    [
        ("audio/mpeg", SOUND, False, Skip.UNFINISHED),
        ("text/html", b"<h1>Log in</h1>", True, Skip.CONTENT_TYPE),
        ("application/json", b'{"error": {"message": "no"}}', True, Skip.ERROR),
    ],
)
def test_incomplete_sound_is_not_kept(core: Cache, content_type: str, body: bytes, ended: bool, reason: Skip) -> None:
    plan = core.plan(Request("https://api.example/v1", "/audio/speech", (), {}, b'{"input": "a"}'))
    skipped = core.judge(plan, Response(200, {"content-type": content_type}, body, 1.0, ended=ended), NOW)
    assert isinstance(skipped, Skipped)
    assert skipped.reason is reason


def test_the_record_of_a_form_is_json_and_is_not_asked_again(core: Cache) -> None:
    plan = core.plan(request(form(PARTS)))
    answer = Response(200, {"content-type": "application/json"}, b'{"text": "Hi."}', 1.0)
    entry = core.judge(plan, answer, NOW)
    assert isinstance(entry, Entry)
    core.keep(entry, NOW, record(core, plan))
    kept = core.store.request(entry.key)
    assert kept is not None
    assert json.loads(kept.body)["model"] == "whisper-1"
    assert b"sha256:" in kept.body
    asked = audit.question(core.store, entry, core.settings)
    assert isinstance(asked, Skipped)
