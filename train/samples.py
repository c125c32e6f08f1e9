"""Drawing questions with known answers from the rendered world."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from data_prep.geometry import Box, box_of_mask
from data_prep.prompts import Contract
from data_prep.visual_prompt import crop_template
from data_prep.world.draw import draw_frame
from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, is_free, make_scene
from data_prep.world.vocabulary import COLOURS, SHAPE_NAMES
from data_prep.world.words import plainly, refer
from models.questions import Question

SEEN_SHARE = 0.35  # less of a thing than this is neither surely visible nor surely absent: drawn again
PIXELS_SEEN = 12
TRIES = 24  # frames looked at for one in which a thing is clearly seen


@dataclass(frozen=True)
class SampleMix:
    """Shares of the kinds of question, each between 0 and 1."""

    absent: float = 0.3  # something else stands in the target's place
    template: float = 0.5
    marked: float = 0.5  # a rectangle is drawn around where the target was last seen
    missed: float = 0.2  # of the marked: the rectangle is somewhere else
    plain: bool = False  # only the plainest words


@dataclass(frozen=True)
class Sample:
    """A question and its answer; `box_xyxy` in pixels of the question's image, None where absent.

    `others` are the boxes of everything else that is seen, to tell which thing an answer is on.
    """

    question: Question
    box_xyxy: Box | None
    others: tuple[Box, ...]


def draw_sample(seed: int, preset: WorldPreset, contract: Contract, mix: SampleMix) -> Sample:
    """Draw a question from the scene that follows from `seed` (an offset into the preset's seeds)."""
    scene = make_scene(preset.first_seed + seed, preset)
    rng = np.random.default_rng((preset.first_seed + seed, 2))
    chosen, t, image, masks = _choose(rng, scene)
    thing = scene.things[chosen]
    words = plainly(thing.colour, thing.shape) if mix.plain else refer(rng, thing.colour, thing.shape)
    template = _template(rng, scene, chosen, contract) if rng.random() < mix.template else None
    last_box = _last_box(rng, scene, chosen, t, mix) if rng.random() < mix.marked else None
    if rng.random() < mix.absent:
        image, masks = draw_frame(_replaced(rng, scene, chosen), t)
        return Sample(Question(image, words, template, last_box), None, _boxes(masks))
    box = box_of_mask(masks.pop(chosen))
    return Sample(Question(image, words, template, last_box), box, _boxes(masks))


def _choose(rng: np.random.Generator, scene: Scene) -> tuple[int, int, np.ndarray, list[np.ndarray]]:
    """A thing of the scene, and the time, picture and masks of a frame in which it is clearly seen.

    A thing that stands behind a pillar all the time is passed over for another.
    """
    for chosen in rng.permutation(len(scene.things)):
        if frame := _clear_frame(rng, scene, int(chosen)):
            return int(chosen), *frame
    raise RuntimeError(f"scene {scene.seed} of {scene.preset.name}: nothing is clearly seen in it")


def _replaced(rng: np.random.Generator, scene: Scene, chosen: int) -> Scene:
    """The same scene with something else in the place of one thing: half the time a look-alike of it.

    The number of things stays as it is: a scene with one fewer would tell by that alone that its
    target is gone, and nothing would have to be compared with the words.
    """
    looks = [(thing.colour, thing.shape) for thing in scene.things]
    gone, share = looks[chosen], scene.preset.look_alikes
    # A colour that no scene of few colours would hold tells as much as a lacking thing.
    colours = sorted({colour for colour, _ in looks}) if scene.preset.colours else COLOURS
    free = [(c, s) for c in colours for s in SHAPE_NAMES if is_free((c, s), looks, share)]
    look_alike = share > 0 and rng.random() < 0.5
    fitting = [look for look in free if (look[0] == gone[0] or look[1] == gone[1]) == look_alike] or free
    colour, shape = fitting[int(rng.integers(len(fitting)))]
    things = list(scene.things)
    things[chosen] = dataclasses.replace(things[chosen], colour=colour, shape=shape)
    return dataclasses.replace(scene, things=tuple(things))


def _clear_frame(
    rng: np.random.Generator, scene: Scene, chosen: int
) -> tuple[int, np.ndarray, list[np.ndarray]] | None:
    """Time, picture and masks of a frame in which the chosen thing is clearly seen; None after some tries."""
    for _ in range(TRIES):
        t = int(rng.integers(scene.preset.frames))
        image, masks = draw_frame(scene, t)
        if _is_clear(masks[chosen], scene.things[chosen].radius):
            return t, image, masks
    return None


def _is_clear(mask: np.ndarray, radius: float) -> bool:
    # A shape covers between 1.2 (star) and 3.1 (circle) squared radii: 1.2 serves all.
    return int(mask.sum()) >= max(PIXELS_SEEN, SEEN_SHARE * 1.2 * radius**2)


def _template(rng: np.random.Generator, scene: Scene, chosen: int, contract: Contract) -> np.ndarray | None:
    """A crop of the chosen thing from another frame in which it is clearly seen; None where there is none."""
    frame = _clear_frame(rng, scene, chosen)
    if frame is None:
        return None
    _, image, masks = frame
    box = box_of_mask(masks[chosen])
    assert box is not None
    return crop_template(image, _jittered(rng, box, 0.1), contract)


def _last_box(rng: np.random.Generator, scene: Scene, chosen: int, t: int, mix: SampleMix) -> Box:
    """Where the chosen thing was a few frames ago, inexactly; sometimes somewhere else altogether."""
    thing = scene.things[chosen]
    width, height = scene.preset.size
    x, y = thing.orbit.at(t - float(rng.uniform(0, 8)))
    if rng.random() < mix.missed:
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
    x, y = min(max(x, 0.0), width), min(max(y, 0.0), height)
    half = thing.radius
    return _jittered(rng, (x - half, y - half, x + half, y + half), 0.15)


def _jittered(rng: np.random.Generator, box_xyxy: Box, amount: float) -> Box:
    """A box whose corners are moved by up to `amount` of its sides."""
    width, height = box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    dx0, dy0, dx1, dy1 = rng.uniform(-amount, amount, 4)
    return (
        box_xyxy[0] + dx0 * width,
        box_xyxy[1] + dy0 * height,
        box_xyxy[2] + dx1 * width,
        box_xyxy[3] + dy1 * height,
    )


def _boxes(masks: list[np.ndarray]) -> tuple[Box, ...]:
    return tuple(box for box in map(box_of_mask, masks) if box is not None)
