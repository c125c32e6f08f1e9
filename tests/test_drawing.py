"""What is painted on a frame: the mask where it is, nothing elsewhere, and absence for all to see."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from data_prep import lettering
from data_prep.console import one_line
from data_prep.lettering import font, put_text, shortened
from infer.render.drawing import (
    ABSENT_COLOUR,
    LEGEND_ROWS,
    MASK_COLOUR,
    STATE_COLOURS,
    TRACK_COLOURS,
    TRUTH_COLOUR,
    caption_height,
    draw_report,
    draw_reports,
    resize_report,
)
from infer.render.overlays import Overlays
from infer.trackers.requests import Reason, Report, State

SIZES = [(64, 48), (65, 49), (112, 112), (270, 480), (960, 540), (3840, 2160), (2000, 40), (7, 5)]


def footage(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def tracked(width: int, height: int, state: State = State.TRACK) -> Report:
    """A target in the middle third."""
    mask = np.zeros((height, width), bool)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = True
    box = (width // 3, height // 3, 2 * width // 3, 2 * height // 3)
    return Report(state, mask, tuple(map(float, box)), 0.87)


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=-1).any())


def test_the_mask_is_tinted_and_the_rest_left_alone() -> None:
    image, report = footage(480, 270), tracked(480, 270)
    before = image.copy()
    drawn = draw_report(image, report, "the cup")[:270]

    assert np.array_equal(image, before)
    away = np.ones((270, 480), bool)
    away[86:184, 156:324] = False  # the box, and the width of its line around it
    assert np.array_equal(drawn[away], image[away])
    inside = (slice(95, 175), slice(165, 315))
    nearer = np.abs(drawn[inside] - np.asarray(MASK_COLOUR, int)) <= np.abs(
        image[inside] - np.asarray(MASK_COLOUR, int)
    )
    assert nearer.all() and (drawn[inside] != image[inside]).any(axis=-1).mean() > 0.99


@pytest.fixture
def system_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes fontconfig answer with a font file of matplotlib."""

    def answer(name: str) -> None:
        path = f"{find_spec('matplotlib').submodule_search_locations[0]}/mpl-data/fonts/ttf/{name}.ttf"
        said = subprocess.CompletedProcess([], 0, f"{path}\n0", "")
        monkeypatch.setattr("data_prep.lettering.subprocess.run", lambda *_, **__: said)

    for cached in (lettering._system_font, lettering.text_alpha, lettering.shortened):
        cached.cache_clear()
    yield answer
    for cached in (lettering._system_font, lettering.text_alpha, lettering.shortened):
        cached.cache_clear()


LACKING = "\u1d81\u1d84"  # letters that STIX has and DejaVu has not, as it has no Chinese ones


def test_letters_that_dejavu_lacks_come_from_a_font_of_the_system(system_font: Callable[[str], None]) -> None:
    system_font("DejaVuSans")  # as fontconfig answers where no font has them
    assert lettering.missing_letters(f"the {LACKING}é cup") == LACKING
    boxes = lettering.text_alpha(LACKING, 40)
    lettering._system_font.cache_clear()
    lettering.text_alpha.cache_clear()
    system_font("STIXGeneral")
    assert lettering.missing_letters(f"the {LACKING} cup") == ""
    drawn = lettering.text_alpha(LACKING, 40)
    assert drawn.shape[0] == boxes.shape[0] and not np.array_equal(drawn, boxes)
    assert not np.array_equal(lettering.text_alpha(LACKING[0], 40), lettering.text_alpha(LACKING[1], 40))


def test_letters_that_no_font_has_are_told_once_a_run(
    system_font: Callable[[str], None], tmp_path: Path
) -> None:
    system_font("DejaVuSans")
    pictures = Overlays(tmp_path)
    for expressions in (["the café", "\ud800\n\x00"], [f"a {LACKING}"], [LACKING]):
        pictures.check_letters(expressions)
    (warning,) = pictures.warnings
    assert LACKING in warning and "install one that has" in warning


def test_without_fontconfig_letters_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    lettering._system_font.cache_clear()
    assert lettering.missing_letters(LACKING) == LACKING
    lettering._system_font.cache_clear()


def test_the_hole_of_a_mask_keeps_its_pixels() -> None:
    image, report = footage(480, 270), tracked(480, 270)
    assert report.mask is not None
    report.mask[110:160, 200:280] = False
    drawn = draw_report(image, report, "the ring")
    assert np.array_equal(drawn[115:155, 205:275], image[115:155, 205:275])
    assert has_colour(drawn[105:165, 195:285], MASK_COLOUR)


@pytest.mark.parametrize("size", SIZES)
def test_any_size_gets_a_caption_below_it_of_one_height(size: tuple[int, int]) -> None:
    width, height = size
    image = np.full((height, width, 3), 90, np.uint8)
    heights = {
        draw_report(image, report, words).shape
        for report in (tracked(width, height), Report(State.LOST))
        for words in ("", "the cup", "a very long story " * 40)
    }
    assert heights == {(height + caption_height(size), width, 3)}


@pytest.mark.parametrize("state", list(State))
def test_each_state_has_its_colour(state: State) -> None:
    caption = draw_report(footage(480, 270), tracked(480, 270, state), "the cup")[270:]
    assert [each for each in State if has_colour(caption, STATE_COLOURS[each])] == [state]


@pytest.mark.parametrize("size", [(64, 48), (480, 270)])
def test_absence_has_a_border_and_a_word_of_its_own(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    width, height = size
    image = footage(width, height)
    empty = Report(State.LOST, np.zeros((height, width), bool))
    for report in (Report(State.LOST), empty):
        drawn = draw_report(image, report, "the cup")
        assert (drawn[0, :] == ABSENT_COLOUR).all() and (drawn[:height, -1] == ABSENT_COLOUR).all()
        assert np.array_equal(drawn[9 : height - 9, 9:-9], image[9 : height - 9, 9:-9])
    told: list[str] = []
    monkeypatch.setattr(
        "infer.render.drawing.put_text", lambda bar, corner, words, *_, **__: told.append(words)
    )
    draw_report(image, Report(State.LOST), "the cup")
    assert "absent" in told
    draw_report(image, tracked(width, height), "the cup")
    assert told.count("absent") == 1


def test_the_caption_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    why = replace(tracked(480, 270), reasons=(Reason.DUE, Reason.SAME_PLACE), presence_log_odds=2.0)
    told: list[str] = []
    monkeypatch.setattr("infer.render.drawing.put_text", lambda *values, **_: told.append(values[2]))
    draw_report(footage(480, 270), why, "the cup")
    assert told[-1] == "due, same place · presence 0.88"
    draw_report(footage(480, 270), tracked(480, 270), "the cup")  # a tracker that does not say why
    assert told[-1] == ""


def test_truth_and_mask_are_outlined_in_colours_of_their_own() -> None:
    image, report = np.full((540, 960, 3), 90, np.uint8), replace(tracked(960, 540), box_xyxy=None)
    truth = np.zeros((540, 960), bool)
    truth[20:100, 20:100] = True
    assert not has_colour(draw_report(image, report, ""), TRUTH_COLOUR)
    drawn = draw_report(image, report, "", truth)
    assert has_colour(drawn[:110, :110], TRUTH_COLOUR) and has_colour(drawn, MASK_COLOUR)
    assert np.array_equal(drawn[30:90, 30:90], image[30:90, 30:90])


def test_a_long_prompt_ends_in_an_ellipsis_within_its_room() -> None:
    words = "the second cup from the left behind the plate"
    short = shortened(words, 20, 200)
    assert short.endswith("…") and words.startswith(short[:-1]) and len(short) > 8
    assert font(20).getlength(short) <= 200
    assert shortened("the cup", 20, 200) == "the cup" and shortened("the cup", 20, 3) == ""


@pytest.mark.parametrize("words", ["девочка в юбке", "η κόκκινη κούπα", "الكأس الأحمر", "người đàn ông"])
def test_letters_of_other_scripts_are_painted(words: str) -> None:
    """Not the empty box that stands for a letter the font lacks."""
    assert all(font(20).getmask(c).getbbox() for c in words if c != " ")
    missing = bytes(font(20).getmask("\uffff"))
    assert all(bytes(font(20).getmask(c)) != missing for c in words)


def test_control_characters_never_reach_a_reader() -> None:
    assert one_line("the\n \x1b[31mred\tcup ") == "the [31mred cup"


@pytest.mark.parametrize("corner", [(-5, -5), (95, 15), (300, 5), (5, -100), (5, -30), (-200, 5), (-60, -16)])
def test_text_that_leaves_the_picture_is_cut(corner: tuple[int, int]) -> None:
    """What is drawn is the part inside the image of what a large image shows."""
    image, large = np.zeros((20, 100, 3), np.uint8), np.zeros((420, 900, 3), np.uint8)
    put_text(image, corner, "words", 12, (255, 255, 255))
    put_text(large, (corner[0] + 300, corner[1] + 200), "words", 12, (255, 255, 255))
    assert np.array_equal(image, large[200:220, 300:400])


def test_drawing_is_fast_enough_to_keep_up() -> None:
    """About 3 ms on one core; the bound leaves room for a busy machine."""
    image, report = footage(960, 540), tracked(960, 540)
    draw_report(image, report, "the cup")
    began = time.process_time()
    for _ in range(10):
        draw_report(image, report, "the cup")
    assert (time.process_time() - began) / 10 < 0.03


def test_a_tiny_mask_survives_shrinking() -> None:
    mask = np.zeros((540, 960), bool)
    mask[200:202, 700:702] = True
    image, report = resize_report(
        footage(960, 540), Report(State.TRACK, mask, (700, 200, 702, 202)), (96, 54)
    )
    assert image.shape == (54, 96, 3) and report.mask is not None and report.mask.any()
    assert report.box_xyxy == pytest.approx((70, 20, 70.2, 20.2))
    _, absent = resize_report(footage(96, 54), Report(State.LOST, np.zeros((54, 96), bool)), (48, 27))
    assert absent.mask is not None and not absent.mask.any()


@pytest.mark.parametrize("count", [2, 8, 14])
@pytest.mark.parametrize("size", [(480, 270), (64, 48), (7, 5), (1, 1)])
def test_tracks_that_are_drawn_together_have_colours_of_their_own(size: tuple[int, int], count: int) -> None:
    width, height = size
    image, words = footage(width, height), [f"thing {i}" for i in range(count)]
    there = [tracked(width, height)] * count
    absent = [*there[:-1], Report(State.LOST)]
    before = image.copy()
    pictures = [draw_reports(image, reports, words) for reports in (there, absent)]
    assert np.array_equal(image, before) and pictures[0].shape == pictures[1].shape
    assert pictures[0].shape[0] > height and pictures[0].shape[1] == width
    if size == (480, 270):
        legend = pictures[0][height:]
        assert all(has_colour(legend, colour) for colour in TRACK_COLOURS[:count])
        assert not np.array_equal(pictures[1][height:], legend) or count > LEGEND_ROWS
    assert np.array_equal(draw_reports(image, [Report(State.LOST)] * count, words)[:height], image)
