"""Whole lives of requests with screenshots: what may change on a screen without changing the question."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL", reason="Pillow, which compares pixels, is not installed")

import screenshots
from computer_use_cache.exchange.decisions import Forward
from computer_use_cache.exchange.rendering import reason
from computer_use_cache.exchange.result import Result
from computer_use_cache.models import Outcome
from exchange.house import GOOD, House

MASK = f"{'x'.join(map(str, screenshots.SIZE))}:{','.join(map(str, screenshots.CLOCK))}"
ON = {"x-cache-rebind": "on"}


def shown(picture: bytes) -> list[dict[str, Any]]:
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def second(folder: Path, first: bytes, then: bytes, headers: dict[str, str], **environment: str) -> Result:
    """The result of a request with the screen `then`, after one with the screen `first` was answered."""

    async def life(house: House) -> Result:
        await house.answered(house.asks(headers, messages=shown(first)))
        asked = house.asks(headers, messages=shown(then))
        answer = await asked.resolve()
        if isinstance(answer, Forward):
            return asked.settle(await asked.on_response(GOOD), house.now)
        return asked.settle(answer, house.now)

    house = House(folder / "store", **environment)
    try:
        return asyncio.run(asyncio.wait_for(life(house), 60))
    finally:
        house.store.close()


def png(**shows: Any) -> bytes:
    return screenshots.png(screenshots.screen(**shows))


@pytest.mark.parametrize(
    ("then", "settings", "rebound"),
    [
        pytest.param(screenshots.png(screenshots.screen(), texts={"Time": "10:00"}), {}, (), id="metadata"),
        pytest.param(png(clock="12:58:33 PM"), {"CACHE_IMAGE_MASK": MASK}, (("image-mask", 1),), id="a masked clock"),
        pytest.param(png(caret=True), {"CACHE_NORMALIZE": "image-caret"}, (("image-caret", 1),), id="a text cursor"),
    ],
)
def test_a_screen_with_the_same_meaning_is_a_hit(
    tmp_path: Path, then: bytes, settings: dict[str, str], rebound: Any
) -> None:
    result = second(tmp_path, png(), then, {}, **settings)
    assert (result.outcome, result.rebound) == (Outcome.HIT, rebound)


def test_a_screen_with_the_same_pixels_is_a_hit_where_rebinding_is_on(tmp_path: Path) -> None:
    screen = screenshots.screen()
    result = second(tmp_path, screenshots.png(screen), screenshots.png(screen, level=1), ON)
    assert (result.outcome, result.rebound) == (Outcome.HIT, (("image-pixels", 1),))


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(png(price="9.80"), id="a price"),
        pytest.param(png(clock="12:58:33 PM", price="9.80"), id="a price beside the masked clock"),
        pytest.param(png(bar=14), id="a typed letter like a bar, with no rule for text cursors"),
        pytest.param(png(name="Adam"), id="a typed letter"),
    ],
)
@pytest.mark.parametrize("headers", [{}, ON], ids=["exact", "rebinding"])
def test_a_screen_with_another_meaning_is_a_miss(tmp_path: Path, then: bytes, headers: dict[str, str]) -> None:
    result = second(tmp_path, png(), then, headers, CACHE_IMAGE_MASK=MASK)
    assert result.outcome is Outcome.MISS
    assert "picture 1" in reason(result)


def test_a_clock_that_no_mask_names_is_a_miss(tmp_path: Path) -> None:
    assert second(tmp_path, png(), png(clock="12:58:33 PM"), ON).outcome is Outcome.MISS


def test_masks_do_not_switch_rebinding_on(tmp_path: Path) -> None:
    async def life(house: House) -> Result:
        moved = [{"role": "user", "content": "It is 2026-11-26T10:00:00Z."}]
        await house.answered(house.asks(messages=moved + shown(png())))
        moved = [{"role": "user", "content": "It is 2026-11-26T11:30:00Z."}]
        return await house.answered(house.asks(messages=moved + shown(png())))

    house = House(tmp_path / "store", CACHE_IMAGE_MASK=MASK)
    try:
        result = asyncio.run(asyncio.wait_for(life(house), 60))
    finally:
        house.store.close()
    assert result.outcome is Outcome.MISS
    assert "CACHE_REBIND is off" in reason(result)
