"""What is true of a thing's place and size among others: the leftmost, the second one, between two.

As in `relations`, a truth must clearly hold in most frames that show the thing. It may not hold, not even
barely, of another thing in more than the few other frames. Where a frame is given, all this is also asked of
that frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from data_prep.world.relations import MOSTLY, NUM_SAMPLES, relations_between, relations_of, trajectories
from data_prep.world.scene import Scene

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From places (frames, things, 3) and whether things are shown (frames, things) to bool (frames,)."""

APART = 0.7  # clear distance of two things along an axis, in sums of their radii
LARGER = 1.2  # the biggest thing is at least this many times as big as the next
# (axis, sign) of each side: a thing is further to that side if sign * coordinate is larger.
SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
# Between two things: smallest share of the way from one to the other, and largest distance from the way, as
# a share of its length.
BETWEEN, BARELY_BETWEEN = (0.2, 0.25), (0.0, 0.45)


@dataclass(frozen=True)
class Shown:
    """A frame in which an expression must hold: its number, and whether it shows each thing."""

    t: int
    things: tuple[bool, ...]


def superlatives(scene: Scene, index: int, members: Sequence[int], frame: Shown | None) -> list[str]:
    """The sides on which a thing is the outermost of `members`, and big or small: that it is the biggest one.

    Only for things that are shown nearly all the time: without it, another one is the outermost. Others that
    the image does not show are not compared. Sizes are compared by the radius.
    """
    others = [member for member in members if member != index]
    if not others or not _stays(scene, [index]):
        return []

    def outermost(axis: int, sign: int) -> Rule:
        def rule(places: np.ndarray, shown: np.ndarray) -> np.ndarray:
            ahead = _ahead(places, index, others, axis, sign)
            return ((ahead > APART) | ~shown[:, others]).all(1)

        return rule

    def largest(power: int) -> Rule:
        def rule(places: np.ndarray, shown: np.ndarray) -> np.ndarray:
            ratios = (places[:, [index], 2] / places[:, others, 2]) ** power
            return ((ratios > LARGER) | ~shown[:, others]).all(1)

        return rule

    rules = {side: outermost(*way) for side, way in SIDES.items()}
    rules |= {"big": largest(1), "small": largest(-1)}
    return [name for name, rule in rules.items() if _holds(scene, index, rule, frame)]


def ranks(
    scene: Scene, index: int, members: Sequence[int], frame: Shown | None, last: int
) -> list[tuple[int, str]]:
    """Pairs of a number from 2 to `last` and a side, from which the thing is that one of `members`."""
    others = [member for member in members if member != index]
    if not others or not _stays(scene, members):
        return []

    def ranked(number: int, axis: int, sign: int) -> Rule:
        def rule(places: np.ndarray, shown: np.ndarray) -> np.ndarray:
            ahead = _ahead(places, index, others, axis, sign)
            clear = (abs(ahead) > APART).all(1) & shown[:, others].all(1)
            return clear & ((ahead < 0).sum(1) == number - 1)

        return rule

    numbers = range(2, min(last, len(members)) + 1)
    pairs = [(number, side) for number in numbers for side in SIDES]
    return [
        (number, side) for number, side in pairs if _holds(scene, index, ranked(number, *SIDES[side]), frame)
    ]


def only_relations(
    scene: Scene, index: int, rivals: Sequence[int], frame: Shown | None
) -> list[tuple[int, str]]:
    """Relations to another thing, as `relations_of`, which do not even barely hold of a thing of `rivals`."""
    found = []
    for other, relation in relations_of(scene, index):
        strict = _relation_rule(index, other, relation, 0.7, 0.6, 1.8)
        barely = [
            _relation_rule(rival, other, relation, 0.2, 0.3, 2.3)
            for rival in rivals
            if rival not in (index, other)
        ]
        if _holds(scene, index, strict, frame, [other]) and not _any_holds(scene, barely, frame):
            found.append((other, relation))
    return found


def only_between(
    scene: Scene, index: int, rivals: Sequence[int], frame: Shown | None
) -> list[tuple[int, int]]:
    """Pairs of things that the thing is between, and no thing of `rivals`."""
    found = []
    for one, other in combinations([each for each in range(len(scene.things)) if each != index], 2):
        strict = _between_rule(index, one, other, *BETWEEN)
        if not _holds(scene, index, strict, frame, [one, other]):
            continue
        barely = [
            _between_rule(rival, one, other, *BARELY_BETWEEN)
            for rival in rivals
            if rival not in (index, one, other)
        ]
        if not _any_holds(scene, barely, frame):
            found.append((one, other))
    return found


def all_shown(scene: Scene, index: int, members: Sequence[int], frame: Shown | None) -> bool:
    """Whether most frames with the thing, and the given one, show all members."""

    def rule(_: np.ndarray, shown: np.ndarray) -> np.ndarray:
        return np.asarray(shown[:, list(members)].all(1))

    return _holds(scene, index, rule, frame)


def _ahead(places: np.ndarray, index: int, others: Sequence[int], axis: int, sign: int) -> np.ndarray:
    """How far a thing is further to a side than the others, in sums of radii, (frames, others)."""
    reach = places[:, [index], 2] + places[:, others, 2]
    ahead: np.ndarray = sign * (places[:, [index], axis] - places[:, others, axis]) / reach
    return ahead


def _relation_rule(index: int, other: int, relation: str, apart: float, slant: float, far: float) -> Rule:
    def rule(places: np.ndarray, shown: np.ndarray) -> np.ndarray:
        holds = relations_between(places[:, index], places[:, other], apart, slant, far)[relation]
        return holds & shown[:, index] & shown[:, other]

    return rule


def _between_rule(index: int, one: int, other: int, margin: float, aside: float) -> Rule:
    def rule(places: np.ndarray, shown: np.ndarray) -> np.ndarray:
        start, way = places[:, one, :2], places[:, other, :2] - places[:, one, :2]
        to = places[:, index, :2] - start
        length = np.hypot(*way.T) + 1e-6
        along = (to * way).sum(1) / length**2
        off = abs(to[:, 0] * way[:, 1] - to[:, 1] * way[:, 0]) / length
        holds = (along > margin) & (along < 1 - margin) & (off < aside * length)
        return holds & shown[:, [index, one, other]].all(1)

    return rule


def _stays(scene: Scene, members: Sequence[int]) -> bool:
    """Whether most frames show all of the members."""
    return bool(trajectories(scene)[1][:, list(members)].all(1).mean() >= MOSTLY)


def _holds(scene: Scene, index: int, rule: Rule, frame: Shown | None, needed: Sequence[int] = ()) -> bool:
    """Whether a rule holds in most frames that show a thing, and in the given frame if that shows it.

    The given frame must show the things of `needed` in any case.
    """
    places, shown = trajectories(scene)
    there = shown[:, index]
    if there.sum() < NUM_SAMPLES / 4 or rule(places, shown)[there].mean() < MOSTLY:
        return False
    if frame is None:
        return True
    if not all(frame.things[each] for each in needed):
        return False
    return not frame.things[index] or bool(rule(*_of_frame(scene, frame))[0])


def _any_holds(scene: Scene, rules: Sequence[Rule], frame: Shown | None) -> bool:
    """Whether one of the rules holds in more than a few frames, or in the given one."""
    places, shown = trajectories(scene)
    if any(rule(places, shown).mean() > 1 - MOSTLY for rule in rules):
        return True
    return frame is not None and any(rule(*_of_frame(scene, frame))[0] for rule in rules)


def _of_frame(scene: Scene, frame: Shown) -> tuple[np.ndarray, np.ndarray]:
    """Places (1, things, 3) and whether things are shown (1, things)."""
    places = [scene.place(index, frame.t) for index in range(len(scene.things))]
    return np.array([places], np.float64), np.array([frame.things])
