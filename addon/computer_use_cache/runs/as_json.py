"""Runs, steps and differences as JSON, for scripts and for agents."""

from __future__ import annotations

import msgspec

from computer_use_cache.formats.base import Json
from computer_use_cache.formats.item import Item
from computer_use_cache.run_models import Call, Run
from computer_use_cache.runs.comparison import Differences, Parting
from computer_use_cache.runs.lines import did
from computer_use_cache.runs.steps import Step
from computer_use_cache.runs.totals import Totals
from computer_use_cache.screens.differences import Difference


def of_run(run: Run, sums: Totals) -> Json:
    """A run with what its calls add up to."""
    fields = {name: getattr(run, name) for name in Run.__struct_fields__}
    return {**fields, "forks": msgspec.to_builtins(run.forks), **msgspec.to_builtins(sums)}


def of_call(call: Call) -> Json:
    """A call with all of its fields."""
    fields = {name: getattr(call, name) for name in Call.__struct_fields__}
    return {**fields, "cost": msgspec.to_builtins(call.cost)}


def of_step(step: Step, near: Differences) -> Json:
    """A step with its texts; `near` is how it differs from the nearest request."""
    return {
        "step": step.number,
        **of_call(step.call),
        "did": did(step.answer),
        "before": step.before,
        "added": [of_item(item) for item in step.news.added],
        "changed": [{"old": of_item(old), "new": of_item(new)} for old, new in step.news.changed],
        "cut": [of_item(item) for item in step.news.cut],
        "answer": [of_item(item) for item in step.answer],
        "near": of_differences(near),
    }


def of_item(item: Item) -> Json:
    """One thing in a conversation. A picture is named by its digest."""
    media = {"type": item.media.type, "digest": item.media.digest, "url": item.media.url} if item.media else None
    return {
        "role": item.role,
        "kind": item.kind,
        "text": item.text,
        "tool": item.name,
        "actions": [str(action) for action in item.actions],
        "media": media,
        "is_error": item.is_error,
    }


def of_differences(differences: Differences) -> Json:
    """Where two requests or answers differ, and how their pictures do."""
    found = [
        {"path": one.path, "at": one.at, "left": one.recorded, "right": one.asked, "picture": one.picture}
        for one in differences.found
    ]
    pictures = []
    for path, (left, right) in differences.pairs.items():
        picture: Json = {"path": path, "left": left, "right": right}
        compared = differences.compared[path]
        if isinstance(compared, Difference):
            picture |= {"share": compared.share, "boxes": [list(box) for box in compared.boxes]}
        pictures.append(picture)
    return {"differences": found, "pictures": pictures}


def of_parting(left: Run, right: Run, parting: Parting | None) -> Json:
    """Where two runs part, if they do."""
    found: Json = {"left": left.id, "right": right.id, "same": parting is None}
    if parting:
        found |= {
            "step": parting.number,
            "ended": "left" if parting.left is None else "right" if parting.right is None else None,
            "asked": of_differences(parting.asked),
            "answered": of_differences(parting.answered),
        }
    return found
