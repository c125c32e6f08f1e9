"""Shots of the rendered world, the pools that hold them, and the questions asked about them."""

import collections
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_prep.contract.contract import BUILT_IN
from data_prep.contract.crops import crop_template
from data_prep.contract.images import resize
from data_prep.geometry import center, iou
from data_prep.world.expressions import KINDS
from data_prep.world.film import SLIVER
from data_prep.world.phrases import Expression, plainly
from data_prep.world.presets import PRESETS
from data_prep.world.scene import Scene, make_scene
from train.scratch import annotated_frames, frame_pool
from train.scratch.annotated_frames import (
    AMBIGUOUS,
    CLEAR_SHARE,
    FREE_SHARE,
    NO_OBJECT,
    OWNED_SHARE,
    PHRASES,
    AnnotatedFrame,
    FrameObject,
    render_frame,
)
from train.scratch.frame_pool import PoolSpec, open_pool
from train.scratch.questions import QuestionMix, Sample, sample_questions

CONTRACT = BUILT_IN["short"]
TRAIN = PRESETS["train"]
SIZE = 336, 224  # of the resized pictures: 12 by 8 tokens
KIND = PoolSpec("train", CONTRACT, SIZE)
CROPS = PoolSpec("train", CONTRACT, SIZE, crop=True)
COUNT = 12
CHUNK = 4
Masks = list[np.ndarray]


@pytest.fixture(autouse=True, scope="module")
def small_files() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_pool, "CHUNK", CHUNK)
        yield


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A shot with what it was drawn from: the frame it shows, and the frame its templates are from."""

    scene: Scene
    shot: AnnotatedFrame
    frame: np.ndarray
    masks: Masks
    template_frame: np.ndarray
    template_masks: Masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def drawn(folder: Path, small_files: None) -> list[Drawn]:
    """A pool of twelve shots. Some of their things are hidden, some hardly seen, some without a template."""
    frames: list[tuple[np.ndarray, Masks]] = []
    paint = annotated_frames.draw_frame

    def record(scene: Scene, t: int) -> tuple[np.ndarray, Masks]:
        frames.append(paint(scene, t))
        return frames[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotated_frames, "draw_frame", record)
        pool = open_pool(folder, KIND, 0, COUNT)
    assert len(frames) == 2 * COUNT == 2 * len(pool)
    return [
        Drawn(make_scene(TRAIN.first_seed + n, TRAIN), pool[n], *frames[2 * n], *frames[2 * n + 1])
        for n in range(COUNT)
    ]


@pytest.fixture(scope="module")
def shots(drawn: list[Drawn]) -> list[AnnotatedFrame]:
    return [each.shot for each in drawn]


# ---- shots ---------------------------------------------------------------------------------------


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What a pool's first file holds."""
    with pa.memory_map(str(folder / KIND.name / "0000000000.arrow")) as source:
        rows: list[dict[str, Any]] = pa.ipc.open_file(source).read_all().to_pylist()
    return rows


def test_the_folder_of_a_pool_is_named_by_all_that_its_frames_depend_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wider = dataclasses.replace(CONTRACT, template_scale=CONTRACT.template_scale * 2)
    names = {KIND.name, PoolSpec("train", wider, SIZE).name, PoolSpec("train", CONTRACT, (112, 112)).name}
    monkeypatch.setitem(PRESETS, "train", dataclasses.replace(TRAIN, first_seed=TRAIN.first_seed + 1))
    names.add(KIND.name)
    monkeypatch.setattr(annotated_frames, "QUALITY", (1, 2))
    names.add(KIND.name)
    names.add(CROPS.name)
    monkeypatch.setattr(annotated_frames, "CROPS", dataclasses.replace(annotated_frames.CROPS, shift=0.5))
    names |= {KIND.name, CROPS.name}
    assert len(names) == 7


def test_a_shot_follows_from_its_seed_alone(drawn: list[Drawn], folder: Path) -> None:
    third, first = (render_frame(seed, TRAIN, CONTRACT, SIZE) for seed in (2, 0))
    table = rows_of(folder)
    assert [table[0], table[2]] == [first, third]
    assert len({row["picture"] for row in table}) == CHUNK


def test_two_processes_draw_the_bytes_that_one_draws(
    drawn: list[Drawn], folder: Path, tmp_path: Path
) -> None:
    open_pool(tmp_path, KIND, 0, 2 * CHUNK, workers=2)
    files = sorted((tmp_path / KIND.name).iterdir())
    assert [file.name for file in files] == ["0000000000.arrow", "0000000004.arrow"]
    assert all(file.read_bytes() == (folder / KIND.name / file.name).read_bytes() for file in files)


def test_the_picture_is_the_frame_resized(drawn: list[Drawn]) -> None:
    swapped = []
    for each in drawn:
        image, whole = each.shot.image, resize(each.frame, SIZE).astype(int)
        assert image.shape == (SIZE[1], SIZE[0], 3) and image.dtype == np.uint8
        assert abs(image - whole).mean() < 8, "no more is lost than JPEG loses"
        swapped.append(abs(image[..., ::-1] - whole).mean())
    assert np.mean(swapped) > 8


def things_of(drawn: list[Drawn]) -> Iterator[tuple[Drawn, int, FrameObject, np.ndarray]]:
    """Every thing of every shot with the mask of what its frame shows of it."""
    for each in drawn:
        assert len(each.shot.things) == len(each.scene.things)
        for index, (thing, mask) in enumerate(zip(each.shot.things, each.masks, strict=True)):
            yield each, index, thing, mask


def test_a_thing_is_clear_or_absent_by_what_the_frame_shows_of_it(drawn: list[Drawn]) -> None:
    met = set()
    for each, index, thing, mask in things_of(drawn):
        enough = int(mask.sum()) >= CLEAR_SHARE * each.scene.things[index].radius ** 2
        assert (thing.box_resized is None) == (mask.sum() < SLIVER)
        assert thing.clear == (enough and thing.box_resized is not None)
        met.add((thing.clear, thing.box_resized is not None))
        if thing.box_resized is not None:
            rows, columns = np.nonzero(mask)
            bounds = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert thing.box_resized == pytest.approx(bounds * SIZE[0] / TRAIN.size[0])
    assert met == {(True, True), (False, True), (False, False)}, "and between the two nobody can tell"


def test_a_token_belongs_to_the_thing_that_fills_a_quarter_of_it(drawn: list[Drawn]) -> None:
    rows, columns = SIZE[1] // 28, SIZE[0] // 28
    cell = TRAIN.size[0] // columns  # pixels of the frame
    for each in drawn:
        shares = np.stack(each.masks).reshape(-1, rows, cell, columns, cell).mean((2, 4))
        most, owner = shares.max(0), each.shot.owner
        assert owner.shape == (rows, columns) and owner.dtype == np.int8
        sure = (abs(most - OWNED_SHARE) > 1e-6) & (abs(most - FREE_SHARE) > 1e-6)
        assert np.array_equal((owner >= 0)[sure], (most > OWNED_SHARE)[sure])
        assert np.array_equal((owner == NO_OBJECT)[sure], (most < FREE_SHARE)[sure])
        assert set(owner[owner < 0].tolist()) <= {NO_OBJECT, AMBIGUOUS}
        filled = np.take_along_axis(shares, owner.clip(0)[None].astype(int), 0)[0]
        assert (filled == most)[owner >= 0].all(), "of several the one that fills it best"


def test_owned_tokens_lie_in_their_things_box_and_what_is_out_of_sight_owns_none(drawn: list[Drawn]) -> None:
    owning = 0
    for each, index, thing, _ in things_of(drawn):
        rows, columns = np.nonzero(each.shot.owner == index)
        if thing.box_resized is None:
            assert rows.size == 0
        elif rows.size:
            left, top, right, bottom = np.array(thing.box_resized) / 28
            assert left < columns.min() + 1 and columns.max() < right
            assert top < rows.min() + 1 and rows.max() < bottom
            owning += 1
    assert owning > 2 * COUNT


@pytest.mark.parametrize("size", [SIZE, (280, 280), (196, 364)])
def test_a_crop_is_a_part_of_its_frame_with_what_it_shows_of_each_thing(
    drawn: list[Drawn], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels of a crop are replaced by their places, so that its window can be read from it."""
    height, width = drawn[0].frame.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    found = []
    monkeypatch.setattr(annotated_frames, "_jpeg", lambda image, _: found.append(image) or b"")
    monkeypatch.setattr(annotated_frames, "resize", lambda image, _: image)
    met = set()
    for seed, each in enumerate(drawn):
        drawings = iter(
            [(np.dstack([columns, rows, columns]), each.masks), (each.frame, each.template_masks)]
        )
        monkeypatch.setattr(annotated_frames, "draw_frame", lambda *_, drawings=drawings: next(drawings))
        monkeypatch.setattr(annotated_frames, "_strip", lambda *_: np.zeros(0))
        facts = json.loads(render_frame(seed, TRAIN, CONTRACT, size, crop=True)["facts"])
        window = found[-2]  # the last one is the strip of templates
        (left, top), (right, bottom) = window[0, 0, :2], window[-1, -1, :2] + 1
        assert window.shape[:2] == (bottom - top, right - left), "it lies within the frame"
        assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1], rel=0.03)
        shown = 0
        for thing, mask, drawn_thing in zip(facts["things"], each.masks, each.scene.things, strict=True):
            part = mask[top:bottom, left:right]
            assert (thing["box_resized"] is None) == (part.sum() < SLIVER)
            least = max(SLIVER, annotated_frames.CLEAR_SHARE_OF_CROPS * drawn_thing.radius**2)
            assert thing["clear"] == (part.sum() >= least)
            if thing["box_resized"] is None:
                continue
            shown += 1
            ys, xs = np.nonzero(part)
            bounds = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
            bounds *= np.tile([size[0] / part.shape[1], size[1] / part.shape[0]], 2)
            assert thing["box_resized"] == pytest.approx(bounds)
        met.add((shown > 0, right - left < width * 0.5))
    assert (True, True) in met


def test_templates_are_there_for_what_another_frame_shows_clearly(drawn: list[Drawn]) -> None:
    met = set()
    for each, index, thing, _ in things_of(drawn):
        shown = each.template_masks[index].sum() >= CLEAR_SHARE * each.scene.things[index].radius ** 2
        assert thing.has_template == shown == (each.shot.templates[index] is not None)
        met.add((bool(shown), thing.clear))
    assert met == {(True, True), (True, False), (False, True), (False, False)}


def test_a_template_shows_its_thing(drawn: list[Drawn]) -> None:
    """It is nearer to the exact crop of its own thing than to that of any other."""
    for each in drawn:
        exact = {}
        for index, mask in enumerate(each.template_masks):
            if each.shot.templates[index] is not None:
                rows, columns = np.nonzero(mask)
                box = tuple(map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)))
                exact[index] = resize(crop_template(each.template_frame, box, CONTRACT), (56, 56)).astype(int)
        for index in exact:
            template = each.shot.templates[index]
            assert template is not None and template.shape == (56, 56, 3)
            assert min(exact, key=lambda other: abs(exact[other] - template).mean()) == index


def fits(phrase: Expression, thing: FrameObject) -> bool:
    """Whether a thing looks as the words say, as far as they say it."""
    return phrase.colour in (None, thing.colour) and phrase.shape in (None, thing.shape)


def test_phrases_mean_their_thing_alone(drawn: list[Drawn]) -> None:
    for each, index, thing, _ in things_of(drawn):
        assert len(thing.phrases) == PHRASES
        assert (thing.colour, thing.shape) == (
            each.scene.things[index].colour,
            each.scene.things[index].shape,
        )
        for phrase in thing.phrases:
            assert [fits(phrase, other) for other in each.shot.things].count(True) == 1 and fits(
                phrase, thing
            )


# ---- pools ---------------------------------------------------------------------------------------


@pytest.fixture
def numbered(drawn: list[Drawn], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Draws shots at once, which say their seed in their first phrase; the seeds drawn."""
    row, seeds = rows_of(folder)[0], []
    facts = json.loads(row["facts"])

    def draw(seed: int, *_: Any) -> dict[str, Any]:
        seeds.append(seed)
        phrase = {"text": str(seed), "kind": "", "colour": None, "shape": None}
        things = [{**thing, "phrases": [phrase]} for thing in facts["things"]]
        return {**row, "facts": json.dumps({**facts, "things": things})}

    monkeypatch.setattr(frame_pool, "render_frame", draw)
    return seeds


def seeds_in(folder: Path, first: int, count: int) -> list[int]:
    pool = open_pool(folder, KIND, first, count)
    assert len(pool) == count
    return [int(pool[index].things[0].phrases[0].text) for index in range(count)]


def test_a_pool_begins_anywhere_and_draws_only_what_is_missing(numbered: list[int], tmp_path: Path) -> None:
    assert seeds_in(tmp_path, 6, 7) == list(range(6, 13))
    assert numbered == list(range(4, 16)), "files whole"
    assert seeds_in(tmp_path, 2, 13) == list(range(2, 15))
    assert numbered[12:] == [0, 1, 2, 3]
    assert seeds_in(tmp_path, 8, 4) == [8, 9, 10, 11] and len(numbered) == 16


def test_a_pool_has_no_shots_beyond_its_ends(numbered: list[int], tmp_path: Path) -> None:
    pool = open_pool(tmp_path, KIND, 1, 2)
    assert [shot.things[0].phrases[0].text for shot in pool] == ["1", "2"]
    for index in (-1, 2):
        with pytest.raises(IndexError):
            pool[index]


def row_that_stops(draw: Callable[..., dict[str, Any]], at: int, instead: Any) -> Callable[..., Any]:
    def stopped(seed: int, *rest: Any) -> Any:
        if seed == at and isinstance(instead, BaseException):
            raise instead
        return draw(seed, *rest) | ({"picture": instead} if seed == at else {})

    return stopped


@pytest.mark.parametrize("instead", [KeyboardInterrupt(), 5], ids=["while drawing", "while writing"])
def test_a_file_is_written_whole_or_not_at_all(
    instead: Any, numbered: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(frame_pool, "render_frame", row_that_stops(frame_pool.render_frame, 6, instead))
        with pytest.raises((KeyboardInterrupt, pa.ArrowInvalid, pa.ArrowTypeError)):
            open_pool(tmp_path, KIND, 0, 12)
    assert [file.name for file in (tmp_path / KIND.name).iterdir()] == ["0000000000.arrow"]
    numbered.clear()
    assert seeds_in(tmp_path, 0, 12) == list(range(12)) and numbered == list(range(4, 12))


def test_images_of_another_kind_lie_in_another_folder() -> None:
    larger = dataclasses.replace(CONTRACT, template_pixels=4 * CONTRACT.template_pixels)
    changes: list[dict[str, Any]] = [{"preset": "val"}, {"size": (224, 336)}, {"contract": larger}]
    names = {dataclasses.replace(KIND, **change).name for change in changes}
    assert len(names | {KIND.name}) == 4


# ---- questions -----------------------------------------------------------------------------------


def ask(shots: list[AnnotatedFrame], count: int = 4, seed: int = 0, **shares: Any) -> list[Sample]:
    return sample_questions(np.random.default_rng(seed), shots, count, QuestionMix(**shares))


def test_the_same_numbers_ask_the_same_questions(shots: list[AnnotatedFrame]) -> None:
    def said(samples: list[Sample]) -> list[Any]:
        return [
            (s.question.expression, s.question.visual_prompt_xyxy, s.thing, id(s.question.template))
            for s in samples
        ]

    assert said(ask(shots)) == said(ask(shots)) != said(ask(shots, seed=1))


def test_questions_about_a_shot_stand_together_and_share_its_picture_and_its_mark(
    shots: list[AnnotatedFrame],
) -> None:
    samples = ask(shots, 3, marked=0.5)
    assert [sample.frame for sample in samples] == [shot for shot in shots for _ in range(3)]
    assert all(sample.question.image is sample.frame.image for sample in samples)
    boxes = [sample.question.visual_prompt_xyxy for sample in samples]
    assert boxes[::3] == boxes[1::3] == boxes[2::3]
    assert 0 < boxes.count(None) < len(boxes)


def test_shares_of_the_mix_are_kept(shots: list[AnnotatedFrame]) -> None:
    samples = ask(shots * 25, 3, absent=0.3, template=0.6, marked=0.7)
    present = [sample for sample in samples if sample.thing is not None]
    assert len(present) / len(samples) == pytest.approx(0.7, abs=0.05)
    could = [sample for sample in present if sample.frame.templates[sample.thing or 0] is not None]
    assert np.mean([s.question.template is not None for s in could]) == pytest.approx(0.6, abs=0.05)
    assert np.mean([s.question.visual_prompt_xyxy is not None for s in samples]) == pytest.approx(
        0.7, abs=0.08
    )


def test_what_is_asked_after_is_clear_and_the_words_and_the_template_are_its_own(
    shots: list[AnnotatedFrame],
) -> None:
    samples = ask(shots * 3, 4, absent=0.0, template=0.5)
    for sample in samples:
        assert sample.thing is not None
        thing = sample.frame.things[sample.thing]
        assert thing.clear and sample.box_resized == thing.box_resized
        assert sample.phrase in thing.phrases and sample.question.expression == sample.phrase.text
        assert (
            sample.question.template is None
            or sample.question.template is sample.frame.templates[sample.thing]
        )
        seen = [other.box_resized for other in sample.frame.things if other.box_resized]
        assert sorted([*sample.others, thing.box_resized]) == sorted(seen)
    assert {sample.question.template is None for sample in samples} == {True, False}


def owner_of(template: np.ndarray, shots: list[AnnotatedFrame]) -> tuple[AnnotatedFrame, int]:
    """The shot and the thing that a template belongs to."""
    (found,) = [
        (shot, index)
        for shot in shots
        for index, other in enumerate(shot.templates)
        if other is not None and other is template
    ]
    return found


def test_words_about_nothing_fit_nothing_that_can_be_seen(shots: list[AnnotatedFrame]) -> None:
    samples = ask(shots, 30, absent=1.0, template=0.5)
    for sample in samples:
        assert sample.thing is None and sample.box_resized is None
        assert not any(fits(sample.phrase, thing) for thing in sample.frame.things if thing.box_resized)
    hidden = [any(fits(sample.phrase, thing) for thing in sample.frame.things) for sample in samples]
    assert 0 < np.mean(hidden) < 0.3, "some of it is there and out of sight"


def test_templates_of_strangers_are_of_other_shots_and_of_looks_that_are_not_in_this_one(
    shots: list[AnnotatedFrame],
) -> None:
    strangers, alike = 0, 0
    for sample in ask(shots, 30, absent=1.0, template=1.0):
        if sample.question.template is None:
            continue
        shot, index = owner_of(sample.question.template, shots)
        thing = shot.things[index]
        assert fits(sample.phrase, thing), "words and template say the same"
        if shot is sample.frame:
            assert thing.box_resized is None
        else:
            looks = [(other.colour, other.shape) for other in sample.frame.things]
            assert (thing.colour, thing.shape) not in looks
            strangers += 1
            alike += any(thing.colour == colour for colour, _ in looks)
    assert strangers > 200 and alike / strangers > 0.7, "mostly of a colour that is there"


def test_the_kind_of_words_does_not_tell_what_is_absent(shots: list[AnnotatedFrame]) -> None:
    for template in (0.0, 1.0):
        there, missing = (
            collections.Counter(s.phrase.kind for s in ask(shots, 400, absent=absent, template=template))
            for absent in (0.0, 1.0)
        )
        for kind in KINDS:
            shares = [count[kind] / count.total() for count in (there, missing)]
            assert shares[0] == pytest.approx(shares[1], abs=0.06) and min(shares) > 0.01, kind


def test_relations_of_what_is_absent_are_to_things_that_are_there(shots: list[AnnotatedFrame]) -> None:
    for sample in ask(shots, 100, absent=1.0, template=0.5):
        if sample.phrase.kind == "relation" and sample.thing is None:
            here = [plainly(each.colour, each.shape).removeprefix("the ") for each in sample.frame.things]
            assert any(sample.phrase.text.endswith(other) for other in here), sample.phrase.text


def test_a_shot_alone_asks_after_no_strangers(shots: list[AnnotatedFrame]) -> None:
    (alone,) = shots[7:8]  # of which one thing is hidden and has a template
    templates = [sample.question.template for sample in ask([alone], 40, absent=1.0, template=1.0)]
    shown = [template for template in templates if template is not None]
    assert 0 < len(shown) < 40
    assert all(owner_of(template, shots)[0] is alone for template in shown)


def test_plain_words_are_always_the_same_for_a_look(shots: list[AnnotatedFrame]) -> None:
    for sample in ask(shots, 10, plain=True, absent=0.4, template=0.3):
        assert sample.phrase.colour and sample.phrase.shape, "else what is left out would tell"
        assert sample.question.expression == plainly(sample.phrase.colour, sample.phrase.shape)
    usual = [s for s in ask(shots, 10, absent=0.0) if s.phrase.colour and s.phrase.shape]
    assert any(s.question.expression != plainly(s.phrase.colour or "", s.phrase.shape or "") for s in usual)


# ---- the mark ------------------------------------------------------------------------------------


def gap(sample: Sample) -> float:
    """How far the mark is from the thing, in the thing's own longer sides."""
    last, box = sample.question.visual_prompt_xyxy, sample.box_resized
    assert last is not None and box is not None
    left, top, right, bottom = last
    assert 0 <= left < right <= SIZE[0] + 2 and 0 <= top < bottom <= SIZE[1] + 2
    return math.dist(center(last), center(box)) / max(box[2] - box[0], box[3] - box[1])


def test_the_mark_is_near_the_thing_in_focus_unless_it_is_missed(shots: list[AnnotatedFrame]) -> None:
    shares = {"absent": 0.0, "marked": 1.0, "focus": 1.0}
    near = ask(shots * 4, 2, missed=0.0, **shares)
    assert all(first.thing == second.thing for first, second in zip(near[::2], near[1::2], strict=True))
    assert max(map(gap, near)) < 0.5
    assert all(iou(s.question.visual_prompt_xyxy, s.box_resized) > 0.1 for s in near)
    assert np.mean([gap(sample) for sample in ask(shots * 4, 2, missed=1.0, **shares)]) > 1


def test_not_all_questions_are_about_what_is_marked(shots: list[AnnotatedFrame]) -> None:
    samples = ask(shots * 20, 1, absent=0.0, marked=1.0, missed=0.0, focus=0.5)
    about_focus = np.mean([gap(sample) < 0.5 for sample in samples])
    clear = np.mean([1 / sum(thing.clear for thing in shot.things) for shot in shots])
    assert about_focus == pytest.approx(0.5 + 0.5 * clear, abs=0.1)
