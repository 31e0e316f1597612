"""A seventh API is one file: registered in `FORMATS`, it is cached, explained, shown, priced and exported."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from computer_use_cache import formats
from computer_use_cache.cache.cache import Cache
from computer_use_cache.cache.replay import replay
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.errors import FormatError, RequestError
from computer_use_cache.formats import findings, transcript
from computer_use_cache.formats.base import Format, Json, UsageFlavor, dump, load_objects
from computer_use_cache.formats.findings import Findings
from computer_use_cache.keys import upstream
from computer_use_cache.models import Entry, Event, Request, Response, Shape, Skip, Skipped
from computer_use_cache.rebinding import Bindings, Cause, Refusal, rebind, template_of
from computer_use_cache.rebinding.kinds import Kinds
from computer_use_cache.rebinding.moves import Moves, approve
from computer_use_cache.runs.conversation import head_of, opening_of
from computer_use_cache.setting_values import BaseUrl, HitUsage
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.transfer import jsonl

NOW = 1_800_000_000.0
BASE = BaseUrl.parse("https://toy.example/v1")


class Toy(Format):
    """`POST /talk`: turns go in, words come out."""

    name = "toy"
    key_excluded = frozenset({"stream"})
    routes = ("/talk",)
    origin_paths = ("/toy/",)
    conversation = "turns"
    instructions = ("manner",)
    answered = "words"
    usage_places = ("tally",)
    usage_flavor = UsageFlavor("openai", "chat")
    call_id_places = ("turns/*/ticket",)
    exact_members = frozenset({"voice"})
    reference_types = ("earlier",)
    written_members: ClassVar[frozenset[str]] = frozenset({"stamp"})
    position_members: ClassVar[frozenset[str]] = frozenset({"letters"})
    volatile_members: ClassVar[frozenset[str]] = frozenset({"stamp", "tally"})

    def speaks(self, path: str, below: str, headers: Collection[str]) -> bool:
        return "toy-version" in headers

    def guessed_route(self, body: Json) -> str:
        return "/talk" if "turns" in body else ""

    def is_answer(self, message: Json) -> bool:
        return message.get("who") == "toy"

    def is_instruction(self, message: Json) -> bool:
        return message.get("who") == "owner"

    def model_of_answer(self, answer: Json) -> object:
        return answer.get("spoken_by")

    def check_answer(self, answer: Json) -> Findings:
        findings.refuse_error(answer, "answer")
        if "words" not in answer:
            raise FormatError("there are no words", Skip.UNFINISHED)
        return Findings(is_silent=not findings.says(answer["words"]))

    def check_events(self, events: Sequence[Event], *, ended: bool = False) -> Findings:
        return self.check_answer(self.assemble(events))

    def assemble(self, events: Sequence[Event]) -> Json:
        whole: Json = {"words": []}
        for piece in load_objects(events):
            whole = whole | piece | {"words": whole["words"] + piece.get("words", [])}
        return whole

    def explode(self, answer: Json, *, with_usage: bool) -> list[Event]:
        rest = {name: value for name, value in answer.items() if name != "words"}
        return [*(Event("", dump({"words": [word]})) for word in answer["words"]), Event("", dump(rest))]

    def error(self, error: RequestError) -> Json:
        return {"oops": error.message}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, Toy()))


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Cache]:
    store = DiskStore(tmp_path / "store", 2**24)
    yield Cache(Settings.load({"CACHE_NORMALIZE": "tool-call-ids"}), store, loopback=True)
    store.close()


ANSWER = {
    "spoken_by": "gpt-4o",
    "words": ["hello", "there"],
    "stamp": 5,
    "tally": {"prompt_tokens": 1000, "completion_tokens": 100},
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
}


def request(text: str = "Say hello to everybody in this room.", **fields: Any) -> Request:
    turns = [{"who": "user", "said": text, "ticket": "ticket_1"}]
    body = {"model": "gpt-4o", "manner": "Be kind.", "turns": turns} | fields
    origin, path = upstream.split(BASE.origin, upstream.resolve(BASE, "/api/v1/talk"), BASE)
    return Request(origin, path, (), {}, json.dumps(body).encode())


def keep(core: Cache, asked: Request) -> Entry:
    plan = core.plan(asked)
    answer = Response(200, {"content-type": "application/json"}, json.dumps(ANSWER).encode(), 2.0)
    entry = core.judge(plan, answer, NOW)
    assert isinstance(entry, Entry), entry
    core.keep(entry, NOW, record(core, plan))
    return entry


def test_its_alias_leads_below_the_base_and_its_own_paths_stay() -> None:
    assert upstream.resolve(BASE, "/talk") == "/v1/talk"
    assert upstream.resolve(BASE, "/toy/v1/talk") == "/toy/v1/talk"


def test_it_is_a_miss_and_then_a_hit_in_both_shapes(core: Cache) -> None:
    assert not isinstance(core.lookup(core.plan(request()), NOW), Entry)
    entry = keep(core, request())
    plan = core.plan(request(stream=True))
    assert core.lookup(plan, NOW) == entry
    assert (plan.format.name, plan.shape) == ("toy", Shape.SSE)
    assert replay(core.plan(request()), entry) == [json.dumps(ANSWER).encode()]
    pieces = replay(plan, entry)
    assert pieces is not None
    assert pieces[0] == b'data: {"words":["hello"]}\n\n'


def test_its_call_ids_and_usage_are_known(core: Cache) -> None:
    entry = keep(core, request())
    turns = [{"who": "user", "said": "Say hello to everybody in this room.", "ticket": "ticket_2"}]
    assert core.lookup(core.plan(request(turns=turns)), NOW) == entry
    pieces = replay(core.plan(request()), entry, HitUsage.ZERO)
    assert pieces is not None
    assert json.loads(pieces[0])["tally"] == {"prompt_tokens": 0, "completion_tokens": 0}


def test_a_miss_is_explained(core: Cache) -> None:
    keep(core, request())
    plan = core.plan(request("Say hello to everybody in this house."))
    near = near_miss.nearest(core, plan, record(core, plan))
    assert near is not None
    assert near.differences[0].path == "/turns/0/said"


def test_its_clients_read_its_errors_and_its_bodies_tell_its_route() -> None:
    assert formats.of_client("/v1/toys", "/toys", {"toy-version"}).name == "toy"
    assert formats.guessed_route(json.loads(request().body)) == "/talk"


def test_its_conversations_become_runs() -> None:
    turns = [
        {"who": "owner", "said": "Be brief."},
        {"who": "user", "text": "Say hello to\neverybody."},
        {"who": "toy", "text": "Hello!"},
    ]
    begun, continued = (head_of(Toy(), {"manner": "Be kind.", "turns": turns[:end]}) for end in (2, 3))
    assert begun
    assert continued
    assert (begun.begins, continued.begins) == (True, False)
    assert opening_of(begun) == opening_of(continued)
    assert opening_of(begun).title == "Say hello to everybody."


UUIDS = ("3f2a91c0-5b1d-4c8e-9a77-0d6e2f1b4a58", "8c1d72e4-6f0a-4b39-8d25-7e9f3a6c0b14")


@pytest.mark.parametrize(
    ("fields", "moves"),
    [
        pytest.param({"said": UUIDS[0]}, 1, id="a text"),
        pytest.param({"voice": UUIDS[0]}, 0, id="an exact member"),
        pytest.param({"type": "earlier", "said": UUIDS[0]}, 0, id="a reference"),
    ],
)
def test_values_in_its_requests_move_where_it_says(fields: Json, moves: int) -> None:
    assert len(template_of(Toy(), {"turns": [fields]}, Bindings({})).values) == moves


@pytest.mark.parametrize(
    ("answer", "rebound"),
    [
        pytest.param({"words": [UUIDS[0]]}, {"words": [UUIDS[1]]}, id="the model's words"),
        pytest.param({"stamp": UUIDS[0]}, {"stamp": UUIDS[0]}, id="its own label"),
        pytest.param({"words": [UUIDS[0]], "letters": [5]}, Cause.POSITIONS, id="letters are counted"),
    ],
)
def test_values_in_its_answers_are_replaced_where_it_says(answer: Json, rebound: object) -> None:
    moves = approve([("uuid", UUIDS[0])], [("uuid", UUIDS[1])], Kinds())
    assert isinstance(moves, Moves)
    written = rebind(Toy(), answer, moves, UUIDS[1].encode())
    assert (written.cause if isinstance(written, Refusal) else written.answer) == rebound


def test_it_is_shown_as_a_conversation() -> None:
    asked = transcript.of_request(Toy(), json.loads(request().body))
    assert "── manner" in asked
    assert "── [0]" in asked
    assert "Say hello" in asked
    answered = transcript.of_answer(Toy(), ANSWER)
    assert "tally: prompt_tokens 1000, completion_tokens 100" in answered
    assert "hello" in answered


def test_it_is_priced(core: Cache) -> None:
    entry = keep(core, request())
    assert (entry.input_tokens, entry.output_tokens) == (1000, 100)
    assert entry.usd == pytest.approx(0.0035)
    assert entry.at_list_price


def test_it_is_exported_and_read_back(core: Cache, tmp_path: Path) -> None:
    entry = keep(core, request())
    file = tmp_path / "export.jsonl"
    assert jsonl.write(file, jsonl.lines(core.store, lambda _: True, NOW)) == 1
    (exported,) = jsonl.read(file, core)
    assert not isinstance(exported, Skipped | jsonl.Damaged)
    assert exported.entry == entry
