"""A made-up grocer's website, drawn with Pillow: what a browser agent sees while it orders oat milk."""

from __future__ import annotations

import base64
import functools
import io
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SIZE = (1280, 800)
GREEN, INK, SOFT, LINE, PALE = "#14532d", "#1f2937", "#6b7280", "#d6d3d1", "#f5f5f4"
GOODS = (
    ("Oat milk, barista", "2.49", "#e7d3a8"),
    ("Oat milk, plain", "1.99", "#efe4c8"),
    ("Oats, rolled", "1.39", "#d9bf8c"),
)


@dataclass(frozen=True)
class Screen:
    """What differs between the screens."""

    title: str = "Good morning"
    query: str = ""
    goods: tuple[tuple[str, str, str], ...] = ()
    quantity: int = 0
    basket: int = 0
    total: str = ""
    slot: str = ""
    button: str = ""
    is_asked: bool = False


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def drawn(screen: Screen) -> Image.Image:
    """The screen as a picture."""
    picture = Image.new("RGB", SIZE, "white")
    on = ImageDraw.Draw(picture)
    on.rectangle((0, 0, 1280, 72), fill=GREEN)
    on.text((40, 36), "Larkspur Market", font=_font(28), fill="white", anchor="lm")
    on.rounded_rectangle(
        (380, 16, 900, 56), 20, fill="white", outline="#86efac" if screen.is_asked else "white", width=3
    )
    on.text(
        (408, 36), screen.query or "Search groceries", font=_font(18), fill=INK if screen.query else SOFT, anchor="lm"
    )
    on.text((1240, 36), f"Basket  {screen.basket}", font=_font(20), fill="white", anchor="rm")
    on.text((40, 124), screen.title, font=_font(34), fill=INK)
    for at, (name, price, colour) in enumerate(screen.goods):
        left = 40 + at * 400
        on.rounded_rectangle((left, 200, left + 368, 560), 14, fill=PALE)
        on.rounded_rectangle((left + 124, 236, left + 244, 436), 16, fill=colour)
        on.rectangle((left + 124, 300, left + 244, 350), fill="white")
        on.text((left + 184, 325), name.split(",")[0], font=_font(17), fill=INK, anchor="mm")
        on.text((left + 24, 470), name, font=_font(22), fill=INK)
        on.text((left + 24, 508), f"EUR {price}", font=_font(20), fill=SOFT)
    if screen.quantity:
        on.text((640, 240), GOODS[0][0], font=_font(34), fill=INK)
        on.text((640, 296), "EUR 2.49 a litre, from oats grown in the north", font=_font(20), fill=SOFT)
        for x, sign in ((640, "-"), (760, "+")):
            on.rounded_rectangle((x, 350, x + 48, 398), 10, outline=LINE, width=2)
            on.text((x + 24, 374), sign, font=_font(26), fill=INK, anchor="mm")
        on.text((724, 374), str(screen.quantity), font=_font(26), fill=INK, anchor="mm")
    if screen.total:
        on.text((640, 240), "Your basket", font=_font(30), fill=INK)
        for at, (label, value) in enumerate(
            (("Oat milk, barista, 2 x", "4.98"), ("Delivery", "2.90"), ("Total", screen.total))
        ):
            y = 306 + at * 44
            on.text((640, y), label, font=_font(20), fill=INK)
            on.text((1200, y), f"EUR {value}", font=_font(20), fill=INK, anchor="ra")
            on.line((640, y + 34, 1200, y + 34), fill=LINE)
    if screen.slot:
        on.text((640, 470), f"Delivery today, {screen.slot}", font=_font(20), fill=INK)
        on.line((640, 524, 1200, 524), fill=LINE, width=6)
        hour = int(screen.slot[:2])
        on.ellipse((640 + (hour - 14) * 90 - 14, 510, 640 + (hour - 14) * 90 + 14, 538), fill=GREEN)
    if screen.button:
        on.rounded_rectangle((640, 600, 920, 656), 28, fill=GREEN)
        on.text((780, 628), screen.button, font=_font(21), fill="white", anchor="mm")
    return picture


@functools.cache
def png(screen: Screen) -> str:
    """The screen as base64."""
    file = io.BytesIO()
    drawn(screen).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


_HOME = Screen(goods=GOODS)
_FOUND = replace(_HOME, title="3 results for oat milk", query="oat milk")
_PRODUCT = Screen(title="Oat milk", query="oat milk", goods=GOODS[:1], quantity=1, button="Add to basket")
_BASKET = Screen(title="Checkout", goods=GOODS[:1], basket=2, total="7.88", slot="14:00", button="Review order")


def order(slot: str) -> list[tuple[str, dict[str, Any] | str, Screen]]:
    """Each step: what the model thinks, what it does or says, and the screen that it has seen. `slot` is the first free
    hour of delivery."""
    basket = replace(_BASKET, slot=slot)
    late = replace(basket, slot="18:00")
    return [
        ("The shop's home page. I look for oat milk with its search.", _click(560, 36), _HOME),
        ("The field has the focus.", {"type": "type", "text": "oat milk"}, replace(_HOME, is_asked=True)),
        (
            "The words are there.",
            {"type": "keypress", "keys": ["ENTER"]},
            replace(_HOME, is_asked=True, query="oat milk"),
        ),
        ("The barista kind is the one asked for.", _click(224, 380), _FOUND),
        ("One pack so far; two are wanted.", {"type": "double_click", "x": 784, "y": 374}, _PRODUCT),
        ("Two packs. Into the basket.", _click(780, 628), replace(_PRODUCT, quantity=2)),
        (
            "The basket is right. I look at the delivery.",
            {"type": "scroll", "x": 920, "y": 500, "scroll_x": 0, "scroll_y": 300},
            basket,
        ),
        (
            "Delivery must be after 17:00, so I drag the slider.",
            {"type": "drag", "path": [{"x": 640 + (int(slot[:2]) - 14) * 90, "y": 524}, {"x": 1000, "y": 524}]},
            basket,
        ),
        ("18:00 is chosen.", _click(780, 628), late),
        (
            "The review is open. Here I stop.",
            "Two packs of barista oat milk are in the basket, for delivery at 18:00. I stopped before the payment.",
            replace(late, title="Review your order", button="Pay EUR 7.88"),
        ),
    ]


def _click(x: int, y: int) -> dict[str, Any]:
    return {"type": "click", "button": "left", "x": x, "y": y}
