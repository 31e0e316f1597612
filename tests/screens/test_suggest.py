"""The setting that is suggested after misses: ready to be used, verified, and right for other times of the clock."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from PIL import Image, ImageDraw

from computer_use_cache.screens.approval import Same, compare
from computer_use_cache.screens.drawing import drawn
from computer_use_cache.screens.masks import Box, masks
from computer_use_cache.screens.picture import Picture
from computer_use_cache.screens.suggest import Cause, PictureMiss, Suggestion, causes, suggest
from screenshots import SIZE, coded, jpeg, png, scaled, screen

TIMES = ("9:41:07 AM", "9:41:58 AM", "9:42:31 AM")


class Kept(dict[str, str]):
    """Pictures by their digests."""

    def add(self, file: bytes) -> str:
        digest = Picture(coded(file)).digest
        self[digest] = coded(file)
        return digest


def miss(kept: Kept, run: str, *pairs: tuple[bytes, bytes]) -> PictureMiss:
    return PictureMiss(run, tuple((kept.add(one), kept.add(other)) for one, other in pairs))


def only(found: Suggestion | None) -> Suggestion:
    assert found is not None
    return found


def test_a_clock_is_suggested_as_a_mask_that_fits_every_time_of_day() -> None:
    kept = Kept()
    misses = [miss(kept, "run", (png(screen(clock=TIMES[0])), png(screen(clock=time)))) for time in TIMES[1:]]
    suggestion = only(suggest(misses, kept.get))
    for time in ("12:58:32 PM", "10:00:00 PM", "1:11:11 AM", "8:08:08 PM"):
        one, other = coded(png(screen(clock=TIMES[0]))), coded(png(screen(clock=time)))
        assert isinstance(compare(one, other, masks(suggestion.mask)), Same), time
    assert suggestion.mask.startswith("640x480:")
    assert (len(suggestion.misses), suggestion.caret) == (2, False)
    assert str(suggestion).endswith(", in 2 misses of 1 run")


@pytest.mark.parametrize("made", [jpeg, lambda picture: png(scaled(picture))], ids=["jpeg", "scaled"])
def test_what_is_suggested_for_other_pictures_is_verified_too(made: object) -> None:
    assert callable(made)
    kept = Kept()
    pair = made(screen(clock=TIMES[0])), made(screen(clock=TIMES[1]))
    suggestion = only(suggest([miss(kept, "run", pair)], kept.get))
    one, other = map(coded, pair)
    assert isinstance(compare(one, other, masks(suggestion.mask)), Same)


def test_a_suggestion_adds_to_the_present_setting() -> None:
    kept = Kept()
    misses = [miss(kept, "run", (png(screen()), png(screen(clock=TIMES[1]))))]
    assert only(suggest(misses, kept.get, "*:left 2")).mask.startswith("*:left 2; 640x480:")


def test_nothing_is_suggested_for_what_is_masked_already() -> None:
    kept = Kept()
    misses = [miss(kept, "run", (png(screen()), png(screen(clock=TIMES[1]))))]
    assert suggest(misses, kept.get, only(suggest(misses, kept.get)).mask) is None


def test_a_text_cursor_is_suggested_by_its_name() -> None:
    kept = Kept()
    suggestion = only(suggest([miss(kept, "run", (png(screen()), png(screen(caret=True))))], kept.get))
    assert (suggestion.mask, suggestion.boxes) == ("", ())
    assert suggestion.settings == {"CACHE_NORMALIZE": "image-caret"}


def test_a_clock_and_a_text_cursor_are_suggested_together() -> None:
    kept = Kept()
    pair = png(screen()), png(screen(clock=TIMES[1], caret=True))
    suggestion = only(suggest([miss(kept, "run", pair)], kept.get))
    assert len(suggestion.boxes) == 1
    assert suggestion.settings == {"CACHE_IMAGE_MASK": suggestion.mask, "CACHE_NORMALIZE": "image-caret"}


def test_what_differs_once_only_is_not_hidden_with_what_differs_always() -> None:
    kept = Kept()
    pages = [screen(clock=TIMES[1]), screen(clock=TIMES[2]), screen(clock=TIMES[2], price="9.80")]
    suggestion = only(suggest([miss(kept, "run", (png(screen()), png(page))) for page in pages], kept.get))
    assert [box.bottom < 60 for box in suggestion.boxes] == [True]
    assert len(suggestion.misses) == 2


def test_pictures_of_two_sizes_are_hidden_by_one_setting() -> None:
    kept = Kept()
    misses = [
        miss(kept, "one", (png(screen()), png(screen(clock=TIMES[1])))),
        miss(kept, "two", (png(scaled(screen())), png(scaled(screen(clock=TIMES[1]))))),
    ]
    suggestion = only(suggest(misses, kept.get))
    assert [item.split(":")[0] for item in suggestion.mask.split("; ")] == ["640x480", "400x300"]
    assert {miss.run for miss in suggestion.misses} == {"one", "two"}


def test_a_miss_that_needs_more_than_the_setting_is_not_counted() -> None:
    kept = Kept()
    clock = png(screen()), png(screen(clock=TIMES[1]))
    other_page = png(screen()), covered((0, 0, *SIZE))
    misses = [miss(kept, "run", clock), miss(kept, "run", clock, other_page)]
    assert only(suggest(misses, kept.get)).misses == (misses[0],)


def covered(*boxes: tuple[int, int, int, int]) -> bytes:
    picture = screen()
    for box in boxes:
        ImageDraw.Draw(picture).rectangle(box, fill="navy")
    return png(picture)


def test_a_mask_that_hides_much_is_suggested_with_its_mark() -> None:
    kept = Kept()
    suggestion = only(suggest([miss(kept, "run", (png(screen()), covered((400, 200, 500, 300))))], kept.get))
    assert suggestion.mask == "640x480:399,199,502,302!"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(covered((0, 0, *SIZE)), id="another page"),
        pytest.param(covered(*((40 * n, 60 * n, 40 * n + 9, 60 * n + 9) for n in range(6))), id="many places"),
        pytest.param(png(scaled(screen())), id="another size"),
        pytest.param(b"\x89PNG but broken" * 99, id="not a picture"),
    ],
)
def test_nothing_is_suggested_where_something_else_is_shown(other: bytes) -> None:
    kept = Kept()
    assert suggest([miss(kept, "run", (png(screen()), other))], kept.get) is None


def test_pictures_that_are_not_kept_are_passed_over() -> None:
    assert suggest([PictureMiss("run", (("0" * 64, "1" * 64),))], {}.get) is None


# -- causes


@pytest.mark.parametrize(
    ("misses", "told"),
    [
        ([["a"]], ["1 picture differs"]),
        ([["a"], ["a"]], ["1 picture differs, 1 miss follows from it"]),
        ([["a"]] * 10, ["1 picture differs, 9 misses follow from it"]),
        ([["a"], ["a", "b"], ["a", "b", "c"]], ["3 pictures differ, 2 misses follow from the first"]),
        ([["a"], ["b"], ["b"]], ["1 picture differs, 1 miss follows from it", "1 picture differs"]),
    ],
)
def test_misses_are_grouped_by_the_first_picture_that_differs(misses: list[list[str]], told: list[str]) -> None:
    given = [PictureMiss("run", tuple((name, f"{name} now") for name in names)) for names in misses]
    found: list[Cause] = causes(given)
    assert [str(cause) for cause in found] == told


# -- drawn


def test_what_differs_is_drawn_in_red_and_what_is_masked_in_blue() -> None:
    data = drawn(coded(png(screen())), [Box(100, 200, 110, 210)], masks("640x480:300,300,310,310"))
    assert data is not None
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert [image.getpixel(at) for at in ((99, 205), (110, 205))] == [(224, 0, 0)] * 2
        assert [image.getpixel(at) for at in ((299, 305), (305, 310))] == [(0, 96, 224)] * 2
        assert image.getpixel((105, 205)) == (255, 255, 255)


def test_what_cannot_be_decoded_is_not_drawn() -> None:
    assert drawn("QUJD", []) is None
