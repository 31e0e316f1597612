"""What a tool call does on a screen: where it clicks, what it types, which way it scrolls.

Recognises OpenAI's `computer_call`, Anthropic's `computer` tool, Gemini's computer use, and the tools of browser agents
(playwright-mcp, browser-use, cua). They name the same few gestures in different spellings, so one table of words
serves all of them. A call that does nothing on a screen has no action.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard

from computer_use_cache.formats.base import Json

type Point = tuple[float, float]
type Size = tuple[int, int]

_LONGEST_TEXT = 60
_GRID = (1000, 1000)
"""Gemini names places on a grid that is laid over any screen."""
_LARGEST = 1_000_000
"""No screen is larger. A model may write any number, even one that no float can hold."""


class Gesture(StrEnum):
    """What is done to the screen."""

    CLICK = "click"
    DOUBLE_CLICK = "double_click"
    DRAG = "drag"
    MOVE = "move"
    TYPE = "type"
    KEY = "key"
    SCROLL = "scroll"
    WAIT = "wait"
    NAVIGATE = "navigate"
    SCREENSHOT = "screenshot"


_GESTURES = {
    Gesture.CLICK: "click,tap,right click,middle click,double,press",
    Gesture.DOUBLE_CLICK: "double click,triple click,dblclick,doubleclick",
    Gesture.DRAG: "drag,click drag,drag and drop,drag drop,swipe",
    Gesture.MOVE: "move,hover,move mouse",
    Gesture.TYPE: "type,type text,input,input text,fill,write",
    Gesture.KEY: "key,keys,keypress,press key,key combination,hold key,hotkey,send keys,keyboard press",
    Gesture.SCROLL: "scroll,wheel,scroll document,scroll down,scroll up",
    Gesture.WAIT: "wait,sleep,wait for,wait 5 seconds",
    Gesture.NAVIGATE: "navigate,goto,go url,visit url,open url,open web",
    Gesture.SCREENSHOT: "screenshot,take screenshot",
}
_BY_WORDS = {words: gesture for gesture, all_words in _GESTURES.items() for words in all_words.split(",")}
_FILLERS = frozenset(
    ("browser", "computer", "mouse", "page", "screen", "left", "element", "index", "by", "at", "to", "xy")
)
"""Words in the names of tools that do not change what is done."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_BUTTONS = ("right", "middle", "wheel", "back", "forward")

_PAIRS = (("x", "y"), ("coordinate_x", "coordinate_y"), ("start_x", "start_y"), ("startX", "startY"), ("x1", "y1"))
_END_PAIRS = (("destination_x", "destination_y"), ("end_x", "end_y"), ("endX", "endY"), ("x2", "y2"))
_POINTS = ("start_coordinate", "from", "start", "coordinate", "coordinates", "position", "point", "to", "end")
"""Members that hold one point. Those where a drag begins come first."""
_TEXTS = {
    Gesture.TYPE: ("text", "value", "content"),
    Gesture.KEY: ("keys", "key", "text"),
    Gesture.NAVIGATE: ("url",),
    Gesture.CLICK: ("element", "selector", "ref", "index"),
    Gesture.DOUBLE_CLICK: ("element", "selector", "ref", "index"),
    Gesture.MOVE: ("element", "selector", "ref", "index"),
    Gesture.WAIT: ("duration", "seconds", "time", "text"),
}
"""Members that say what is typed, pressed, opened or meant. The first one that is present counts."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `points` is the place, or the path of a drag, in the units of `screen_size`, else in pixels of the
    picture. `text` is what is typed, the key, the address, the direction, the button or the element."""

    gesture: Gesture
    points: tuple[Point, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        """`click(412, 88)`, `type("hello")`, `scroll(400, 300, down 3)`."""
        ends = self.points if len(self.points) < 3 else (self.points[0], self.points[-1])
        text = self.text if len(self.text) <= _LONGEST_TEXT else f"{self.text[:_LONGEST_TEXT]}…"
        quoted = f'"{text}"' if text and self.gesture is Gesture.TYPE else text
        place = " → ".join(f"{x:g}, {y:g}" for x, y in ends)
        return f"{self.gesture}({', '.join(part for part in (place, quoted) if part)})"


def of_call(name: str, arguments: object) -> tuple[Action, ...]:
    """What a call of the tool `name` does on a screen, in the order in which it is done."""
    return tuple(_of_call(name, arguments))


def _of_call(name: str, arguments: object) -> Iterator[Action]:
    match arguments:
        case {"actions": list(several)} | {"action": list(several)}:
            for each in several:
                match each:
                    case dict() if len(each) == 1 and isinstance(inner := next(iter(each.values())), dict):
                        yield from _of_call(next(iter(each)), inner)  # browser-use: {"click": {"index": 5}}
                    case _:
                        yield from _of_call(name, each)
        case dict():
            verbs = (arguments.get("action"), arguments.get("type") if "computer" in name else None, name)
            verb, gesture = next(((verb, found) for verb in verbs if (found := _gesture(verb))), ("", None))
            points = tuple(_points(arguments))
            match gesture:
                case None:
                    return
                case Gesture.CLICK | Gesture.DOUBLE_CLICK | Gesture.MOVE if points:
                    yield Action(gesture, points, _button(arguments, str(verb)))
                case _:
                    yield Action(gesture, points, _text(gesture, arguments))


def screen_size(body: Json) -> Size | None:
    """The size of the screen on which the model names places, as the request's tools declare it. None where they
    do not: places are then pixels of the picture that it saw."""
    fields = body.get("additionalModelRequestFields")  # Bedrock's Converse
    tools = [*_list(body.get("tools")), *(_list(fields.get("tools")) if isinstance(fields, dict) else ())]
    for tool in tools:
        match tool:
            case {"display_width": int(width), "display_height": int(height)} if width > 0 and height > 0:
                return width, height
            case {"display_width_px": int(width), "display_height_px": int(height)} if width > 0 and height > 0:
                return width, height
            case {"computerUse": _} | {"computer_use": _}:
                return _GRID
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _gesture(verb: object) -> Gesture | None:
    """The gesture that a verb or the name of a tool means: `left_click`, `browser_mouse_click_xy`, `clickAt`."""
    if not isinstance(verb, str) or len(verb) > _LONGEST_TEXT:
        return None
    words = (word.lower() for word in _WORD.findall(verb))
    return _BY_WORDS.get(" ".join(word for word in words if word not in _FILLERS))


def _points(arguments: Mapping[Any, Any]) -> Iterator[Point]:
    if path := [point for step in _list(arguments.get("path")) if (point := _point(step))]:
        yield from path
        return
    for pairs in (_PAIRS, _END_PAIRS):
        found = (_point([arguments.get(x), arguments.get(y)]) for x, y in pairs)
        yield from [point for point in found if point][:1]
    yield from (point for name in _POINTS if (point := _point(arguments.get(name))))


def _point(value: object) -> Point | None:
    match value:
        case [x, y] | {"x": x, "y": y} if _is_number(x) and _is_number(y):
            return x, y
    return None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST


def _text(gesture: Gesture, arguments: Mapping[Any, Any]) -> str:
    """What is typed, pressed, opened, waited for or meant."""
    if gesture is Gesture.SCROLL:
        return _direction(arguments)
    found = (arguments.get(name) for name in _TEXTS.get(gesture, ()))
    match next((value for value in found if isinstance(value, (str, int, float, list)) and value != ""), ""):
        case list(keys):
            return "+".join(map(str, keys))
        case number if gesture is Gesture.WAIT and _is_number(number):
            return f"{number:g} s"
        case value:
            return str(value)


def _button(arguments: Mapping[Any, Any], verb: str) -> str:
    """The mouse button of a click, "" for the usual one."""
    named = (arguments.get("button"), *(word.lower() for word in _WORD.findall(verb)))
    return next((button for button in _BUTTONS if button in named), "")


def _direction(arguments: Mapping[Any, Any]) -> str:
    """`down 3`, or `down 300` from distances in pixels."""
    for names in (("scroll_x", "scroll_y"), ("deltaX", "deltaY"), ("delta_x", "delta_y")):
        match [arguments.get(name) for name in names]:
            case [_, down] if _is_number(down) and down:
                return f"{'down' if down > 0 else 'up'} {abs(down):g}"
            case [across, _] if _is_number(across) and across:
                return f"{'right' if across > 0 else 'left'} {abs(across):g}"
    words = (
        arguments.get("scroll_direction") or arguments.get("direction"),
        arguments.get("scroll_amount") or arguments.get("amount") or arguments.get("magnitude"),
    )
    return " ".join(str(word) for word in words if isinstance(word, (str, int, float)))
