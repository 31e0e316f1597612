"""The requests and answers used for all measurements, generated from a seed.

A request is a template around a number of nine digits, so that distinct requests cost nothing to make.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from computer_use_cache.cache.cache import Cache
from computer_use_cache.diagnosis import request_record
from computer_use_cache.models import Entry, Request, Response, Shape
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

MODEL = "gpt-bench"
CHAT_PATH = "/chat/completions"
DIGITS = 9
LAST_WORDS = "Then say what the next step is, and why."
"""The last message of every request."""
_NUMBER = "#" * DIGITS
_IMAGE_BYTES = {"S": 0, "M": 34_000, "L": 900_000}
_WORDS = re.findall(
    r"\w+",
    "the a of to and click open window button form field value page list item error result file name next then "
    "search scroll type press select menu login table row column report invoice customer order total date check "
    "because which should already visible below above first second please now done step plan screenshot shows",
)


def text(chance: random.Random, length: int) -> str:
    """A text of this length, of words and some numbers."""
    made = ""
    while len(made) < length:
        made += f"{chance.choice(_WORDS)} {chance.randrange(1000) if chance.random() < 0.1 else chance.choice(_WORDS)} "
    return made[:length]


def template(size: str, *, stream: bool = False) -> tuple[bytes, bytes]:
    """The parts before and after the number in a chat request with tools: S has 4 KB, M 50 kB, L 1.2 MB."""
    chance = random.Random(size)
    content: list[dict[str, Any]] = [{"type": "text", "text": f"{text(chance, 400)} {_NUMBER} {text(chance, 200)}"}]
    if _IMAGE_BYTES[size]:
        data = base64.b64encode(chance.randbytes(_IMAGE_BYTES[size])).decode()
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    tools = [_tool(chance, name) for name in ("click", "type", "scroll", "screenshot")]
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": text(chance, 1100)},
            {"role": "user", "content": content},
            {"role": "assistant", "content": text(chance, 120)},
            {"role": "user", "content": LAST_WORDS},
        ],
        "tools": tools,
        "temperature": 0,
    }
    if stream:
        body["stream"] = True
    written = json.dumps(body, ensure_ascii=False, separators=(",", ":"))  # as the SDKs write it
    before, _, after = written.encode().partition(_NUMBER.encode())
    return before, after


def _tool(chance: random.Random, name: str) -> dict[str, Any]:
    properties = {word: {"type": "string", "description": text(chance, 60)} for word in ("target", "value")}
    schema = {"type": "object", "properties": properties, "required": ["target"]}
    return {"type": "function", "function": {"name": name, "description": text(chance, 80), "parameters": schema}}


def request_body(size: str, number: int) -> bytes:
    """The request with this number."""
    before, after = template(size)
    return before + digits(number) + after


def digits(number: int) -> bytes:
    """A number as written in a request."""
    return b"%0*d" % (DIGITS, number)


def answer(number: int = 0) -> bytes:
    """A chat completion of 1.5 KB, with another text for each number."""
    chance = random.Random(number)
    message = {"role": "assistant", "content": text(chance, 1090)}
    whole = {
        "id": f"chatcmpl-{chance.getrandbits(64):016x}",
        "object": "chat.completion",
        "created": 1700000000 + number,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1000 + number % 100, "completion_tokens": 300, "total_tokens": 1300 + number % 100},
    }
    return json.dumps(whole, indent=2).encode()  # as OpenAI writes it


def entries(numbers: range) -> Iterator[Entry]:
    """Entries with generated keys, for measurements of the store alone."""
    answers = [answer(number) for number in range(500)]
    headers = (("content-type", "application/json"),)
    for number in numbers:
        body, at = answers[number % len(answers)], 1700000000.0 + number
        yield Entry(key(number), "chat_completions", Shape.JSON, MODEL, "", headers, body, at, None, 1.0)


def key(number: int) -> str:
    """The key of one of `entries`."""
    return hashlib.sha256(digits(number)).hexdigest()


def fill(folder: Path, upstream: str, size: str, numbers: range) -> int:
    """Store these requests and their answers as a proxy would. Returns the size of both as JSON."""
    settings = Settings.load({"UPSTREAM_BASE_URL": upstream, "CACHE_DIR": str(folder)})
    store = DiskStore(folder, 2**40)
    cache = Cache(settings, store, loopback=True)
    before, after = template(size)
    total = 0
    for number in numbers:
        body = before + digits(number) + after
        plan = cache.plan(Request(upstream, CHAT_PATH, (), {"content-type": "application/json"}, body))
        said = Response(200, {"content-type": "application/json"}, answer(number), 1.0)
        kept = cache.judge(plan, said, time.time())
        assert isinstance(kept, Entry), kept
        cache.keep(kept, time.time(), request_record.record(cache, plan))
        total += len(body) + len(said.body)
    store.close()
    return total
