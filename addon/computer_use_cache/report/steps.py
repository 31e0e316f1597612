"""One step as the page shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from computer_use_cache.formats import items
from computer_use_cache.formats.actions import Action, screen_size
from computer_use_cache.formats.base import Json
from computer_use_cache.formats.item import Item, Kind
from computer_use_cache.models import Outcome
from computer_use_cache.report import compare, views
from computer_use_cache.report.album import Album
from computer_use_cache.report.compare import Comparer
from computer_use_cache.report.redaction import Redactor
from computer_use_cache.report.views import Comparison, ItemView, Picture
from computer_use_cache.run_models import Call
from computer_use_cache.runs.steps import Step, object_of
from computer_use_cache.store.base import RequestLog
from computer_use_cache.units import dollars, duration

_MOST_ACTIONS = 3
_CAPTION = 90
_KEY = 8


class StepViews:
    """Shows steps. `cures` are the settings that would have made a miss a hit, by its key."""

    def __init__(
        self, store: RequestLog, album: Album, comparer: Comparer, redactor: Redactor, cures: Mapping[str, str]
    ) -> None:
        self._store = store
        self._album = album
        self._comparer = comparer
        self._redactor = redactor
        self._cures = cures

    def view(self, step: Step) -> views.Step:
        """The step for the page."""
        call = step.call
        answer, added = self._redactor.items(step.answer), self._redactor.items(step.delta.added)
        changed = [self._redactor.items(pair) for pair in step.delta.changed]
        actions = tuple(action for item in answer for action in item.actions)
        screen = self._screen(step, actions)
        is_screen_new = screen and any(item.media for item in (*added, *(new for _, new in changed)))
        return views.Step(
            number=step.number,
            outcome=call.outcome,
            caption=_caption(actions, answer) or self._redactor.text(call.path),
            facts=tuple((label, self._redactor.text(value)) for label, value in _facts(call)),
            note=self._note(step),
            screen=screen if is_screen_new or (screen and screen.shapes) else None,
            new=tuple(self._item_view(item) for item in added if not (screen and _is_shown(item, screen))),
            changed=self._comparer.compared(
                f"Changed since step {step.before}", ("before", "now"), ((old, new) for old, new in changed)
            ),
            cut=tuple(map(self._item_view, self._redactor.items(step.delta.cut))),
            answer=tuple(map(self._item_view, answer)),
            near=self._near(step) if call.near_key else None,
        )

    def _screen(self, step: Step, actions: tuple[Action, ...]) -> Picture | None:
        """The last picture that the model saw, with what it did."""
        pictures = (item for item in reversed(step.asked) if item.media and item.media.is_picture)
        item = next(pictures, None)
        media = self._redactor.item(item).media if item else None
        if media is None:
            return None
        done = ", then ".join(map(str, actions[:_MOST_ACTIONS]))
        alt = f"Screen before step {step.number}'s action{f' {done}' if done else ''}"
        return self._album.screen(media, alt, actions, screen_size(step.body))

    def _item_view(self, item: Item) -> ItemView:
        actions = " ".join(str(action) for action in item.actions)
        title = (f"{item.name}: {actions}" if actions else item.name) if item.kind is Kind.CALL else item.role
        if item.kind is Kind.RESULT:
            title = "tool result"
        is_picture = item.media is not None and item.media.is_picture
        picture = self._album.picture(item.media, "Picture") if item.media and is_picture else None
        return ItemView(item.kind, title, item.text, picture, item.is_error)

    def _note(self, step: Step) -> str:
        if step.call.reason:
            return self._redactor.text(step.call.reason)
        if step.call.outcome is Outcome.MISS and not step.call.near_key:
            return "Nothing like this request was recorded before."
        if step.record is None:
            return "The store no longer has this request and its answer."
        if step.call.asked != step.call.key:
            return "A rebound hit: the texts are those of the call that was recorded, before its values were replaced."
        return ""

    def _near(self, step: Step) -> Comparison | None:
        record = self._store.request(step.call.near_key)
        if record is None:
            return None
        near = object_of(record.body)
        sides = (self._settings(step, near), self._settings(step, step.body))
        recorded = self._redactor.items(items.of_request(step.format, near))
        found = [*compare.setting_pairs(*sides), *compare.pairs(recorded, self._redactor.items(step.asked))]
        title = f"Near miss: first differs at {step.call.near_place.partition(': ')[0]}"
        names = (f"recorded, {step.call.near_key[:_KEY]}", "this request")
        cure = self._cures.get(step.call.asked) or self._cures.get(step.call.key, "")
        return self._comparer.compared(self._redactor.text(title), names, found, cure=self._redactor.text(cure))

    def _settings(self, step: Step, body: Json) -> dict[str, Item]:
        body = step.format.opened_request(body)
        hidden = {step.format.conversation, *step.format.instructions, *step.format.last_message}
        found = compare.settings(body, hidden)
        return {name: self._redactor.item(item) for name, item in found.items()}


def _is_shown(item: Item, screen: Picture) -> bool:
    """Whether an item is the screenshot at the top of the step."""
    return bool(screen.digest) and item.media is not None and item.media.digest == screen.digest


def _caption(actions: Sequence[Action], answer: Sequence[Item]) -> str:
    """What the model did in a few words."""
    if actions:
        more = f" and {len(actions) - _MOST_ACTIONS} more" if len(actions) > _MOST_ACTIONS else ""
        return ", ".join(map(str, actions[:_MOST_ACTIONS])) + more
    calls = [item for item in answer if item.kind is Kind.CALL]
    if calls:
        return ", ".join(_one_line(f"{item.name}({_arguments(item)})") for item in calls[:_MOST_ACTIONS])
    texts = (item.text for item in answer if item.kind in (Kind.TEXT, Kind.REFUSAL))
    return _one_line(next(texts, ""))


def _arguments(item: Item) -> str:
    match item.arguments:
        case dict(arguments):
            return ", ".join(str(value) for value in arguments.values() if isinstance(value, (str, int, float)))
    return ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CAPTION else f"{line[:_CAPTION]}…"


def _facts(call: Call) -> Iterator[tuple[str, str]]:
    if call.model:
        yield "Model", call.model
    yield "Waited", duration(call.seconds)
    if call.outcome.saves:
        yield "Time saved", duration(call.cost.seconds)
    if call.cost.input_tokens or call.cost.output_tokens:
        yield "Tokens", f"{call.cost.input_tokens:,} in, {call.cost.output_tokens:,} out"
    if call.cost.usd:
        list_price = ", list price" if call.cost.at_list_price else ""
        yield "Saved" if call.outcome.saves else "Spent", dollars(call.cost.usd) + list_price
    if call.rebound:
        yield "Rebound", f"{call.rebound} value{'s' if call.rebound > 1 else ''}"
    if call.status != 200:
        yield "Status", str(call.status)
    if call.key:
        yield "Key", call.key[:_KEY]
    yield "At", time.strftime("%H:%M:%S", time.localtime(call.at))
