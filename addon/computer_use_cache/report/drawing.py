"""What a model did, as shapes on the screenshot that it saw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from computer_use_cache.formats.actions import Action, Gesture, Point, Size
from computer_use_cache.report.views import Form, Shape

_FORMS = {
    Gesture.CLICK: Form.CLICK,
    Gesture.DOUBLE_CLICK: Form.DOUBLE_CLICK,
    Gesture.MOVE: Form.MOVE,
    Gesture.TYPE: Form.CLICK,
}
_DIRECTIONS = {"down": (0, 1), "up": (0, -1), "right": (1, 0), "left": (-1, 0)}
_SCROLLED, _HEAD = 0.12, 0.025
"""How long the arrow of a scroll and the head of any arrow are, as shares of the picture's longer side."""


def shapes(actions: Iterable[Action], picture: Size, screen: Size | None) -> tuple[Shape, ...]:
    """The actions on a picture of this size. `screen` is the size in which the model names places, if it differs."""
    return tuple(shape for action in actions for shape in _shapes(action, picture, screen or picture))


def keys(actions: Iterable[Action]) -> str:
    """What was typed or pressed."""
    return " ".join(action.text for action in actions if action.gesture in (Gesture.TYPE, Gesture.KEY) and action.text)


def _shapes(action: Action, picture: Size, screen: Size) -> Iterator[Shape]:
    points = [_scaled(point, picture, screen) for point in action.points]
    if not points:
        return
    match action.gesture:
        case Gesture.DRAG:
            yield _arrow(points, max(picture))
        case Gesture.SCROLL:
            (x, y), length = points[0], _SCROLLED * max(picture)
            across, down = _DIRECTIONS.get(action.text.partition(" ")[0], (0, 1))
            yield _arrow([(x, y), (x + across * length, y + down * length)], max(picture))
        case gesture if gesture in _FORMS:
            yield Shape(_FORMS[gesture], tuple(points))


def _arrow(path: list[Point], longer: int) -> Shape:
    """An arrow along a path. Its head has the direction from the last point that is not too near the end to the end."""
    end_x, end_y = path[-1]
    length = _HEAD * longer
    start_x, start_y = next((point for point in reversed(path) if math.dist(point, path[-1]) >= length), path[0])
    angle = math.atan2(end_y - start_y, end_x - start_x)
    sides = [angle + turn for turn in (math.radians(145), -math.radians(145))]
    left, right = ((end_x + length * math.cos(side), end_y + length * math.sin(side)) for side in sides)
    return Shape(Form.ARROW, tuple(map(_rounded, path)), tuple(map(_rounded, (left, path[-1], right))))


def _scaled(point: Point, picture: Size, screen: Size) -> Point:
    x, y = (value * size / whole for value, size, whole in zip(point, picture, screen, strict=True))
    return _rounded((x, y))


def _rounded(point: Point) -> Point:
    return round(point[0], 1), round(point[1], 1)
