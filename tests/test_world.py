"""The rendered world: one seed, one scene; words that mean one thing; masks and truth that agree."""

import dataclasses
import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.votsr.truth import read_truth
from data_prep.votsr.workspace import read_workspace
from data_prep.world.clip import render_clip
from data_prep.world.draw import background, draw_frame
from data_prep.world.presets import PRESETS, WorldPreset
from data_prep.world.render import render_workspace, target_masks
from data_prep.world.scene import EXIT_FRAMES, Absence, Scene, make_scene
from data_prep.world.vocabulary import COLOURS, PHRASES, SHAPE_NAMES, outline
from data_prep.world.words import plainly, prompts_for, refer

MANY = 150
presets = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def scenes(preset: WorldPreset, count: int = MANY) -> list[Scene]:
    return [make_scene(preset.first_seed + offset, preset) for offset in range(count)]


# ---- scenes --------------------------------------------------------------------------------------


def test_presets_share_no_seeds() -> None:
    """A quarter of a thousand million seeds each, so that what one learns from is never another's test."""
    firsts = sorted(preset.first_seed for preset in PRESETS.values())
    assert all(after - before >= 250_000_000 for before, after in itertools.pairwise(firsts))
    assert [preset.name for preset in PRESETS.values()] == list(PRESETS)


@presets
def test_no_two_things_share_both_colour_and_shape(preset: WorldPreset) -> None:
    for scene in scenes(preset):
        looks = [(thing.colour, thing.shape) for thing in scene.things]
        assert len(set(looks)) == len(looks)
        assert preset.things[0] <= len(looks) <= preset.things[1]
        assert 0 <= scene.target < len(looks)
        if preset.look_alikes == 0:
            assert len({colour for colour, _ in looks}) == len({shape for _, shape in looks}) == len(looks)
        if preset.colours:
            assert len({colour for colour, _ in looks}) <= preset.colours


def test_look_alikes_come_as_often_as_asked() -> None:
    def share(chance: float) -> float:
        preset = dataclasses.replace(PRESETS["flat"], look_alikes=chance)
        pairs = [
            (one, other) for scene in scenes(preset) for one, other in itertools.combinations(scene.things, 2)
        ]
        alike = [one.colour == other.colour or one.shape == other.shape for one, other in pairs]
        return sum(alike) / len(alike)

    assert share(0.0) == 0
    assert share(0.01) + 0.1 < share(0.9)


def test_every_colour_shape_and_place_among_the_things_is_met() -> None:
    met = scenes(PRESETS["train"])
    assert {thing.colour for scene in met for thing in scene.things} == set(COLOURS)
    assert {thing.shape for scene in met for thing in scene.things} == set(SHAPE_NAMES)
    assert {scene.target for scene in met} == set(range(PRESETS["train"].things[1]))


def test_a_scene_follows_from_its_seed_alone() -> None:
    preset = PRESETS["train"]
    first = make_scene(preset.first_seed, preset)
    make_scene(preset.first_seed + 1, preset)
    assert make_scene(preset.first_seed, preset) == first
    assert make_scene(preset.first_seed + 1, preset).things != first.things


def test_targets_leave_come_late_or_stay_in_the_asked_shares() -> None:
    preset = PRESETS["train"]
    met = scenes(preset, 400)
    away = [scene.things[scene.target].absence for scene in met]
    late = sum(absence is not None and absence.start < 0 for absence in away) / len(met)
    leave = sum(absence is not None and absence.start >= 0 for absence in away) / len(met)
    assert late == pytest.approx(preset.late, abs=0.08) and leave == pytest.approx(preset.absence, abs=0.08)
    others = [thing for scene in met for thing in scene.things if thing is not scene.things[scene.target]]
    assert all(thing.absence is None for thing in others)


# ---- absence -------------------------------------------------------------------------------------


def with_absence(count: int) -> list[tuple[Scene, Absence]]:
    """The first scenes of `val` whose target is away for some time."""
    found = []
    for scene in scenes(PRESETS["val"]):
        absence = scene.things[scene.target].absence
        if absence is not None:
            found.append((scene, absence))
    assert len(found) > count
    return found[:count]


def test_the_target_is_out_of_sight_between_the_way_out_and_the_way_in() -> None:
    for scene, absence in with_absence(12):
        begin, end = absence.start + EXIT_FRAMES - 1, absence.stop - EXIT_FRAMES
        assert begin < end
        for t in {max(begin, 0), max((absence.start + absence.stop) // 2, 0), end}:
            image, masks = draw_frame(scene, t)
            assert not masks[scene.target].any(), f"seed {scene.seed}, frame {t}"
            gone = dataclasses.replace(
                scene, things=tuple(thing for i, thing in enumerate(scene.things) if i != scene.target)
            )
            assert np.array_equal(image, draw_frame(gone, t)[0]), "nothing of it is painted either"


def test_a_target_that_is_not_away_goes_round_its_orbit() -> None:
    far = math.hypot(*PRESETS["val"].size)
    for scene, absence in with_absence(12):
        thing = scene.things[scene.target]
        for t in range(scene.preset.frames):
            is_away = absence.start <= t < absence.stop
            assert (thing.position(t, far) != thing.orbit.at(t)) == is_away


def test_a_target_slides_out_and_in_over_several_frames() -> None:
    far = math.hypot(*PRESETS["val"].size)
    for scene, absence in with_absence(30):
        thing = scene.things[scene.target]
        if absence.start < 0:
            continue
        gone = [
            math.dist(thing.position(t, far), thing.orbit.at(t)) / far
            for t in range(absence.start - 1, absence.stop + 1)
        ]
        steps = [abs(after - before) for before, after in itertools.pairwise(gone)]
        assert gone[0] == gone[-1] == 0 and max(gone) == pytest.approx(1)
        assert max(steps) == pytest.approx(1 / EXIT_FRAMES)


# ---- pictures and masks --------------------------------------------------------------------------


@presets
def test_masks_never_overlap(preset: WorldPreset) -> None:
    for scene in scenes(preset, 6):
        for t in {0, preset.frames // 2, preset.frames - 1}:
            image, masks = draw_frame(scene, t)
            assert image.dtype == np.uint8 and image.shape == (preset.size[1], preset.size[0], 3)
            assert len(masks) == len(scene.things)
            assert np.sum(masks, axis=0).max() <= 1, f"seed {scene.seed}, frame {t}"


@pytest.mark.parametrize("name", ["plain", "flat"])
def test_under_a_mask_lies_the_things_colour_and_elsewhere_the_background(name: str) -> None:
    for scene in scenes(PRESETS[name], 8):
        image, masks = draw_frame(scene, 0)
        for thing, mask in zip(scene.things, masks, strict=True):
            inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            assert inside.sum() > 50
            assert (image[inside] == COLOURS[thing.colour]).all()
        near = np.ones((9, 9), np.uint8)  # the tips of a star are too thin to count as mask
        painted = cv2.dilate(np.any(masks, axis=0).astype(np.uint8), near).astype(bool)
        assert np.array_equal(image[~painted], background(scene.seed, scene.preset)[~painted])


def test_a_later_thing_and_a_pillar_hide_what_is_under_them() -> None:
    scene = scenes(PRESETS["flat"], 1)[0]
    below, above = scene.things[:2]
    above = dataclasses.replace(above, orbit=below.orbit, shape="circle", radius=below.radius * 2)
    scene = dataclasses.replace(scene, things=(below, above), pillars=())
    _, masks = draw_frame(scene, 0)
    assert not masks[0].any() and masks[1].any()
    x = below.orbit.middle[0]
    picture, masks = draw_frame(dataclasses.replace(scene, pillars=((x - 3, x + 3),)), 0)
    columns = slice(round(x - 3), round(x + 3))
    assert not masks[1][:, columns].any() and masks[1].any()
    assert (picture[:, columns] == picture[0, columns]).all(), "a pillar stands from top to bottom"


def test_a_mask_has_the_shapes_area() -> None:
    scene = scenes(PRESETS["flat"], 1)[0]
    for shape in SHAPE_NAMES:
        middle = dataclasses.replace(scene.things[0].orbit, middle=(56.0, 56.0))
        thing = dataclasses.replace(scene.things[0], shape=shape, radius=25.0, orbit=middle)
        _, (mask,) = draw_frame(dataclasses.replace(scene, things=(thing,), pillars=()), 0)
        corners = outline(shape) * 25
        area, length = cv2.contourArea(corners), cv2.arcLength(corners, closed=True)
        assert area <= mask.sum() <= area + length, f"{shape}: OpenCV fills up to a pixel beyond the outline"


def test_a_clip_is_a_window_of_its_scene() -> None:
    preset = PRESETS["val"]
    whole = render_clip(preset.first_seed, preset, 4)
    part = render_clip(preset.first_seed, preset, 2, start=2)
    assert all(np.array_equal(one, two) for one, two in zip(whole.images[2:], part.images, strict=True))
    assert np.array_equal(np.array(whole.masks[2:]), np.array(part.masks))
    assert not np.array_equal(whole.images[0], whole.images[1])


# ---- words ---------------------------------------------------------------------------------------


def test_prompts_differ_and_mean_one_thing() -> None:
    for scene in scenes(PRESETS["demo"]):
        prompts = {thing: prompts_for(thing, 3) for thing in scene.things}
        for thing, texts in prompts.items():
            assert len(set(texts)) == len(texts) == 3
            assert texts[0] == plainly(thing.colour, thing.shape)
            for text in texts:
                assert thing.colour in text and any(name in text for name in SHAPE_NAMES[thing.shape])
        every = [text for texts in prompts.values() for text in texts]
        assert len(set(every)) == len(every), "no words fit two things of a scene"


def test_as_many_prompts_as_asked() -> None:
    thing = scenes(PRESETS["demo"], 1)[0].things[0]
    assert [len(prompts_for(thing, count)) for count in (1, 2, 3)] == [1, 2, 3]
    assert prompts_for(thing, 2) == prompts_for(thing, 3)[:2]


def test_words_of_different_looks_are_different() -> None:
    said: dict[str, tuple[str, str]] = {}
    for colour, (shape, names) in itertools.product(COLOURS, SHAPE_NAMES.items()):
        for phrase, name in itertools.product(PHRASES, names):
            text = phrase.format(colour=colour, shape=name)
            assert said.setdefault(text, (colour, shape)) == (colour, shape)
        rng = np.random.default_rng(0)
        assert all(said[refer(rng, colour, shape)] == (colour, shape) for _ in range(10))


# ---- workspaces ----------------------------------------------------------------------------------

VAL = PRESETS["val"]
SEQUENCES, FRAMES = 2, 4


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "ws"
    names = render_workspace(root, VAL, SEQUENCES, prompts=3, frames=FRAMES)
    assert names == ["val-001", "val-002"]
    return root


def test_the_same_seeds_give_the_same_bytes_on_any_number_of_processes(
    workspace: Path, tmp_path: Path
) -> None:
    render_workspace(tmp_path / "two", VAL, SEQUENCES, prompts=3, frames=FRAMES, workers=2)
    one, two = contents(workspace), contents(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) == 2 + SEQUENCES * (2 + FRAMES)
    assert one == two


def test_a_rendered_workspace_is_read_without_a_fault(workspace: Path) -> None:
    read = read_workspace(workspace)
    assert not read.problems and not read.warnings
    for index, sequence in enumerate(read.sequences):
        scene = make_scene(VAL.first_seed + index, VAL)
        assert sequence.prompts == prompts_for(scene.things[scene.target], 3)
        assert len(sequence.frames) == FRAMES and sequence.frames.size == VAL.size
        drawn = render_clip(scene.seed, VAL, 1).images[0]
        frame = next(iter(sequence.frames))
        assert np.abs(frame.astype(int) - drawn).mean() < 4, "JPEG takes a little, no more"


def test_the_truth_file_says_what_the_masks_say(tmp_path: Path) -> None:
    """Present and absent frames: an empty mask is written where nothing of the target is seen."""
    preset = dataclasses.replace(VAL, late=1.0, frames=20)  # away at first, then it comes in
    root = tmp_path / "ws"
    render_workspace(root, preset, 2, prompts=1)
    counts = {True: 0, False: 0}
    for index, sequence in enumerate(read_workspace(root).sequences):
        truth = read_truth(sequence)
        assert truth is not None and truth.size == preset.size
        masks = target_masks(render_clip(preset.first_seed + index, preset, preset.frames))
        found = list(truth.annotated())
        assert [frame.index for frame in found] == list(range(preset.frames)), "every frame is annotated"
        for frame, mask in zip(found, masks, strict=True):
            counts[mask is not None] += 1
            assert np.array_equal(frame.mask, np.zeros_like(frame.mask) if mask is None else mask)
    assert min(counts.values()) > 4
