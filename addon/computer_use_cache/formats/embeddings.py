"""Embeddings: a request may be a batch, which is just its single inputs side by side.

So every input is one entry: a batch asks upstream only for inputs not seen before, and its answer is joined
from single ones. `encoding_format` is a shape, floats or base64 of the same numbers as little-endian float32.
Rules: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Sequence
from functools import reduce
from typing import Any, NoReturn

from computer_use_cache.errors import FormatError
from computer_use_cache.formats import findings
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_object
from computer_use_cache.formats.findings import Findings
from computer_use_cache.formats.openai import OpenAI
from computer_use_cache.models import Event, Query, Shape

Input = str | list[int]

_BASE64 = re.compile(rb'"embedding"\s*:\s*"')
_FLOATS = re.compile(rb'"embedding"\s*:\s*\[')
_TOO_LARGE = 1e300
"""Larger numbers could not be added."""
_SMALLEST_NORMAL = 2.0**-126


class Embeddings(OpenAI, Format):
    """The embeddings API, with the methods that take a batch apart and put it together.

    `inputs` are those of a batch, and `single` is the request for one of them, which has a key. `subset` is the request
    for those that are not stored; `split` cuts its answer into single ones, and `join` makes the whole answer.
    """

    name = "embeddings"
    operation = "embeddings"
    key_excluded = frozenset({"user", "cache_control", "metadata", "stream", "stream_options"})
    routes = ("/embeddings",)
    conversation = "input"
    answered = "data"
    usage_flavor = UsageFlavor("openai", "embeddings", ("embeddings",))
    answers_in_text = False
    _openai_fields = key_excluded | {"model", "input", "dimensions", "encoding_format"}

    def guessed_route(self, body: Json) -> str:
        return self.routes[0] if "input" in body and "embed" in str(body.get("model")) else ""

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        return Shape.JSON

    def key_body(self, body: Json) -> Json:
        """Without `encoding_format` where answers can be recoded; a batch of one is its only input."""
        kept = super().key_body(body)
        if self._is_recodable(body):
            kept.pop("encoding_format", None)
        if "input" in kept:
            inputs = _inputs(body)
            kept["input"] = inputs[0] if len(inputs) == 1 else body["input"]
        return kept

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        data = answer.get("data")
        if not isinstance(data, list) or not data:
            raise FormatError("the answer has no data")
        for item in data:
            if not isinstance(item, dict) or type(item.get("index")) is not int:
                raise FormatError("an embedding has no integer index")
            findings.refuse_error(item, "embedding")
            embedding = item.get("embedding")
            if not embedding or not (isinstance(embedding, str) or _holds_values(embedding)):
                raise FormatError("`data` holds something that is not an embedding")
        return Findings()

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> NoReturn:
        raise FormatError("embeddings are not streamed")

    def assemble(self, events: Sequence[Event]) -> NoReturn:
        raise FormatError("embeddings are not streamed")

    def explode(self, answer: Json, *, with_usage: bool) -> NoReturn:
        raise FormatError("embeddings are not streamed")

    def unasked_form(self, answer: bytes, request: Json) -> str:
        """Base64 that nobody asked for may hold other numbers than float32, so such an answer is replayed unchanged."""
        return _wanted(request) if self.adapts_answer(answer, request) else ""

    def adapts_answer(self, answer: bytes, request: Json) -> bool:
        """Whether an embedding is not in the encoding asked for.

        Most are, and decoding thousands of floats just to see that would take longer than the rest of a hit.
        """
        unwanted = _FLOATS if _wanted(request) == "base64" else _BASE64
        return self._is_recodable(request) and bool(unwanted.search(answer))

    def adapt_answer(self, answer: bytes, request: Json, asked_form: str = "") -> bytes:
        """The answer with each embedding in the encoding asked for; the same bytes if they are.

        Raises FormatError for numbers that are not float32, for base64 that is not of such numbers, and for an answer
        that came in a form that its own request had not asked for.
        """
        wanted = _wanted(request)
        if asked_form not in ("", wanted) and _BASE64.search(answer):
            raise FormatError("the recorded base64 was not asked for, so the kind of its numbers is not known")
        if asked_form == wanted or not self.adapts_answer(answer, request):
            return answer
        body = load_object(answer)
        for item in body["data"]:
            if wanted == "base64" and isinstance(item["embedding"], list):
                item["embedding"] = _to_base64(item["embedding"])
            elif wanted == "float" and isinstance(item["embedding"], str):
                item["embedding"] = _to_floats(item["embedding"])
        return dump(body)

    def inputs(self, request: Json) -> list[Input]:
        """The single inputs of a batch of at least two, in order; empty for every other request.

        Jina's `late_chunking` embeds each input in the context of the others, so such a batch is one input.
        """
        inputs = _inputs(request)
        return inputs if len(inputs) > 1 and not request.get("late_chunking") else []

    def single(self, request: Json, one: Input) -> Json:
        """The request for one input of a batch. Its `key_body` is that of a client's request for this input alone."""
        return request | {"input": one}

    def subset(self, request: Json, inputs: Sequence[Input]) -> Json:
        """The request to forward for some inputs of a batch: each once, in order."""
        return request | {"input": list({dump(one): one for one in inputs}.values())}

    def split(self, request: Json, answer: Json) -> list[Json]:
        """The answers to the single inputs of `request` (as it was forwarded), in its order.

        `answer` has passed `check_answer`. Numbers of the usage are shared out by the length of the inputs;
        the shares add up to the whole. Raises FormatError when the answer does not fit the inputs.
        """
        inputs = _inputs(request)
        data = sorted(answer["data"], key=lambda item: int(item["index"]))
        if [item["index"] for item in data] != list(range(len(inputs))):
            raise FormatError(f"{len(inputs)} inputs, but embeddings {[item['index'] for item in data]}")
        answers = [answer | {"data": [item | {"index": 0}]} for item in data]
        if isinstance(answer.get("usage"), dict):
            shares = _share_usage(answer["usage"], [max(len(one), 1) for one in inputs])
            answers = [single | {"usage": usage} for single, usage in zip(answers, shares, strict=True)]
        return answers

    def join(self, answers: Sequence[Json]) -> Json:
        """The answer to a batch from the answers to its inputs: the first one's fields, the sum of the usages."""
        data = [answer["data"][0] | {"index": index} for index, answer in enumerate(answers)]
        usages = [answer["usage"] for answer in answers if isinstance(answer.get("usage"), dict)]
        usage = {"usage": reduce(_add_usage, usages)} if usages else {}
        return answers[0] | {"data": data} | usage

    def _is_recodable(self, request: Json) -> bool:
        """Whether floats and base64 are two forms of one answer.

        Other providers' fields may ask for other numbers (`output_dtype`, `embedding_type`, ...), whose
        base64 is not that of float32; then `encoding_format` stays in the key and answers stay as they are.
        """
        return request.keys() <= self._openai_fields and request.get("encoding_format") in (None, "float", "base64")


def _wanted(request: Json) -> str:
    return request.get("encoding_format") or "float"


def _holds_values(embedding: Any) -> bool:
    """Whether it is a list of numbers, or of objects and lists as some providers send sparse and multiple vectors."""
    return isinstance(embedding, list) and None not in embedding


def _inputs(request: Json) -> list[Any]:
    """The inputs of a request, one when it is no batch."""
    value = request.get("input")
    if isinstance(value, list) and all(isinstance(one, str) or _is_tokens(one) for one in value):
        return list(value)
    return [value]


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _to_base64(numbers: list[Any]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    except (struct.error, OverflowError) as error:
        raise FormatError("an embedding holds something other than float32 numbers") from error


def _to_floats(encoded: str) -> list[float]:
    try:
        numbers = [number for (number,) in struct.iter_unpack("<f", base64.b64decode(encoded, validate=True))]
    except (struct.error, ValueError) as error:
        raise FormatError("an embedding is not base64 of float32 numbers") from error
    if not all(map(math.isfinite, numbers)):
        raise FormatError("an embedding holds a number that JSON cannot write")
    return [_shortest(number) for number in numbers]


def _shortest(number: float) -> float:
    """The number of fewest digits that rounds to the same float32 as `number`, as providers print it."""
    exact = struct.pack("<f", number)
    # No normal float32 needs fewer than 6 digits once `g` has dropped the zeros; none needs more than 9.
    fewest = 6 if abs(number) >= _SMALLEST_NORMAL else 1
    candidates = (float(f"{number:.{digits}g}") for digits in range(fewest, 10))
    return next(candidate for candidate in candidates if struct.pack("<f", candidate) == exact)


def _share_usage(usage: Json, weights: Sequence[int]) -> list[Json]:
    """A usage per weight; numbers are shared out, also inside objects, everything else is repeated."""
    shares: list[Json] = [{} for _ in weights]
    for name, value in usage.items():
        values: Sequence[Any] = [value] * len(weights)
        if isinstance(value, dict):
            values = _share_usage(value, weights)
        elif _is_number(value):
            values = _share(value, weights)
        for share, part in zip(shares, values, strict=True):
            share[name] = part
    return shares


def _share(whole: int | float, weights: Sequence[int]) -> list[int | float]:
    """`whole` in proportion to the weights, by largest remainder.

    A fraction (OpenRouter's `cost`) is counted in units of its last binary place: so counted, the shares
    are exact, and so is every sum of them.
    """
    units, exponent = int(whole), 0
    if isinstance(whole, float):
        mantissa, exponent = math.frexp(whole)
        units, exponent = int(mantissa * 2**53), exponent - 53
    total = sum(weights)
    shares = [units * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda position: -(units * weights[position] % total))
    for position in by_remainder[: units - sum(shares)]:
        shares[position] += 1
    return [math.ldexp(share, exponent) if isinstance(whole, float) else share for share in shares]


def _add_usage(left: Json, right: Json) -> Json:
    """The sum of two usages: numbers are added, also inside objects; anything else is taken from the left one."""
    total = dict(left)
    for name, value in right.items():
        before = total.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            total[name] = _add_usage(before, value)
        elif _is_number(before) and _is_number(value):
            total[name] = before + value
        elif before is None:
            total[name] = value
    return total


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _TOO_LARGE
