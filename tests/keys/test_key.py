"""Two equivalent requests share a key, two different ones never do: tables of both kinds, and the rule itself
checked on generated JSON against a slow oracle that works on exact fractions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from computer_use_cache.cache.cache import Cache
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.keys.canonical_json import canonical, parse_body
from computer_use_cache.keys.key import RELEVANT_HEADERS, relevant_headers, relevant_query, remove_pointers
from computer_use_cache.keys.upstream import query_of
from computer_use_cache.models import Request
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore

type KeyOf = Callable[..., str]
type Draw = Callable[..., Any]


@pytest.fixture(scope="module")
def key_of(tmp_path_factory: pytest.TempPathFactory) -> KeyOf:
    """The key that a cache with these environment variables plans for a request."""
    store = DiskStore(tmp_path_factory.mktemp("store"), 2**20)

    def compute(request: Request, *, loopback: bool = True, **environment: str) -> str:
        key = Cache(Settings.load(environment), store, loopback=loopback).plan(request).key
        assert key, "the request was expected to be cacheable"
        return key

    return compute


def request(body: str, path: str = "/chat/completions", **headers: str) -> Request:
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("https://api.example/v1", path, (), lower, body.encode())


def chat(*members: str, **headers: str) -> Request:
    body = ('"model": "m"', '"messages": [{"role": "user", "content": "hi"}]', *members)
    return request("{" + ", ".join(body) + "}", **headers)


def anthropic(*members: str, content: str = '"hi"') -> Request:
    body = ('"model": "m"', f'"messages": [{{"role": "user", "content": {content}}}]', *members)
    return request("{" + ", ".join(body) + "}", "/messages")


def drawn(**headers: str) -> Request:
    """A request to a model of Bedrock that draws."""
    return request('{"prompt": "a cat"}', "/model/stability.sd3-large-v1:0/invoke", **headers)


def asking(query: str) -> Request:
    return replace(chat(), query=query_of(query))


def nested(depth: int, inside: str = "", space: str = "") -> str:
    return f"[{space}" * depth + inside + f"{space}]" * depth


SAME_VALUES = [
    pytest.param('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', id="member order"),
    pytest.param('{"a":[1,2]}', ' {\n"a" :\t[ 1 , 2 ]\r} ', id="white space"),
    pytest.param('"\\u00e9\\/\\u000a"', '"é/\\n"', id="escapes"),
    pytest.param('"\\ud83d\\ude00"', '"😀"', id="surrogate pair"),
    pytest.param('{"\\u0061": 1}', '{"a": 1}', id="escape in a name"),
    pytest.param("1", "1.0", id="1 = 1.0"),
    pytest.param("1", "1e0", id="1 = 1e0"),
    pytest.param("1", "10E-1", id="1 = 10E-1"),
    pytest.param("100", "1e+2", id="100 = 1e+2"),
    pytest.param("0.1", "1e-1", id="0.1 = 1e-1"),
    pytest.param("0.1", "0.1000", id="0.1 = 0.1000"),
    pytest.param("0", "-0.0", id="0 = -0.0"),
    pytest.param("0", "0e5", id="0 = 0e5"),
    pytest.param("-0", "0.000", id="-0 = 0.000"),
    pytest.param("9007199254740993", "9007199254740993.0", id="beyond 2**53"),
    pytest.param("18446744073709551615", "18446744073709551615.0", id="2**64-1"),
    pytest.param("18446744073709551616", "18446744073709551616.0", id="2**64 as a fraction"),
    pytest.param("18446744073709551616", "1844674407370955161.6e1", id="2**64 with an exponent"),
    pytest.param("-9223372036854775809", "-9.223372036854775809e18", id="below -2**63"),
    pytest.param("-9223372036854775808", "-9.223372036854775808e18", id="-2**63"),
    pytest.param("1" + "0" * 30, "1e30", id="10**30"),
    pytest.param("1e400", "10e399", id="beyond a double"),
    pytest.param('["\\ud800", 0.5]', '["\\uD800", 5e-1]', id="lone surrogate beside a fraction"),
    pytest.param("[18446744073709551616, 0.5]", "[18446744073709551616.0, 5e-1]", id="big integer beside a fraction"),
    pytest.param(nested(300), nested(300, space=" "), id="deep nesting"),
    pytest.param(nested(300, "0.5"), nested(300, "5e-1"), id="fraction in deep nesting"),
]

DIFFERENT_VALUES = [
    pytest.param("9007199254740992", "9007199254740993", id="neighbours beyond 2**53"),
    pytest.param("9007199254740992.0", "9007199254740993.0", id="neighbouring fractions beyond 2**53"),
    pytest.param("18446744073709551616", "18446744073709551617", id="neighbours beyond 2**64"),
    pytest.param("0.1", "0.1000000000000000001", id="neighbours in one double"),
    pytest.param("1e400", "1e401", id="beyond a double"),
    pytest.param("1e-400", "0", id="below a double"),
    pytest.param("1", "-1", id="sign"),
    pytest.param("0.5", "-0.5", id="sign of a fraction"),
    pytest.param("1", "true", id="1 and true"),
    pytest.param("0", "false", id="0 and false"),
    pytest.param("1", '"1"', id="1 and its text"),
    pytest.param("0.5", '"5e-1"', id="fraction and its text"),
    pytest.param("true", '"true"', id="true and its text"),
    pytest.param("null", '"null"', id="null and its text"),
    pytest.param("null", "false", id="null and false"),
    pytest.param("null", '""', id="null and nothing written"),
    pytest.param("[]", "{}", id="empty array and object"),
    pytest.param("[]", "[[]]", id="depth"),
    pytest.param(nested(300), nested(301), id="great depth"),
    pytest.param('"\u00e9"', '"e\u0301"', id="NFC and NFD"),
    pytest.param('"K"', '"\u212a"', id="compatibility"),
    pytest.param('"A"', '"a"', id="case"),
    pytest.param('"a b"', '"a  b"', id="white space in a string"),
    pytest.param('"\\\\u0061"', '"\\u0061"', id="escaped backslash"),
    pytest.param("[1, 2]", "[2, 1]", id="array order"),
    pytest.param("[[1], 2]", "[1, [2]]", id="where brackets stand"),
    pytest.param('["a,b"]', '["a", "b"]', id="comma in a string"),
    pytest.param('{"a": "b"}', '{"a": ["b"]}', id="string and array of it"),
    pytest.param('"\\ud800"', '"\\ud801"', id="lone surrogates"),
    pytest.param('"\\ud800"', '"\\ufffd"', id="lone surrogate and replacement character"),
    pytest.param(f'"{"x" * 100_000}a"', f'"{"x" * 100_000}b"', id="last character of a long string"),
]


@pytest.mark.parametrize(("one", "other"), SAME_VALUES)
def test_equal_values_share_a_key(key_of: KeyOf, one: str, other: str) -> None:
    assert key_of(chat(f'"x": {one}')) == key_of(chat(f'"x": {other}'))


@pytest.mark.parametrize(("one", "other"), DIFFERENT_VALUES)
def test_different_values_have_different_keys(key_of: KeyOf, one: str, other: str) -> None:
    assert key_of(chat(f'"x": {one}')) != key_of(chat(f'"x": {other}'))


CALL = chat()
BLOCKS = {
    "text": '[{"type": "text", "text": "a"@}]',
    "tool result": '[{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a"@}]}]',
    "document": '[{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"@}]}}]',
    "search result": '[{"type": "search_result", "title": "t", "content": [{"type": "text", "text": "a"@}]}]',
}
MARK = ', "cache_control": {"type": "ephemeral"}'

SAME_REQUESTS = [
    pytest.param(CALL, chat('"stream": true'), id="stream"),
    pytest.param(CALL, chat('"stream": false'), id="no stream"),
    pytest.param(CALL, chat('"stream": true', '"stream_options": {"include_usage": true}'), id="stream options"),
    pytest.param(CALL, chat('"cache": true'), id="our cache"),
    pytest.param(CALL, chat('"cache_control": {"enabled": true}'), id="our cache_control"),
    pytest.param(CALL, chat('"cache_control": {"type": "ephemeral"}'), id="cache_control at the top"),
    pytest.param(CALL, chat('"metadata": {"cache": true, "run": "7"}'), id="metadata"),
    pytest.param(chat('"user": "a"'), chat('"user": "b"'), id="user"),
    pytest.param(CALL, chat('"safety_identifier": "a"'), id="safety identifier"),
    pytest.param(CALL, chat('"prompt_cache_key": "a"'), id="prompt cache key"),
    pytest.param(CALL, chat('"prompt_cache_retention": "24h"'), id="prompt cache retention"),
    pytest.param(CALL, chat(x_cache_sample="1"), id="sample 1 is none"),
    pytest.param(CALL, chat(x_cache_ttl="5"), id="TTL"),
    pytest.param(CALL, chat(x_cache_mode="readonly"), id="mode"),
    pytest.param(CALL, chat(cache_control="no-cache"), id="Cache-Control"),
    pytest.param(CALL, chat(authorization="Bearer a"), id="credential in shared scope"),
    pytest.param(CALL, chat(user_agent="a", x_request_id="b"), id="other headers"),
    pytest.param(CALL, asking("key=a"), id="credential in the query"),
    pytest.param(asking("access_token=a"), asking("subscription-key=b&api-key=c"), id="other credentials in the query"),
    pytest.param(CALL, asking("alt=sse"), id="shape in the query"),
    pytest.param(asking("a=1&b=2"), asking("b=2&a=1"), id="order of query parameters"),
    pytest.param(chat(anthropic_beta="a,b"), chat(anthropic_beta="a, b"), id="white space in a list of betas"),
    pytest.param(anthropic(), anthropic('"metadata": {"user_id": "u"}'), id="Messages: metadata"),
    pytest.param(anthropic(), anthropic('"cache_control": {"type": "ephemeral"}'), id="Messages: at the top"),
    pytest.param(
        anthropic('"system": [{"type": "text", "text": "a"}]'),
        anthropic('"system": [{"type": "text", "text": "a"@}]'.replace("@", MARK)),
        id="Messages: system block",
    ),
    pytest.param(
        anthropic('"tools": [{"name": "t", "input_schema": {}}]'),
        anthropic('"tools": [{"name": "t", "input_schema": {}@}]'.replace("@", MARK)),
        id="Messages: tool",
    ),
    *(
        pytest.param(*(anthropic(content=block.replace("@", mark)) for mark in ("", MARK)), id=f"Messages: {where}")
        for where, block in BLOCKS.items()
    ),
    pytest.param(drawn(), drawn(accept="application/json"), id="Bedrock's own type"),
    pytest.param(drawn(accept="*/*"), drawn(accept="image/png;q=0.1, Application/JSON"), id="any type, and JSON too"),
    pytest.param(drawn(), drawn(accept="application/vnd.amazon.eventstream"), id="a stream's type"),
    pytest.param(CALL, chat(accept="image/png"), id="a type that the API does not have"),
]

DIFFERENT_REQUESTS = [
    pytest.param(drawn(), drawn(accept="image/png"), id="a picture alone"),
    pytest.param(drawn(accept="image/png"), drawn(accept="image/jpeg"), id="two types of pictures"),
    pytest.param(drawn(), drawn(x_amzn_bedrock_accept="image/png", accept="*/*"), id="a picture alone, streamed"),
    pytest.param(CALL, chat('"x": null'), id="null is not absent"),
    pytest.param(CALL, chat('"temperature": 0'), id="parameter"),
    pytest.param(CALL, chat('"never_heard_of": 1'), id="unknown field"),
    pytest.param(CALL, chat('"Stream": true'), id="case of a name"),
    pytest.param(CALL, replace(CALL, upstream="https://api.other/v1"), id="upstream"),
    pytest.param(CALL, replace(CALL, upstream="http://api.example/v1"), id="scheme"),
    pytest.param(CALL, replace(CALL, upstream="https://api.example/v2"), id="base path"),
    pytest.param(CALL, chat(x_cache_namespace="a"), id="namespace"),
    pytest.param(chat(x_cache_namespace="a"), chat(x_cache_namespace="b"), id="two namespaces"),
    pytest.param(CALL, chat(x_cache_sample="2"), id="sample 2"),
    pytest.param(chat(x_cache_sample="2"), chat(x_cache_sample="3"), id="samples 2 and 3"),
    pytest.param(chat(x_cache_namespace="2"), chat(x_cache_sample="2"), id="namespace and sample"),
    pytest.param(chat('"cache": {"ttl": 3}'), chat('"cache": {"ttl": 4}'), id="a cache that is no control"),
    pytest.param(CALL, asking("api-version=1"), id="query"),
    pytest.param(CALL, asking("a="), id="empty query parameter"),
    pytest.param(asking("a=1"), asking("a=1&a=2"), id="query parameter twice"),
    pytest.param(asking("a=2"), asking("a=1&a=2"), id="query parameter twice, of which the last is the same"),
    pytest.param(asking("a=2&a=1"), asking("a=1&a=2"), id="order of a query parameter that comes twice"),
    pytest.param(asking("a=%ff"), asking("a=%fe"), id="query that is not UTF-8"),
    pytest.param(CALL, asking("$alt=sse;enum-encoding=int"), id="what alt says beside the shape"),
    pytest.param(CALL, replace(CALL, client="ann"), id="client"),
    pytest.param(replace(CALL, client="ann"), replace(CALL, client="bob"), id="two clients"),
    pytest.param(CALL, chat(anthropic_beta="a"), id="anthropic-beta"),
    pytest.param(chat(anthropic_beta="a"), chat(anthropic_beta="b"), id="two betas"),
    pytest.param(chat(anthropic_beta="a"), chat(openai_beta="a"), id="openai-beta"),
    pytest.param(chat(azureml_model_deployment="a"), chat(azureml_model_deployment="b"), id="Azure's deployment"),
    pytest.param(chat(helicone_target_url="a"), chat(helicone_target_url="b"), id="Helicone's upstream"),
    pytest.param(chat(x_portkey_provider="a"), chat(x_portkey_provider="b"), id="Portkey's provider"),
    pytest.param(chat(x_portkey_config="a"), chat(x_portkey_config="b"), id="Portkey's configuration"),
    pytest.param(CALL, chat(anthropic_version="2023-06-01"), id="anthropic-version"),
    pytest.param(
        request('{"model": "m", "prompt": "a", "messages": [1]}', "/chat/completions"),
        request('{"model": "m", "prompt": "a", "messages": [1]}', "/completions"),
        id="format",
    ),
    pytest.param(
        request('{"contents": []}', "/models/a:generateContent"),
        request('{"contents": []}', "/models/b:generateContent"),
        id="model in the path",
    ),
    *(
        pytest.param(
            chat('"tools": [{"function": {"parameters": {"properties": {}}}}]'),
            chat('"tools": [{"function": {"parameters": {"properties": {"@": {}}}}}]'.replace("@", name)),
            id=f"a tool's property {name}",
        )
        for name in ("user", "metadata", "stream", "stream_options", "cache", "cache_control")
    ),
    pytest.param(
        anthropic('"tools": [{"name": "t", "input_schema": {"properties": {}}}]'),
        anthropic('"tools": [{"name": "t", "input_schema": {"properties": {"cache_control": {}}}}]'),
        id="Messages: a tool's property cache_control",
    ),
    pytest.param(
        anthropic(content='[{"type": "tool_use", "id": "t", "name": "n", "input": {}}]'),
        anthropic(content='[{"type": "tool_use", "id": "t", "name": "n", "input": {"cache_control": 1}}]'),
        id="Messages: a tool's argument cache_control",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME_REQUESTS)
def test_equivalent_requests_share_a_key(key_of: KeyOf, one: Request, other: Request) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT_REQUESTS)
def test_different_requests_have_different_keys(key_of: KeyOf, one: Request, other: Request) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    ("scope", "loopback", "shared"),
    [
        ("shared", True, True),
        ("shared", False, True),
        ("auto", True, True),
        ("auto", False, False),
        ("credential", True, False),
        ("credential", False, False),
    ],
)
def test_the_scope_decides_whether_callers_share_entries(
    key_of: KeyOf, scope: str, loopback: bool, shared: bool
) -> None:
    one, other = (
        key_of(chat(authorization=f"Bearer {name}"), loopback=loopback, CACHE_SCOPE=scope) for name in ("a", "b")
    )
    assert (one == other) is shared


def test_named_clients_share_entries_in_the_shared_scope(key_of: KeyOf) -> None:
    one, other = (key_of(replace(CALL, client=name), CACHE_SCOPE="shared") for name in ("ann", "bob"))
    assert one == other


@pytest.mark.parametrize(
    "carrier", [{"authorization": "Bearer s"}, {"x_api_key": "s"}, {"x_goog_api_key": "s"}, {"api_key": "s"}]
)
def test_a_credential_is_the_same_caller_wherever_it_is_sent(key_of: KeyOf, carrier: dict[str, str]) -> None:
    in_query = asking("key=s")
    assert key_of(chat(**carrier), CACHE_SCOPE="credential") == key_of(in_query, CACHE_SCOPE="credential")


@pytest.mark.parametrize(
    ("ignored", "member", "is_left_out"),
    [
        ("seed", '"seed": 1', True),
        ("seed", '"tools": [{"seed": 1}]', False),
        ("/tools/*/id", '"tools": [{"id": "a"}]', False),
        ("/seed", '"seed": 1', True),
    ],
)
def test_ignored_keys_are_left_out_where_they_point(
    key_of: KeyOf, ignored: str, member: str, is_left_out: bool
) -> None:
    assert (key_of(chat(member), CACHE_IGNORE_KEYS=ignored) == key_of(CALL, CACHE_IGNORE_KEYS=ignored)) is is_left_out


@pytest.mark.parametrize(
    ("pointer", "left"),
    [
        ("a", {"b/c": [1, {"d": 2}], "~": 3}),
        ("/a", {"b/c": [1, {"d": 2}], "~": 3}),
        ("/b~1c", {"a": [{"x": 1, "y": 2}, {"x": 3}], "~": 3}),
        ("/~0", {"a": [{"x": 1, "y": 2}, {"x": 3}], "b/c": [1, {"d": 2}]}),
        ("/a/*/x", {"a": [{"y": 2}, {}], "b/c": [1, {"d": 2}], "~": 3}),
        ("/a/0", {"a": [{"x": 3}], "b/c": [1, {"d": 2}], "~": 3}),
        ("/b~1c/*/d", {"a": [{"x": 1, "y": 2}, {"x": 3}], "b/c": [1, {}], "~": 3}),
        ("/*", {}),
        ("/a/7/x", {"a": [{"x": 1, "y": 2}, {"x": 3}], "b/c": [1, {"d": 2}], "~": 3}),
        ("/a/x", {"a": [{"x": 1, "y": 2}, {"x": 3}], "b/c": [1, {"d": 2}], "~": 3}),
    ],
)
def test_a_pointer_removes_what_it_names_and_leaves_the_body_alone(pointer: str, left: dict[str, Any]) -> None:
    body = {"a": [{"x": 1, "y": 2}, {"x": 3}], "b/c": [1, {"d": 2}], "~": 3}
    before = json.dumps(body)
    assert remove_pointers(body, [pointer]) == left
    assert json.dumps(body) == before


# Changing one of these keys makes every store in use stale: raise key.SCHEMA, and say so to users.
GOLDEN = [
    pytest.param(
        chat('"temperature": 0.2', '"seed": 18446744073709551616'),
        "7f3eb29416000b61604b2b328eed71084aa7de888c1d9f9b78b1d73e05a11e9c",
        id="chat",
    ),
    pytest.param(
        chat('"user": "ann"', '"stream": true', x_cache_namespace="run-42", x_cache_sample="3", openai_beta="b"),
        "18afe77f973bb20b0cb1cebc1aaeb199ea3037d284589c93f10f62b8fe66d3cf",
        id="controls",
    ),
    pytest.param(
        anthropic('"max_tokens": 5', content='[{"type": "text", "text": "h\\u00e9"@}]'.replace("@", MARK)),
        "5754b902391e26c580f595e240b46abc981ea33ae3a2e49fd850f2ec525d22cf",
        id="messages",
    ),
    pytest.param(
        request('{"contents": [{"parts": [{"text": "\\ud800"}]}]}', "/models/m:generateContent"),
        "88674a6b37a49a337a5fb940887b871c0bcc77f0659d4eb99c35b5496131d971",
        id="gemini",
    ),
]


@pytest.mark.parametrize(("golden", "key"), GOLDEN)
def test_keys_are_those_of_the_stores_in_use(key_of: KeyOf, golden: Request, key: str) -> None:
    assert key_of(golden) == key


# -- the rule itself


@dataclass(frozen=True)
class Number:
    """coefficient * 10**exponent, however it is spelled."""

    coefficient: int
    exponent: int


NUMBERS = st.builds(
    Number,
    st.one_of(
        st.integers(-2, 2),
        st.integers(-(10**25), 10**25),
        st.sampled_from([2**53, 2**53 + 1, 2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 2**64, 2**64 - 1]),
    ),
    st.one_of(st.just(0), st.integers(-3, 3), st.integers(-400, 400)),
)
PLAIN_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8)


def values(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
        max_leaves=12,
    )


VALUES = values(st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS), TEXTS)
# Few enough that equal ones meet.
CROWDED = values(
    st.one_of(
        st.sampled_from([None, True, False, "", "1", "e0", "\ud800"]),
        st.builds(Number, st.sampled_from([0, 1, 10, 100, -1, 2**64, 10 * 2**64]), st.integers(-2, 2)),
    ),
    st.sampled_from(["", "a"]),
)


def spelled(number: Number, draw: Draw) -> str:
    zeros = draw(st.integers(0, 3))
    coefficient, exponent = number.coefficient * 10**zeros, number.exponent - zeros
    sign, digits = ("-" if coefficient < 0 else ""), str(abs(coefficient))
    spellings = [f"{coefficient}e{exponent}", f"{coefficient}E{exponent:+03}", f"{coefficient}.00e{exponent}"]
    if exponent >= 0:
        spellings.append(f"{coefficient}{'0' * exponent if coefficient else ''}")
        spellings.append(spellings[-1] + ".0")
    else:
        digits = digits.rjust(1 - exponent, "0")
        spellings.append(f"{sign}{digits[:exponent]}.{digits[exponent:]}")
    if coefficient == 0:
        spellings += ["-0", "-0.0"]
    return str(draw(st.sampled_from(spellings)))


def quoted(text: str, draw: Draw) -> str:
    pieces = []
    for character in text:
        is_raw = character >= " " and character not in '"\\' and not "\ud800" <= character <= "\udfff"
        if is_raw and draw(st.booleans()):
            pieces.append(character)
        else:
            escaped = json.dumps(character)[1:-1] if is_raw or draw(st.booleans()) else f"\\u{ord(character):04X}"
            pieces.append(escaped)
    return '"' + "".join(pieces) + '"'


def written(value: Any, draw: Draw) -> str:
    """The value as JSON, with order, white space, escapes and spelling of numbers as they are drawn."""
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    match value:
        case Number():
            text = spelled(value, draw)
        case str():
            text = quoted(value, draw)
        case list():
            text = "[" + ",".join(written(item, draw) for item in value) + "]"
        case dict():
            members = draw(st.permutations(list(value.items())))
            text = "{" + ",".join(f"{quoted(name, draw)}:{written(item, draw)}" for name, item in members) + "}"
        case _:
            text = json.dumps(value)
    return f"{space}{text}{space}"


def body(value: Any, draw: Draw) -> bytes:
    return ('{"x":' + written(value, draw) + "}").encode()


def meaning(value: Any) -> object:
    """The meaning of a value, computed slowly: exact, and of a type that equals no other."""
    match value:
        case Number():
            return "number", Fraction(value.coefficient) * Fraction(10) ** value.exponent
        case str():
            return "string", joined_surrogates(value)
        case list():
            return "array", tuple(map(meaning, value))
        case dict():
            return "object", frozenset((joined_surrogates(name), meaning(item)) for name, item in value.items())
        case _:
            return type(value).__name__, value


def joined_surrogates(text: str) -> str:
    """Two escapes that make a pair are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def has_unique_names(value: Any) -> bool:
    match value:
        case list():
            return all(map(has_unique_names, value))
        case dict():
            return len(set(map(joined_surrogates, value))) == len(value) and all(map(has_unique_names, value.values()))
    return True


@given(VALUES, st.data())
def test_however_a_value_is_written_its_canonical_form_is_one(value: Any, data: st.DataObject) -> None:
    assume(has_unique_names(value))
    one, other = body(value, data.draw), body(value, data.draw)
    assert canonical(parse_body(one)) == canonical(parse_body(other))


@given(VALUES | CROWDED, VALUES | CROWDED, st.data())
def test_canonical_forms_are_equal_if_and_only_if_the_values_are(one: Any, other: Any, data: st.DataObject) -> None:
    assume(has_unique_names(one) and has_unique_names(other))
    forms = [canonical(parse_body(body(value, data.draw))) for value in (one, other)]
    assert (forms[0] == forms[1]) is (meaning(one) == meaning(other))


@given(CROWDED, CROWDED, st.data())
def test_canonical_forms_of_crowded_values_are_equal_if_and_only_if_the_values_are(
    one: Any, other: Any, data: st.DataObject
) -> None:
    forms = [canonical(parse_body(body(value, data.draw))) for value in (one, other)]
    assert (forms[0] == forms[1]) is (meaning(one) == meaning(other))


@given(values(st.one_of(st.none(), st.booleans(), NUMBERS, PLAIN_TEXTS), PLAIN_TEXTS), st.data())
def test_what_the_fast_serialiser_cannot_write_does_not_change_how_the_rest_is_written(
    value: Any, data: st.DataObject
) -> None:
    alone = canonical(parse_body(body(value, data.draw)))
    text = '{"x":' + written(value, data.draw) + ',"y":"\\ud800"}'
    assert canonical(parse_body(text.encode())) == alone[:-1] + b',"y":"\xed\xa0\x80"}'


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_parsed_or_refused(data: bytes) -> None:
    assert isinstance(parsed_or_refused(data), dict)


@given(VALUES, st.data())
def test_mutated_json_is_parsed_or_refused(value: Any, data: st.DataObject) -> None:
    text = body(value, data.draw)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    middle = data.draw(st.binary(max_size=3) | st.sampled_from([b"NaN", b"-Infinity", b"1e", b"\xef\xbb\xbf", b"["]))
    assert isinstance(parsed_or_refused(text[:start] + middle + text[end:]), dict)


def parsed_or_refused(data: bytes) -> object:
    try:
        return parse_body(data)
    except (RequestError, FormatError):
        return {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"x"',
        "1",
        "{",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 01}',
        '{"a": .5}',
        "{'a': 1}",
        "\ufeff{}",
    ],
)
def test_what_is_not_a_json_object_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_body(text.encode())
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value",
    [
        "1" * 5000,
        "1e99999999999999999999",
        "1e-99999999999999999999",
        nested(100_000),
        '{"a": 1, "a": 1}',
        '{"a": 1, "b": {"\\u0061": 1, "a": 2}}',
        '{"a": "x", "a": "\\u003a\\u005c"}',
        '{"a": "x", "a": "\\u003A\\u005C"}',
    ],
    ids=lambda value: value[:9],
)
def test_what_has_no_canonical_form_here_is_said_to_have_none(value: str) -> None:
    with pytest.raises(FormatError):
        parse_body(f'{{"x": {value}}}'.encode())


def test_no_header_of_a_record_holds_a_credential_and_a_record_has_the_key_of_its_request() -> None:
    sent = {"x-portkey-config": '{"api_key": "opaque"}', "x-portkey-virtual-key": "opaque", "x-portkey-provider": "p"}
    kept = relevant_headers(sent)
    assert "opaque" not in repr(kept)
    assert relevant_headers(dict(kept)) == kept


@pytest.mark.parametrize("name", ["helicone-target-url", "x-portkey-custom-host"])
@pytest.mark.parametrize("value", ["https://ann:{}@host.example/v1", "https://host.example/v1?key={}"])
def test_a_url_in_a_header_is_kept_without_its_credential_and_counts(name: str, value: str) -> None:
    one, other = (relevant_headers({name: value.format(secret)}) for secret in ("opaque", "opaque2"))
    assert one != other
    assert "opaque" not in repr(one)
    assert relevant_headers(dict(one)) == one
    assert relevant_headers({name: "https://host.example/v1"}) == ((name, "https://host.example/v1"),)


@pytest.mark.parametrize("name", ["api_key", "apikey", "apiKey", "x-api-key", "Key", "auth_token", "API-KEY"])
def test_the_callers_credential_in_the_query_is_no_part_of_the_question_but_of_the_scope(
    key_of: KeyOf, name: str
) -> None:
    one, other = (asking(f"{name}={value}") for value in ("opaque", "opaque2"))
    assert key_of(one) == key_of(other) == key_of(CALL)
    assert key_of(one, CACHE_SCOPE="credential") != key_of(other, CACHE_SCOPE="credential")
    assert relevant_query(one.query) == ""


@pytest.mark.parametrize(
    "name",
    [
        "sig",
        "token",
        "signature",
        "X-Amz-Signature",
        "code",
        "password",
        "client_secret",
        "page_token",
        "language_code",
    ],
)
def test_another_credential_in_the_query_is_kept_as_a_digest_and_counts(key_of: KeyOf, name: str) -> None:
    one, other = (asking(f"{name}={value}&a=1") for value in ("opaque", "opaque2"))
    assert key_of(one) != key_of(other)
    kept = relevant_query(one.query)
    assert "opaque" not in kept
    assert "a=1" in kept
    assert relevant_query(query_of(kept)) == kept


@pytest.mark.parametrize("query", ["api-version=2024-10-21", "monkey=a", "tokens=5", "max_tokens=5", "sig="])
def test_what_is_no_credential_in_the_query_is_kept(query: str) -> None:
    assert relevant_query(query_of(query)) == query


def test_the_apis_headers_enter_a_key_in_the_order_that_stored_entries_have() -> None:
    assert RELEVANT_HEADERS[:6] == (
        *("anthropic-version", "anthropic-beta", "openai-beta"),
        *("x-amzn-bedrock-guardrailidentifier", "x-amzn-bedrock-guardrailversion", "x-amzn-bedrock-trace"),
    )
