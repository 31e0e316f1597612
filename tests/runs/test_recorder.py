"""Which run a call belongs to, and what is recorded of it, through whole exchanges."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from computer_use_cache.errors import StoreError
from computer_use_cache.exchange.decisions import Serve
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.formats import by_name
from computer_use_cache.models import Outcome
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs import assignment, recorder
from computer_use_cache.runs.assignment import MOST_JOINED
from computer_use_cache.runs.conversation import head_of, opening_of
from computer_use_cache.runs.recorder import MOST_PENDING
from credential_samples import token
from exchange.house import START, House, failure
from runs.chats import SYSTEM, chats, said
from runs.chats import recorded as runs_of

CHAT = by_name("chat_completions")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "store")


def recorded(house: House) -> list[tuple[str, list[Outcome]]]:
    """The runs with the outcomes of their calls, the oldest run first."""
    return [(run.name, [call.outcome for call in calls]) for run, calls in runs_of(house)]


def test_a_conversation_that_goes_on_is_one_run(house: House) -> None:
    chats(house, said("Buy milk", "Which?")[:2])
    chats(house, said("Buy milk", "Which?", "Whole"))
    chats(house, said("Buy milk", "Which?", "Whole", "Done", "Thanks"))
    chats(house, said("Buy milk", "Which?", "Whole"))
    assert recorded(house) == [("Buy milk", [Outcome.MISS] * 3 + [Outcome.HIT])]


def test_another_first_message_or_another_system_prompt_is_another_run(house: House) -> None:
    chats(house, said("Buy milk"))
    chats(house, said("Buy bread"))
    chats(house, [{"role": "system", "content": "You write code."}, *said("Buy milk")[1:]])
    assert [name for name, _ in recorded(house)] == ["Buy milk", "Buy bread", "Buy milk"]


def test_a_conversation_that_is_begun_again_is_another_run(house: House) -> None:
    for _ in range(2):
        chats(house, said("Buy milk"))
        chats(house, said("Buy milk", "Which?", "Whole"))
        house.shared.flush(house.now)
    assert [outcomes for _, outcomes in recorded(house)] == [[Outcome.MISS] * 2, [Outcome.HIT] * 2]


def test_the_time_in_a_prompt_does_not_end_a_run(house: House) -> None:
    for minute in range(3):
        system = {"role": "system", "content": f"It is 2026-11-27T10:0{minute}:00Z."}
        chats(house, [system, *said("Buy milk", *["Which?", "Whole"] * minute)[1:]])
    assert recorded(house) == [("Buy milk", [Outcome.MISS] * 3)]


def test_the_end_of_a_very_long_first_message_does_not_tell_conversations_apart() -> None:
    heads = (head_of(CHAT, {"messages": said("word " * 14_000 + end)}) for end in ("", "once", "twice"))
    assert len({opening_of(head) for head in heads if head}) == 1


@pytest.mark.parametrize(("pause", "runs"), [(1700.0, 1), (1900.0, 2)])
def test_a_pause_of_half_an_hour_ends_a_run(house: House, pause: float, runs: int) -> None:
    for headers in (None, {"x-cache-run": "nightly"}):
        chats(house, said("Buy milk"), headers)
        house.now += pause
        chats(house, said("Buy milk", "Which?", "Whole"), headers)
        house.now += 4000
    assert [name for name, _ in recorded(house)] == ["Buy milk"] * runs + ["nightly"] * runs


def test_a_named_run_holds_whatever_names_it(house: House) -> None:
    for text in ("Buy milk", "Buy bread"):
        chats(house, said(text), {"x-cache-run": "nightly"})
    chats(house, said("Buy milk"), {"x-cache-run": "daily"})
    assert recorded(house) == [("nightly", [Outcome.MISS] * 2), ("daily", [Outcome.HIT])]


def test_a_call_outside_any_conversation_joins_its_clients_last_run(house: House) -> None:
    asyncio.run(house.lived(house.embeds("alone"), seconds=1.0))
    assert recorded(house) == [("embeddings", [Outcome.MISS])]
    chats(house, said("Buy milk"))
    asyncio.run(house.lived(house.embeds("milk"), seconds=1.0))
    assert recorded(house)[1:] == [("Buy milk", [Outcome.MISS, Outcome.MISS])]


def test_all_calls_of_a_private_proxy_belong_to_its_run(house: House) -> None:
    house.shared = Shared(house.cache, house.shared.ledger, house.shared.run, own_run="run7")
    house.store.run_log.add_run(Run(id="run7", name="agent", began=START, ended=START))
    chats(house, said("Buy milk"))
    chats(house, said("Buy bread"), {"x-cache-run": "nightly"})
    assert recorded(house) == [("agent", [Outcome.MISS, Outcome.MISS])]


def test_a_deleted_run_is_begun_anew(house: House) -> None:
    chats(house, said("Buy milk"), {"x-cache-run": "nightly"})
    recorded(house)
    house.store.run_log.clear()
    chats(house, said("Buy milk"), {"x-cache-run": "nightly"})
    assert recorded(house) == [("nightly", [Outcome.HIT])]
    assert house.counted().unrecorded == 0


def calls(house: House) -> list[Call]:
    house.shared.flush(house.now)
    [run] = house.store.run_log.runs(9)
    return house.store.run_log.calls(run.id)


def test_a_call_says_how_it_ended(house: House) -> None:
    run = {"x-cache-run": "nightly"}
    chats(house, said("Buy milk"), run)
    chats(house, said("Buy milk"), run)
    chats(house, said("Buy silk"), run, failure(500))
    chats(house, said("Buy milk"), run | {"x-cache-bypass": "1"})
    chats(house, said("Buy ink"), run | {"x-cache-mode": "offline"})
    miss, hit, failed, bypass, refused = calls(house)
    assert (miss.at, miss.seconds, miss.status, miss.model) == (START, 1.0, 200, "gpt-test")
    assert (miss.cost.input_tokens, miss.cost.output_tokens, miss.cost.seconds) == (5, 2, 2.0)
    assert miss.key == miss.asked == hit.key == hit.asked != ""
    assert (hit.outcome, hit.cost) == (Outcome.HIT, miss.cost)
    assert (failed.outcome, failed.status, failed.key, failed.reason) == (Outcome.MISS, 500, "", "status 500")
    assert (failed.near_key, failed.near_place) == (miss.key, "/messages/1/content @ char 4")
    assert (bypass.outcome, bypass.key, bypass.reason) == (Outcome.BYPASS, "", "X-Cache-Bypass")
    assert (refused.outcome, refused.status, refused.key) == (Outcome.REFUSED, 404, "")
    assert "no entry answers this request" in refused.reason


def test_a_hit_of_the_fast_path_is_recorded_with_its_conversation(house: House) -> None:
    chats(house, said("Buy milk"))
    entry = next(house.store.entries())
    serve, plan = Serve(entry, ()), house.asks(messages=said("Buy milk")).plan
    for known in (plan, plan.without_bodies()):
        house.now += 0.25
        house.shared.conclude_hit(known, serve, house.now - 0.25)
    assert [(call.outcome, call.key, call.seconds) for call in calls(house)[1:]] == [
        (Outcome.HIT, entry.key, 0.25),
        (Outcome.HIT, entry.key, 0.25),
    ]


def test_a_rebound_hit_of_the_fast_path_is_recorded_and_counted(house: House) -> None:
    chats(house, said("Buy milk"))
    serve = Serve(next(house.store.entries()), (), (("tmp", 2), ("date", 1)))
    house.shared.conclude_hit(house.asks(messages=said("Buy milk")).plan, serve, house.now)
    assert [call.rebound for call in calls(house)] == [0, 3]
    assert (house.counted().rebound_hits, house.counted().rebound) == (1, {"tmp": 2, "date": 1})


def test_no_credential_gets_into_a_run(house: House) -> None:
    secret = token("1a2B")
    chats(house, said(f"Use {secret} to buy milk"))
    chats(house, said("Buy milk"), {"x-cache-run": f"as {secret}"})
    chats(house, said(secret), {"x-cache-bypass": "1"})
    house.shared.flush(house.now)
    assert {run.name for run in house.store.run_log.runs(9)} == {
        "Use <secret 1> to buy milk",
        "as <credential>",
        "<credential>",
    }
    for path in (house.store.folder).glob("runs.db*"):
        assert secret.encode() not in path.read_bytes()


def test_under_a_flood_calls_are_dropped_and_counted(house: House) -> None:
    chats(house, said("Buy milk"))
    plan, serve = house.asks(messages=said("Buy milk")).plan, Serve(next(house.store.entries()), ())
    for _ in range(MOST_PENDING + 4):
        house.shared.conclude_hit(plan, serve, house.now)
    assert len(calls(house)) == MOST_PENDING
    assert house.counted().unrecorded == 5


def test_a_store_that_fails_is_one_warning(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(house.store.run_log, "join_run", fail)
        for _ in range(3):
            chats(house, said("Buy milk"))
            house.shared.flush(house.now)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "recording runs fails: the disk is full"
    ]
    assert house.counted().misses == 1
    assert house.counted().unrecorded == 3


def test_calls_are_counted_as_lost_if_the_store_fails_after_some_of_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_calls, asked = house.store.run_log.add_calls, list[str]()

    def fail_at_second(id: str, calls: list[Call]) -> range:
        asked.append(id)
        if len(asked) == 2:
            raise StoreError("the disk is full")
        return add_calls(id, calls)

    for name in ("first", "second"):
        chats(house, said("Buy milk"), {"x-cache-run": name})
    with monkeypatch.context() as broken:
        broken.setattr(house.store.run_log, "add_calls", fail_at_second)
        house.shared.flush(house.now)
    assert house.counted().unrecorded == 2
    assert recorded(house) == []
    chats(house, said("Buy milk"), {"x-cache-run": "first"})
    assert recorded(house) == [("first", [Outcome.HIT])]


def test_a_message_that_no_api_would_take_costs_no_other_call_its_place(house: House) -> None:
    for odd in ("hello", None, 5, []):
        chats(house, [SYSTEM, odd])
    chats(house, said("Buy milk"))
    runs = recorded(house)
    assert sum(len(outcomes) for _, outcomes in runs) == 5
    assert ("Buy milk", [Outcome.MISS]) in runs


def test_no_text_of_a_call_holds_a_credential(house: House) -> None:
    secret = token("1a2B")
    for headers, model in ((None, secret), ({"x-cache-namespace": secret}, "m")):
        asyncio.run(house.lived(house.asks(headers, model=model, messages=said("Buy milk")), seconds=1.0))
    [(_, calls)] = runs_of(house)
    assert [call.model for call in calls] == ["<credential>", "m"]
    assert secret not in repr(calls)
    assert secret not in repr(list(house.store.entries()))
    assert secret not in repr(house.store.counts())


@pytest.mark.parametrize("is_last", [False, True])
def test_calls_of_too_many_new_conversations_wait_for_the_next_flush_unless_it_is_the_last(
    house: House, is_last: bool
) -> None:
    chats(house, said("Buy milk"))
    serve = Serve(next(house.store.entries()), ())
    for number in range(MOST_JOINED):
        house.now += 1
        house.shared.conclude_hit(house.asks(messages=said(f"Buy {number} eggs")).plan, serve, house.now)
    found = []
    for _ in range(2):
        house.shared.flush(house.now, is_last=is_last)
        found.append([run.name for run in house.store.run_log.runs(999)])
    assert [len(names) for names in found] == [MOST_JOINED + is_last, MOST_JOINED + 1]
    assert found[1][0] == f"Buy {MOST_JOINED - 1} eggs"
    assert house.counted().unrecorded == 0


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush joins 20 runs, and 40 calls of new conversations may wait."""
    monkeypatch.setattr(assignment, "MOST_JOINED", 20)
    monkeypatch.setattr(recorder, "MOST_WAITING", 40)


def flooded(house: House, number: int) -> None:
    """New conversations begin and end with their first call."""
    serve = Serve(next(house.store.entries()), ())
    for _ in range(number):
        house.now += 0.001
        plan = house.asks(messages=said(f"Buy {house.begun} eggs")).plan
        house.shared.conclude_hit(plan, serve, house.now)


def steps(house: House, name: str) -> list[int]:
    """How many calls each run of that name has."""
    log = house.store.run_log
    return [len(log.calls(run.id)) for run in reversed(log.runs(9999)) if run.name == name]


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("run", ["Buy milk", "nightly"])
@pytest.mark.parametrize("has_body", [True, False])
def test_calls_of_known_runs_are_recorded_at_once_while_new_conversations_wait(
    house: House, run: str, has_body: bool
) -> None:
    headers = {"x-cache-run": run} if run == "nightly" else None
    chats(house, said("Buy milk"), headers)
    house.shared.flush(house.now)
    serve, plan = Serve(next(house.store.entries()), ()), house.asks(headers, messages=said("Buy milk")).plan
    for flush in range(3):
        flooded(house, 20 + 25)
        house.shared.conclude_hit(plan if has_body else plan.without_bodies(), serve, house.now)
        house.shared.flush(house.now)
        assert steps(house, run) == [flush + 2]
    assert house.counted().unrecorded == 3 * 25 - 40


@pytest.mark.usefixtures("limits")
def test_a_conversation_whose_run_must_wait_stays_in_order(house: House) -> None:
    chats(house, said("Buy milk"))
    chats(house, said("Buy milk", "Which?", "Whole"))
    house.shared.flush(house.now)
    flooded(house, 20)
    serve = Serve(next(house.store.entries()), ())
    for messages in (said("Buy milk"), said("Buy milk", "Which?", "Whole"), said("Buy milk", "Which?", "Any")):
        house.now += 1
        house.shared.conclude_hit(house.asks(messages=messages).plan, serve, house.now)
    house.shared.flush(house.now)
    assert steps(house, "Buy milk") == [2]
    house.shared.flush(house.now)
    assert steps(house, "Buy milk") == [2, 3]


@pytest.mark.usefixtures("limits")
def test_a_hit_without_its_body_waits_with_the_one_that_had_it(house: House) -> None:
    chats(house, said("Buy milk"))
    house.shared.flush(house.now)
    flooded(house, 20)
    serve, plan = Serve(next(house.store.entries()), ()), house.asks(messages=said("Buy bread")).plan
    for known in (plan, plan.without_bodies()):
        house.now += 1
        house.shared.conclude_hit(known, serve, house.now)
    for _ in range(2):
        house.shared.flush(house.now)
    assert (steps(house, "Buy milk"), steps(house, "Buy bread")) == ([1], [2])


def test_one_flush_hashes_a_limited_amount_of_text(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    chats(house, said("Buy milk"))
    chats(house, said("Buy bread"))
    house.shared.flush(house.now)
    monkeypatch.setattr(assignment, "_MOST_HASHED", 1)
    serve = Serve(next(house.store.entries()), ())
    for text in ("Buy milk", "Buy bread"):
        house.shared.conclude_hit(house.asks(messages=said(text)).plan, serve, house.now)
    for expected in ([2], [1]), ([2], [2]):
        house.shared.flush(house.now)
        assert (steps(house, "Buy milk"), steps(house, "Buy bread")) == expected


@pytest.mark.usefixtures("limits")
def test_a_known_run_that_was_removed_is_begun_anew_at_once_in_a_flood(house: House) -> None:
    chats(house, said("Buy milk"))
    house.shared.flush(house.now)
    serve, plan = Serve(next(house.store.entries()), ()), house.asks(messages=said("Buy milk")).plan
    house.store.run_log.clear()
    flooded(house, 20)
    house.shared.conclude_hit(plan, serve, house.now)
    house.shared.flush(house.now)
    assert steps(house, "Buy milk") == [1]
