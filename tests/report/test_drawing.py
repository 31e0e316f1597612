"""Actions as shapes on a screenshot, in the screenshot's own pixels."""

from __future__ import annotations

from typing import Any

import pytest

from computer_use_cache.formats import actions
from computer_use_cache.report import drawing
from computer_use_cache.report.views import Form

PICTURE = (640, 400)


@pytest.mark.parametrize(
    ("arguments", "form", "points"),
    [
        ({"action": "left_click", "coordinate": [100, 50]}, Form.CLICK, ((50, 25),)),
        ({"action": "double_click", "coordinate": [100, 50]}, Form.DOUBLE_CLICK, ((50, 25),)),
        ({"action": "mouse_move", "coordinate": [100, 50]}, Form.MOVE, ((50, 25),)),
        ({"action": "drag", "path": [[0, 0], [100, 50]]}, Form.ARROW, ((0, 0), (50, 25))),
        ({"action": "scroll", "coordinate": [100, 100], "scroll_direction": "up"}, Form.ARROW, ((50, 50), (50, -26.8))),
        ({"action": "type", "x": 100, "y": 50, "text": "hi"}, Form.CLICK, ((50, 25),)),
    ],
)
def test_an_action_is_drawn_where_the_model_saw_its_place(arguments: Any, form: Form, points: Any) -> None:
    [shape] = drawing.shapes(actions.of_call("computer", arguments), PICTURE, (1280, 800))
    assert (shape.form, shape.points) == (form, points)
    assert bool(shape.head) is (form is Form.ARROW)


def test_without_a_declared_screen_places_are_pixels_of_the_picture() -> None:
    [shape] = drawing.shapes(actions.of_call("click", {"x": 100, "y": 50}), PICTURE, None)
    assert shape.points == ((100, 50),)


@pytest.mark.parametrize("arguments", [{"action": "screenshot"}, {"action": "wait"}, {"action": "key", "text": "a"}])
def test_an_action_without_a_place_is_not_drawn(arguments: Any) -> None:
    assert drawing.shapes(actions.of_call("computer", arguments), PICTURE, None) == ()


def test_typed_text_and_pressed_keys_are_shown() -> None:
    done = [*actions.of_call("type", {"text": "oat milk"}), *actions.of_call("keypress", {"keys": ["CTRL", "C"]})]
    assert drawing.keys(done) == "oat milk CTRL+C"
