"""Which pictures may stand for each other, by which rule; and the changes that look like noise and are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (scripts/setup dev)")

from PIL import Image, ImageDraw

from computer_use_cache.screens.approval import Approval, Approved, Find, OtherSize, Refused, Rule, Undecodable
from computer_use_cache.screens.differences import Difference
from computer_use_cache.screens.masks import masks
from computer_use_cache.screens.picture import Picture
from screenshots import CLOCK, coded, jpeg, png, scaled, screen, webp

MASK = f"640x480:{','.join(map(str, CLOCK))}"
SCALED_MASK = "400x300 scaled:312,2,398,18"
LATER = "12:58:32 PM"


def judged(
    one: bytes, other: bytes, setting: str = "", *, caret: bool = True, texts_equal: bool = True
) -> Approved | Refused:
    pictures = {Picture(coded(file)).digest: coded(file) for file in (one, other)}
    digests = [[Picture(coded(file)).digest] for file in (one, other)]
    return Approval(masks(setting), caret=caret).approve(*digests, pictures.get, texts_equal=texts_equal)


@pytest.mark.parametrize(
    ("one", "other", "setting", "counts"),
    [
        pytest.param(png(screen()), png(screen()), "", {}, id="the same file"),
        pytest.param(png(screen()), png(screen(), texts={"date": "9"}), "", {}, id="metadata"),
        pytest.param(png(screen()), png(screen(), level=1), "", {Rule.PIXELS: 1}, id="compression"),
        pytest.param(png(screen()), webp(screen(), lossless=True), "", {Rule.PIXELS: 1}, id="another format"),
        pytest.param(png(screen()), png(screen(clock=LATER)), MASK, {Rule.MASK: 1}, id="a clock"),
        pytest.param(
            png(scaled(screen())),
            png(scaled(screen(clock=LATER))),
            SCALED_MASK,
            {Rule.PADDED_MASK: 1},
            id="a scaled clock",
        ),
        pytest.param(jpeg(screen()), jpeg(screen(clock=LATER)), MASK, {Rule.PADDED_MASK: 1}, id="a clock in a JPEG"),
        pytest.param(png(screen()), png(screen(caret=True)), "", {Rule.CARET: 1}, id="a text cursor"),
        pytest.param(png(screen(caret=True)), png(screen()), "", {Rule.CARET: 1}, id="a text cursor that is gone"),
        pytest.param(
            *(png(screen()), png(screen(clock=LATER, caret=True)), MASK, {Rule.MASK: 1, Rule.CARET: 1}),
            id="a clock and a text cursor",
        ),
    ],
)
def test_pictures_that_may_stand_for_each_other(
    one: bytes, other: bytes, setting: str, counts: dict[Rule, int]
) -> None:
    assert judged(one, other, setting) == Approved(counts)


def test_the_rules_are_told_with_their_counts() -> None:
    approved = judged(png(screen()), png(screen(clock=LATER, caret=True)), MASK)
    assert str(approved) == "image-mask 1, image-caret 1"


CHANGES: dict[str, Callable[[], Image.Image]] = {
    "a digit of a price": lambda: screen(price="9.80"),
    "another letter": lambda: screen(name="Adb"),
    "one letter more": lambda: screen(name="Adaa"),
    "one pixel": lambda: dot(screen()),
    "the clock, which no mask names": lambda: screen(clock=LATER),
}


def dot(picture: Image.Image) -> Image.Image:
    picture.putpixel((CLOCK[0] - 30, CLOCK[3] + 30), (254, 255, 255))
    return picture


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("made", [png, lambda picture: webp(picture, lossless=True)], ids=["png", "webp"])
def test_any_other_pixel_makes_another_question(
    made: Callable[[Image.Image], bytes], changed: Callable[[], Image.Image]
) -> None:
    setting = "" if changed().tobytes() == screen(clock=LATER).tobytes() else MASK
    found = judged(made(screen()), made(changed()), setting)
    assert isinstance(found, Refused)
    assert isinstance(found.why, Difference)


@pytest.mark.parametrize("moved", ["9:41:07 AM", LATER])
@pytest.mark.parametrize("change", [{"price": "9.80"}, {"name": "Adaa"}, {"name": ""}, {"bar": 16}])
@pytest.mark.parametrize(
    ("made", "setting"),
    [
        pytest.param(png, MASK, id="png"),
        pytest.param(jpeg, MASK, id="jpeg"),
        pytest.param(lambda picture: png(scaled(picture)), SCALED_MASK, id="scaled"),
        pytest.param(lambda picture: jpeg(scaled(picture)), SCALED_MASK, id="a scaled jpeg"),
    ],
)
def test_a_mask_hides_nothing_outside_it(
    made: Callable[[Image.Image], bytes], setting: str, change: dict[str, str], moved: str
) -> None:
    same, other = screen(clock=moved), screen(clock=moved, **change)  # type: ignore[arg-type]
    assert isinstance(judged(made(screen()), made(same), setting), Approved)
    assert isinstance(judged(made(screen()), made(other), setting, caret=False), Refused)


# -- text cursors


@pytest.mark.parametrize("bar", [pytest.param(16, id="l"), pytest.param(22, id="|"), pytest.param(14, id="I")])
def test_a_typed_letter_is_no_text_cursor(bar: int) -> None:
    found = judged(png(screen()), png(screen(bar=bar)), texts_equal=False)
    assert found == Refused(0, None)
    assert str(found) == "picture 1: what looks like a text cursor may be a typed letter"


def test_without_the_rule_a_text_cursor_is_a_difference() -> None:
    assert isinstance(judged(png(screen()), png(screen(caret=True)), caret=False), Refused)


def barred(
    box: tuple[int, int, int, int], fill: str = "black", under: tuple[int, int, int, int] | None = None
) -> bytes:
    picture = screen()
    on = ImageDraw.Draw(picture)
    if under:
        on.rectangle(under, fill="#06c")
    on.rectangle(box, fill=fill)
    return png(picture)


NOT_A_CARET = {
    "three wide": (png(screen()), barred((200, 200, 202, 220))),
    "too low": (png(screen()), barred((200, 200, 201, 210))),
    "too high": (png(screen()), barred((200, 200, 201, 230))),
    "two of them": (barred((200, 200, 201, 220)), barred((210, 200, 211, 220))),
    "at the edge of the picture": (png(screen()), barred((0, 200, 1, 220))),
    "the end of a progress bar": (
        barred((100, 200, 101, 220), "white", under=(20, 200, 99, 220)),
        barred((100, 200, 101, 220), "#06c", under=(20, 200, 99, 220)),
    ),
    "a line that takes another colour": (barred((200, 200, 201, 220), "red"), barred((200, 200, 201, 220), "green")),
}


@pytest.mark.parametrize(("one", "other"), NOT_A_CARET.values(), ids=NOT_A_CARET)
def test_what_is_not_the_shape_of_a_text_cursor(one: bytes, other: bytes) -> None:
    assert isinstance(judged(one, other), Refused)


def test_a_text_cursor_that_compression_has_blurred_is_not_known() -> None:
    assert isinstance(judged(jpeg(screen()), jpeg(screen(caret=True))), Refused)


# -- histories


def test_every_picture_of_a_history_is_compared() -> None:
    files = [png(screen()), png(screen(clock=LATER)), png(screen(price="9.80", clock=LATER))]
    first, later, cheaper = (Picture(coded(file)).digest for file in files)
    find: Find = {Picture(coded(file)).digest: coded(file) for file in files}.get
    approval = Approval(masks(MASK))
    assert approval.approve([first, first], [later, later], find, texts_equal=True) == Approved({Rule.MASK: 2})
    refused = approval.approve([first, first], [later, cheaper], find, texts_equal=True)
    assert isinstance(refused, Refused)
    assert refused.at == 1
    assert str(refused).startswith("picture 2: ")


def test_pictures_compared_once_are_not_decoded_again() -> None:
    files = [png(screen()), png(screen(clock=LATER))]
    pictures = {Picture(coded(file)).digest: coded(file) for file in files}
    approval = Approval(masks(MASK))
    for find in (pictures.get, lambda _: None):
        assert isinstance(approval.approve(*([digest] for digest in pictures), find, texts_equal=True), Approved)


def test_a_picture_that_is_not_kept_or_not_a_picture_is_refused() -> None:
    one = png(screen())
    digest = Picture(coded(one)).digest
    approval = Approval(masks(MASK), caret=True)
    assert approval.approve([digest], ["0" * 64], {digest: coded(one)}.get, texts_equal=True) == Refused(
        0, Undecodable()
    )
    assert judged(one, b"\x89PNG but broken" * 99) == Refused(0, Undecodable())


def test_pictures_of_different_sizes_are_refused() -> None:
    found = judged(png(screen()), png(scaled(screen())), "*:top 300!")
    assert found == Refused(0, OtherSize((640, 480), (400, 300)))
    assert str(found) == "picture 1: a picture of 400 x 300 pixels was 640 x 480"
