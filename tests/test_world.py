"""The rendered world: one seed, one scene; looks that decide; pictures and masks that agree."""

import dataclasses
import hashlib
import itertools
import math

import cv2
import numpy as np
import pytest

from data_prep.config import WORLDS
from data_prep.world import draw
from data_prep.world.backgrounds import MARGIN
from data_prep.world.draw import background, draw_frame
from data_prep.world.film import render_clip
from data_prep.world.occluders import Occluder
from data_prep.world.overview import measure
from data_prep.world.paths import EXIT_FRAMES, STILL, Camera, Path
from data_prep.world.presets import PRESETS, WorldPreset
from data_prep.world.scene import Scene, Thing, make_scene
from data_prep.world.shapes import outlines
from data_prep.world.styles import Style, style_of
from data_prep.world.vocabulary import AMORPHOUS, COLOUR_WORDS, COLOURS, PATTERNS, SHAPES

MANY = 150
TRAIN, VAL = PRESETS["train"], PRESETS["val"]
presets = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def scenes(preset: WorldPreset, count: int = MANY) -> list[Scene]:
    return [make_scene(preset.first_seed + offset, preset) for offset in range(count)]


def alone(thing: Thing, **changes: object) -> Scene:
    """A scene of one thing in the middle of a plain picture that nothing moves."""
    preset = PRESETS["plain"]
    middle = preset.size[0] / 2, preset.size[1] / 2
    path = Path(middle, middle, 60, (STILL, STILL))
    camera = Camera(middle, (STILL, STILL), (STILL, STILL), STILL)
    still: dict[str, object] = {"path": path, "growth": STILL, "stretch": STILL, "absences": ()}
    thing = dataclasses.replace(thing, **{**still, **changes})
    scene = make_scene(preset.first_seed, preset)
    return dataclasses.replace(scene, things=(thing,), target=0, occluders=(), camera=camera)


# ---- scenes --------------------------------------------------------------------------------------


def test_presets_share_no_seeds() -> None:
    """Far more than the 200 million that training draws from, and as many again."""
    firsts = sorted(preset.first_seed for preset in PRESETS.values())
    assert all(after - before >= 500_000_000 for before, after in itertools.pairwise(firsts))
    assert [preset.name for preset in PRESETS.values()] == list(PRESETS) == list(dict.fromkeys(PRESETS))
    assert set(WORLDS) == set(PRESETS), "what the command offers"


def test_train_val_and_test_are_one_world() -> None:
    def same(preset: WorldPreset) -> WorldPreset:
        return dataclasses.replace(preset, name="", first_seed=0)

    assert same(TRAIN) == same(VAL) == same(PRESETS["test"])


@presets
def test_no_two_things_share_both_colour_and_shape(preset: WorldPreset) -> None:
    for scene in scenes(preset):
        looks = [(thing.colour, thing.shape) for thing in scene.things]
        assert len(set(looks)) == len(looks)
        assert preset.things[0] <= len(looks) <= preset.things[1]
        assert preset.frames[0] <= scene.frames <= preset.frames[1]
        for thing in scene.things:
            assert preset.radius[0] <= thing.radius / preset.size[1] <= preset.radius[1]
            assert thing.pattern == "plain" or thing.shape not in AMORPHOUS


@presets
def test_the_target_has_look_alikes_of_both_kinds(preset: WorldPreset) -> None:
    for scene in scenes(preset):
        target = scene.things[scene.target]
        others = [thing for index, thing in enumerate(scene.things) if index != scene.target]
        same_colour = sum(thing.colour == target.colour for thing in others)
        same_shape = sum(thing.shape == target.shape for thing in others)
        if len(others) >= preset.look_alikes > 0:
            assert same_colour >= 1 and same_shape >= 1 and same_colour + same_shape >= preset.look_alikes


def test_every_look_length_and_place_among_the_things_is_met() -> None:
    met = scenes(TRAIN, 400)
    things = [thing for scene in met for thing in scene.things]
    assert {thing.colour for thing in things} == set(COLOURS) == set(COLOUR_WORDS)
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.pattern for thing in things} == set(PATTERNS)
    assert {scene.target for scene in met} == set(range(TRAIN.things[1]))
    assert 0.08 < np.mean([thing.shape in AMORPHOUS for thing in things]) < 0.22
    assert {scene.frames for scene in met} > {60, 150} and len({scene.frames for scene in met}) > 60


def test_targets_are_away_in_the_asked_shares() -> None:
    met = scenes(TRAIN, 500)
    for kind, share in vars(TRAIN.absences).items():
        assert np.mean([scene.absence == kind for scene in met]) == pytest.approx(share, abs=0.06)
    for scene in met:
        for index, thing in enumerate(scene.things):
            away = index == scene.target and scene.absence != "always"
            assert bool(thing.absences) == away, "nothing else is ever away"


def test_a_scene_follows_from_its_seed_alone() -> None:
    first = make_scene(TRAIN.first_seed, TRAIN)
    make_scene(TRAIN.first_seed + 1, TRAIN)
    assert make_scene(TRAIN.first_seed, TRAIN) == first
    assert make_scene(TRAIN.first_seed + 1, TRAIN).things != first.things


def test_a_long_scene_has_more_absences_than_a_short_one() -> None:
    met = [scene for scene in scenes(PRESETS["hard"], 300) if scene.absence in ("leaves", "hides")]
    for scene in met:
        absences = scene.things[scene.target].absences
        assert len(absences) == max(1, round(scene.frames / 200))
        assert all(one.stop <= other.start for one, other in itertools.pairwise(absences))
    assert max(scene.frames for scene in met) > 450


# ---- absence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["leaves", "late", "hides", "never"])
def test_an_absent_target_is_not_seen_and_the_others_are(kind: str) -> None:
    met = [scene for scene in scenes(PRESETS["hard"], 200) if scene.absence == kind][:3]
    assert len(met) == 3
    for scene, absence in [(one, away) for one in met for away in one.things[one.target].absences]:
        begin, end = max(0, absence.start + EXIT_FRAMES), min(scene.frames - 1, absence.stop - EXIT_FRAMES)
        for t in {begin, (begin + end) // 2, end} if begin <= end else ():
            masks = draw_frame(scene, t)[1]
            assert not masks[scene.target].any(), f"seed {scene.seed}, frame {t}"
            assert sum(mask.any() for mask in masks) >= len(masks) / 2
        if kind in ("leaves", "hides"):
            before, after = (draw_frame(scene, t)[1] for t in (absence.start, absence.stop))
            assert any(masks[scene.target].any() for masks in (before, after))


def test_a_target_comes_back_elsewhere() -> None:
    far = []
    for scene in scenes(VAL, 60):
        if scene.absence == "leaves":
            (absence,) = scene.things[scene.target].absences
            away, back = absence.out, absence.back
            far.append(math.dist(away, back))
    assert np.median(far) > VAL.size[1] / 2


def test_a_target_in_the_picture_never_jumps() -> None:
    """It goes from where it left to where it comes in while nobody can see it."""
    width, height = VAL.size
    for scene in scenes(VAL, 60):
        track = [scene.things[scene.target].at(t) for t in range(scene.frames)]
        for one, other in itertools.pairwise(track):
            if any(0 < x < width and 0 < y < height for x, y in (one, other)):
                assert math.dist(one, other) < 1.5 * (width + height) / EXIT_FRAMES


# ---- drawing -------------------------------------------------------------------------------------


@presets
def test_frames_come_out_the_same_in_any_order(preset: WorldPreset) -> None:
    seed = preset.first_seed + 3
    times = [2, 0, 57, 1]

    def drawn(order: list[int]) -> dict[int, str]:
        frames = {t: draw_frame(make_scene(seed, preset), t) for t in order}
        return {
            t: hashlib.md5(image.tobytes() + np.array(masks).tobytes()).hexdigest()
            for t, (image, masks) in frames.items()
        }

    first = drawn(times)
    background.cache_clear()
    assert drawn(times[::-1]) == first and len(set(first.values())) == len(times)


@presets
def test_a_picture_and_its_masks(preset: WorldPreset) -> None:
    for scene in scenes(preset, 4):
        image, masks = draw_frame(scene, 10)
        assert image.shape == (preset.size[1], preset.size[0], 3) and image.dtype == np.uint8
        assert len(masks) == len(scene.things)
        for mask in masks:
            assert mask.shape == image.shape[:2] and mask.dtype == bool
        assert np.sum(masks, axis=0).max() <= 1, "a pixel shows one thing"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_is_where_the_picture_shows_the_thing(shape: str) -> None:
    """Painted in red on grey: what is much redder than before is the thing."""
    like = scenes(PRESETS["plain"], 1)[0].things[0]
    scene = alone(like, colour="red", shape=shape, pattern="plain", radius=45.0, spin=0.0)
    image, (mask,) = draw_frame(scene, 0)
    empty, _ = draw_frame(dataclasses.replace(scene, things=()), 0)
    change = image.astype(int) - empty
    redder = cv2.medianBlur((change[..., 0] - change[..., 2] > 55).astype(np.uint8), 3) > 0
    if shape == "flock":  # its mask closes the gaps between the birds
        assert (redder & mask).sum() > 0.93 * redder.sum() and mask.sum() > 1.2 * redder.sum()
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] <= 4
    else:
        assert (redder & mask).sum() / (redder | mask).sum() > 0.85
    ys, xs = np.nonzero(mask)
    assert np.hypot(xs - scene.preset.size[0] / 2, ys - scene.preset.size[1] / 2).max() < 1.65 * 45


def test_a_mask_has_its_outlines_area() -> None:
    like = scenes(PRESETS["plain"], 1)[0].things[0]
    for shape in set(SHAPES) - set(AMORPHOUS) - {"moon"}:
        scene = alone(like, shape=shape, radius=40.0)
        corners, hole = (None if part is None else part * 40 for part in outlines(shape))
        area, length = cv2.contourArea(corners), cv2.arcLength(corners, closed=True)
        area -= 0 if hole is None else cv2.contourArea(hole)
        seen = draw_frame(scene, 0)[1][0].sum()
        assert area - length / 4 < seen < area + length, f"{shape}: up to a pixel beyond the outline"


def test_colours_in_the_picture_are_what_they_are_called() -> None:
    """A thing's usual colour is nearer to its own prototype than to any other, in most cases."""
    names, prototypes = list(COLOURS), np.array(list(COLOURS.values()))
    right = []
    for scene in scenes(TRAIN, 25):
        image, masks = draw_frame(scene, 20)
        for thing, mask in zip(scene.things, masks, strict=True):
            if mask.sum() > 600 and thing.pattern == "plain" and thing.shape not in ("smoke", "flock"):
                usual = np.median(image[mask], axis=0)
                found = names[int(np.abs(prototypes - usual).sum(axis=1).argmin())]
                right.append(found == thing.colour)
    assert len(right) > 30 and np.mean(right) > 0.9


def test_backgrounds_are_muted_and_leave_room_for_black_and_white() -> None:
    for scene in scenes(TRAIN, 25):
        picture = background(scene.seed, TRAIN).astype(int)
        assert np.percentile(picture.mean(axis=2), 2) > 45 and np.percentile(picture.mean(axis=2), 98) < 215
        assert np.percentile(np.ptp(picture, axis=2), 95) < 80
        assert picture.shape[0] > VAL.size[1] * (1 + 1.8 * MARGIN)


def test_the_varied_look_varies_more_than_all_others() -> None:
    varied = scenes(PRESETS["varied"], 30)
    levels, shades = (
        [background(scene.seed, scene.preset).mean() for scene in drawn]
        for drawn in (varied, scenes(TRAIN, 30))
    )
    assert np.std(levels) > 3 * np.std(shades) and min(levels) < 60 and max(levels) > 190
    styles = [style_of(scene.seed, scene.preset) for scene in varied]
    assert len(set(styles)) == 30 and {style.depth > 0 for style in styles} == {True, False}


def in_style(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, **changes: float
) -> tuple[np.ndarray, np.ndarray]:
    """The first frame and the only mask of a scene, in the plain style with changes."""
    monkeypatch.setattr(draw, "_style", lambda *_: Style("plain", **changes))
    image, (mask,) = draw_frame(scene, 0)
    return image, mask


@pytest.mark.parametrize("shape", ["box", "star"])
def test_thick_things_show_their_sides(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    like = scenes(PRESETS["plain"], 1)[0].things[0]
    scene = alone(like, shape=shape, colour="red", pattern="plain", radius=40.0)
    (_, flat), (image, thick) = in_style(scene, monkeypatch), in_style(scene, monkeypatch, depth=0.3)
    assert (thick & flat).sum() > 0.98 * flat.sum() and 1.1 < thick.sum() / flat.sum() < 1.6
    side = cv2.erode((thick & ~flat).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert side.any() and image[side].mean() > 0
    assert np.abs(np.median(image[side], axis=0) - np.median(image[flat], axis=0)).max() > 30, (
        "another colour"
    )


def test_marked_things_bear_a_letter_and_keep_their_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    like = scenes(PRESETS["plain"], 1)[0].things[0]
    scene = alone(like, shape="box", colour="red", pattern="plain", radius=40.0)
    (bare, outline), (marked, same) = in_style(scene, monkeypatch), in_style(scene, monkeypatch, marks=1.0)
    changed = np.abs(bare.astype(int) - marked).max(axis=2) > 30
    assert np.array_equal(outline, same) and not (changed & ~outline).any()
    assert 0.02 < changed.sum() / outline.sum() < 0.7


def test_later_things_and_occluders_hide_what_lies_below() -> None:
    below = alone(scenes(PRESETS["plain"], 1)[0].things[0], radius=30.0, shape="star").things[0]
    above = dataclasses.replace(below, shape="ball", radius=60.0)
    scene = dataclasses.replace(alone(below), things=(below, above))
    _, masks = draw_frame(scene, 0)
    assert not masks[0].any() and masks[1].any()
    x = scene.preset.size[0] / 2
    post = Occluder("post", (x, scene.preset.size[1] / 2), (6.0, 400.0), 1)
    _, masks = draw_frame(dataclasses.replace(scene, occluders=(post,)), 0)
    assert not masks[1][:, int(x) - 5 : int(x) + 5].any() and masks[1].any()


def test_a_spin_turns_and_a_camera_moves_what_is_seen() -> None:
    like = scenes(PRESETS["plain"], 1)[0].things[0]
    turning = alone(like, shape="triangle", spin=0.1, radius=40.0)
    masks = [draw_frame(turning, t)[1][0] for t in (0, 10)]
    assert (masks[0] & masks[1]).sum() < 0.85 * masks[0].sum()
    scene = max(scenes(TRAIN, 30), key=lambda scene: scene.camera.pan[0].reach)
    t = int((math.pi / 2 - scene.camera.pan[0].phase) % (2 * math.pi) / scene.camera.pan[0].rate)
    empty = dataclasses.replace(scene, things=(), occluders=())
    fixed = dataclasses.replace(empty, camera=alone(like).camera)
    assert np.abs(draw_frame(empty, t)[0].astype(int) - draw_frame(fixed, t)[0]).mean() > 3
    view = scene.camera.at(t)
    assert view.seen((0.0, 0.0)) != (0.0, 0.0)
    assert scene.place(0, t)[:2] == view.seen(scene.things[0].at(t))


def test_a_clip_is_a_window_of_its_scene() -> None:
    whole = render_clip(VAL.first_seed, VAL, 4)
    part = render_clip(VAL.first_seed, VAL, 2, start=2)
    assert all(np.array_equal(one, two) for one, two in zip(whole.images[2:], part.images, strict=True))
    assert np.array_equal(np.array(whole.masks[2:]), np.array(part.masks))
    assert not np.array_equal(whole.images[0], whole.images[1])
    last = render_clip(VAL.first_seed, VAL, 50, start=whole.scene.frames - 2)
    assert len(last.images) == 2, "there is nothing after the last frame"


# ---- presets -------------------------------------------------------------------------------------


def test_presets_are_as_hard_as_they_say() -> None:
    """On a few scenes, every 25th frame; docs/world.md has the figures of more."""
    test, hard = measure(PRESETS["test"], 20, every=25), measure(PRESETS["hard"], 20, every=25)
    plain = measure(PRESETS["plain"], 6, every=20)
    assert 0.6 < test.present < 0.8 and 0.01 < test.area < 0.04 and test.fewest_alike >= 2
    assert 0.22 < hard.hidden < 0.45 and 0.005 < hard.area < test.area and hard.things > test.things + 2
    assert plain.present == 1 and plain.hidden == 0 and plain.area > test.area
    assert test.others_seen > 0.9 and hard.others_seen > 0.85
    assert 60 <= test.frames <= 150 and test.absences["leaves"] > 2
