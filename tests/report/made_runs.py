"""Runs that were made for tests of the report, recorded in a store through the core."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from computer_use_cache.cache.cache import Cache
from computer_use_cache.diagnosis import near_miss
from computer_use_cache.diagnosis.request_record import record
from computer_use_cache.models import Cost, Entry, Outcome, Request, Response
from computer_use_cache.run_models import Call, Run
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import Store
from report import shop

NOW = 1_795_000_000.0
TASK = "Order two packs of barista oat milk for the office, delivered after 17:00. Stop before you pay."
INSTRUCTIONS = "You operate a web browser. Before each action, say in a sentence what you see."
TOOL = {"type": "computer_use_preview", "display_width": 1280, "display_height": 800, "environment": "browser"}


def cache_of(store: Store) -> Cache:
    return Cache(Settings.load({"UPSTREAM_BASE_URL": "https://api.example/v1"}), store, loopback=True)


def add_run(store: Store, id: str, bodies: Iterable[tuple[dict[str, Any], dict[str, Any]]], **fields: Any) -> Run:
    """A run of these requests and answers: those that are stored already are hits."""
    cache, calls = cache_of(store), list[Call]()
    began = NOW + 3600 * len(store.run_log.runs(99))
    for number, (asked, answer) in enumerate(bodies):
        calls.append(_call(cache, asked, answer, began + 4 * number))
    name = fields.pop("name", "python order.py")
    run = Run(id=id, name=name, began=began, ended=calls[-1].at + 3 if calls else began, status=0, **fields)
    store.run_log.add_run(run)
    store.run_log.add_calls(id, calls)
    return run


def _call(cache: Cache, asked: dict[str, Any], answer: dict[str, Any], at: float) -> Call:
    request = Request("https://api.example/v1", "/responses", (), {}, json.dumps(asked).encode())
    plan = cache.plan(request)
    found = cache.lookup(plan, at)
    facts: dict[str, Any] = {"at": at, "format": plan.format.name, "path": request.path, "model": plan.model}
    if isinstance(found, Entry):
        return Call(outcome=Outcome.HIT, key=plan.key, asked=plan.key, seconds=0.004, cost=found.cost, **facts)
    near = near_miss.study(cache, plan).near
    if near:
        near_miss.log_miss(cache, plan, near, at)
    response = Response(200, {"content-type": "application/json"}, json.dumps(answer).encode(), 2.1)
    entry = cache.judge(plan, response, at)
    assert isinstance(entry, Entry), entry
    cost = Cost(entry.input_tokens, entry.output_tokens, 0.0021 + entry.input_tokens * 3e-6, 2.1)
    cache.keep(entry.costing(cost), at, record(cache, plan))
    place = str(near.differences[0]) if near else ""
    return Call(
        outcome=Outcome.MISS, key=plan.key, asked=plan.key, seconds=2.1, cost=cost,
        near_key=near.key if near else "", near_place=place, **facts,
    )  # fmt: skip


def conversation(
    steps: Sequence[tuple[str, dict[str, Any] | str, str]], task: str = TASK
) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """The requests and answers of a computer-use loop: in each step what the model thinks, what it does or says, and
    the base64 of the screenshot that it has seen."""
    said: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "input_text", "text": task}]}]
    call = ""
    for number, (thought, done, data) in enumerate(steps, 1):
        url = f"data:image/png;base64,{data}"
        if call:
            output = {"type": "computer_screenshot", "image_url": url}
            said.append({"type": "computer_call_output", "call_id": call, "output": output})
        else:
            said[0]["content"].append({"type": "input_image", "image_url": url})
        asked = {"model": "computer-use-preview", "instructions": INSTRUCTIONS, "input": list(said), "tools": [TOOL]}
        call = f"call_{number}"
        reasoning = {"type": "reasoning", "id": f"rs_{number}", "summary": [{"type": "summary_text", "text": thought}]}
        acts = {
            "type": "computer_call",
            "call_id": call,
            "action": done,
            "status": "completed",
            "pending_safety_checks": [],
        }
        speaks = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": done}]}
        output = [reasoning, speaks if isinstance(done, str) else acts]
        usage = {"input_tokens": 900 + 1150 * number, "output_tokens": 64, "total_tokens": 964 + 1150 * number}
        yield asked, {"id": f"resp_{number}", "status": "completed", "output": output, "usage": usage}
        said += output


def order(slot: str) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """The ten calls of an agent that orders oat milk."""
    return conversation([(thought, done, shop.png(screen)) for thought, done, screen in shop.order(slot)])
