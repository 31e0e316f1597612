"""Conversations of the fast path, without I/O: hits are answered, everything else is handed over unchanged."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from tests.proxy.stored_chat import ANSWER, OTHER, STORED, sent

from computer_use_cache.cache.plan import Plan
from computer_use_cache.exchange.shared import Shared
from computer_use_cache.proxy.fast_path.conversation import Action, Conversation, HandOver, Search
from computer_use_cache.proxy.fast_path.lookup import Arrival, FastPath


@pytest.fixture
def conversation(fast_path: FastPath) -> Conversation:
    return Conversation(Arrival("127.0.0.1", "127.0.0.1", None, ""), lambda: fast_path)


def actions(conversation: Conversation, *pieces: bytes) -> list[Action]:
    """What there is to do apart from searches, which are run."""
    done: list[Action] = []
    for piece in pieces:
        for action in conversation.receive(piece):
            if isinstance(action, Search):
                action.run()
            else:
                done.append(action)
    return done


def assert_answered(found: list[Action], times: int) -> None:
    assert [isinstance(action, bytes) and action.endswith(ANSWER) for action in found] == [True] * times


def test_a_hit_is_answered_wherever_its_bytes_are_cut(conversation: Conversation) -> None:
    request = sent(STORED)
    for at in range(1, len(request)):
        assert_answered(actions(conversation, request[:at], request[at:]), 1)
        assert conversation.is_between_requests


def test_hits_that_arrive_together_are_answered_in_turn(conversation: Conversation) -> None:
    assert_answered(actions(conversation, sent(STORED) * 3), 3)


def test_a_remembered_hit_is_counted_for_the_trace_of_each_request(
    fast_path: FastPath, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    concluded: list[Plan] = []
    monkeypatch.setattr(Shared, "conclude_hit", lambda _, plan, entry, began: concluded.append(plan))
    monkeypatch.setattr(fast_path, "serve", serves := Mock(wraps=fast_path.serve))
    traces = ["a", "b", "c"]
    traced = [sent(STORED).replace(b"Host", b"traceparent: %s\r\nHost" % trace.encode()) for trace in traces]
    assert_answered(actions(conversation, *traced), 3)
    assert serves.call_count == 2, "the third is remembered"
    assert [plan.route.request.headers["traceparent"] for plan in concluded] == traces


def test_a_remembered_hit_answers_no_other_body_of_its_length(conversation: Conversation) -> None:
    assert_answered(actions(conversation, sent(STORED) * 3), 3)
    [found] = actions(conversation, sent(STORED.replace(b"stored", b"STORED")))
    assert isinstance(found, HandOver)


@pytest.mark.parametrize("follows", [b"", sent(STORED), b"GET /"], ids=["nothing", "a hit", "part of a request"])
def test_the_first_miss_is_handed_over_with_all_that_follows(conversation: Conversation, follows: bytes) -> None:
    *answers, last = actions(conversation, sent(STORED) + sent(OTHER) + follows)
    assert_answered(answers, 1)
    assert isinstance(last, HandOver)
    assert b"".join(last.pieces) == sent(OTHER) + follows
    assert last.search
    assert last.search.body == OTHER


def test_a_request_of_another_kind_is_handed_over_at_its_first_bytes(conversation: Conversation) -> None:
    assert actions(conversation, b"GET /stats") == [HandOver((b"GET /stats",))]


def test_an_incomplete_request_is_given_back_at_the_end(conversation: Conversation) -> None:
    request = sent(STORED)
    assert actions(conversation, request + request[:-1])[1:] == []
    assert not conversation.is_between_requests
    assert b"".join(conversation.end().pieces) == request[:-1]


def test_nothing_is_answered_while_the_fast_path_is_closed(fast_path: FastPath) -> None:
    is_open = [True, False]
    arrival = Arrival("127.0.0.1", "127.0.0.1", None, "")
    conversation = Conversation(arrival, lambda: fast_path if is_open.pop(0) else None)
    answer, last = actions(conversation, sent(STORED) * 2)
    assert_answered([answer], 1)
    assert isinstance(last, HandOver)
    assert b"".join(last.pieces) == sent(STORED)
