"""Arms and people of the footage look as patches: chains of rounded limbs in tones of skin and cloth.

Sleeves, trousers and hair may be as dark as black things. They have no name all the same.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.world.clutter import nameless_colour
from data_prep.world.paths import Point, View
from data_prep.world.sprites import Patch
from data_prep.world.staging import ARM, Visitor

SKIN = ((240, 198, 172), (222, 172, 140), (198, 142, 110), (150, 102, 74), (104, 70, 52))
TONES = ((1.0, 0.7), (0.86, 0.87), (0.62, 0.98), (0.3, 1.05))
"""A limb is drawn several times, each time thinner (share of its radius) and lighter (factor), so it
looks round.
"""
BITS = 4  # of the fraction of a pixel, as OpenCV takes coordinates


@dataclass(frozen=True, eq=False)
class Limb:
    """A straight limb with rounded ends: two points and the radius at each, in one colour (3,).

    `joined`: it continues the limb before it, without a dark edge between them.
    """

    a: np.ndarray
    b: np.ndarray
    wide_a: float
    wide_b: float
    colour: np.ndarray
    joined: bool = False


def visitor_patch(
    visitor: Visitor, t: int, over: Point, view: View, light: float, size: tuple[int, int]
) -> Patch | None:
    """A visitor at frame `t` as the camera sees it; None where it is outside the image.

    `over` is the centre of the thing that an arm reaches for, in pixels of the world, `size` the width and
    height of the image.
    """
    limbs = _arm(visitor, t, over) if visitor.kind == ARM else _person(visitor, t)
    # From the world to the image: points are moved, widths are scaled.
    seen = [
        Limb(
            np.array(view.seen(tuple(limb.a))),
            np.array(view.seen(tuple(limb.b))),
            limb.wide_a * view.zoom,
            limb.wide_b * view.zoom,
            limb.colour,
            limb.joined,
        )
        for limb in limbs
    ]
    return _drawn(seen, light, size)


def _drawn(limbs: list[Limb], light: float, size: tuple[int, int]) -> Patch | None:
    # 1. The part of the image that the limbs cover, with room for the shadow.
    reach = np.array(
        [
            (*(end - wide), *(end + wide))
            for limb in limbs
            for end, wide in ((limb.a, limb.wide_a), (limb.b, limb.wide_b))
        ]
    )
    widest = max(limb.wide_a for limb in limbs)
    room = 4 + 0.6 * widest
    left, top = (max(0, math.floor(reach[:, axis].min() - room)) for axis in (0, 1))
    right, bottom = (min(size[axis], math.ceil(reach[:, 2 + axis].max() + room)) for axis in (0, 1))
    if left >= right or top >= bottom:
        return None
    # 2. Limbs from back to front, each from its dark edge to its light middle.
    colour = np.empty((bottom - top, right - left, 3), np.uint8)
    colour[:] = np.clip(limbs[-1].colour * 0.8, 0, 255)
    cover = np.zeros((bottom - top, right - left), np.uint8)
    corner = np.array((left, top), np.float64)
    toward = np.array((math.cos(light), math.sin(light)))
    for chain in _chains(limbs):
        for limb in chain:
            _capsule(cover, limb, corner, 1.0, (255.0,))
        for share, tone in TONES:
            for limb in chain:
                moved = corner - toward * (0.45 * (1 - share) * min(limb.wide_a, limb.wide_b))
                _capsule(colour, limb, moved, share, np.clip(limb.colour * tone, 0, 255).tolist())
    # 3. Blurred, so that the steps of the tones do not show; the outline stays sharp.
    soft = max(3, round(0.4 * min(limb.wide_b for limb in limbs)) | 1)
    smooth = cv2.blur(cv2.blur(colour, (soft, soft)), (soft, soft)).astype(np.float32)
    # 4. A shadow on what lies below.
    wide = max(3, round(0.5 * widest) | 1)
    far = 0.3 * widest
    matrix = np.array([[1, 0, -far * toward[0]], [0, 1, -far * toward[1]]])
    moved_cover = cv2.warpAffine(cover, matrix, cover.shape[::-1], flags=cv2.INTER_NEAREST)
    shadow = 1 - cv2.blur(moved_cover, (wide, wide)).astype(np.float32) * (0.35 / 255)
    return Patch(left, top, smooth, cover, cover, shadow)


def _chains(limbs: list[Limb]) -> list[list[Limb]]:
    """The limbs in groups that are joined."""
    chains: list[list[Limb]] = []
    for limb in limbs:
        if limb.joined:
            chains[-1].append(limb)
        else:
            chains.append([limb])
    return chains


def _capsule(
    image: np.ndarray, limb: Limb, corner: np.ndarray, share: float, colour: tuple[float, ...] | list[float]
) -> None:
    """Fill a limb, its radii reduced to a share, in an image whose first pixel is at `corner`; in place."""
    a, b = limb.a - corner, limb.b - corner
    wide_a, wide_b = limb.wide_a * share, limb.wide_b * share
    along = b - a
    across = np.array((-along[1], along[0])) / (np.hypot(*along) + 1e-6)
    corners = np.stack([a + across * wide_a, b + across * wide_b, b - across * wide_b, a - across * wide_a])
    fixed = np.round(corners * (1 << BITS)).astype(np.int32)
    cv2.fillConvexPoly(image, fixed, colour, lineType=cv2.LINE_AA, shift=BITS)
    for end, wide in ((a, wide_a), (b, wide_b)):
        centre = int(end[0] * (1 << BITS)), int(end[1] * (1 << BITS))
        cv2.circle(image, centre, int(wide * (1 << BITS)), colour, -1, cv2.LINE_AA, BITS)


def _arm(visitor: Visitor, t: int, over: Point) -> list[Limb]:
    """A sleeve, a forearm and a hand with five fingers, back to front, in pixels of the world."""
    rng = np.random.default_rng((visitor.seed, 0))
    skin, cloth = _skin(rng), nameless_colour(rng) * float(rng.uniform(0.4, 1.1))
    size, root = visitor.size, np.array(visitor.root)
    # 1. The middle of the palm: on the way from the root to the place at the thing, with a little sway.
    aim = np.array(over) + visitor.spot + np.array(visitor.path.at(t))
    palm = root + visitor.reach(t) * (aim - root)
    towards = aim - root
    towards = towards / (np.hypot(*towards) + 1e-6)
    # The hand is bent against the forearm.
    turn = float(rng.uniform(-0.5, 0.5)) + 0.15 * math.sin(0.11 * t + visitor.seed % 7)
    ahead = _turned(towards, turn)
    side = _turned(ahead, math.pi / 2) * (1 if rng.random() < 0.5 else -1)
    wrist = palm - 0.55 * size * ahead
    # 2. The forearm begins beyond the root, so that it never ends inside the image.
    end = root - 2.5 * size * towards
    forearm = Limb(end, wrist, 0.42 * size, 0.3 * size, skin)
    limbs: list[Limb] = []
    bare, dressed = float(rng.uniform(0.3, 2.5)) * size, rng.random() < 0.6
    # 3. Palm and fingers. Their bend differs between hands and changes a little with time.
    curl = float(rng.uniform(0.0, 1.1)) + 0.2 * math.sin(0.17 * t + visitor.seed % 5)
    spread = float(rng.uniform(0.05, 0.3))
    thumb = palm - 0.3 * size * ahead + 0.36 * size * side
    # A bent finger points away from the camera, so it looks shorter.
    short = 1 - 0.4 * abs(math.sin(0.7 * curl))
    limbs += _finger(thumb, _turned(ahead, math.copysign(0.7, _cross(ahead, side))), 0.62 * size, 0.15, skin)
    for number, length in enumerate((0.78, 0.92, 0.86, 0.66)):
        place = 0.34 - 0.225 * number
        base = palm + 0.42 * size * ahead + place * size * side
        # Fingers fan out, and bend back towards the middle of the palm.
        fan = _turned(ahead, math.copysign(spread, _cross(ahead, side)) * (place / 0.34))
        bend = -0.35 * curl * math.copysign(1.0, _cross(ahead, side)) * place
        limbs += _finger(base, fan, length * short * size, bend, skin)
    # 4. The back of the hand over the roots of the fingers, and the sleeve over the arm.
    limbs += [forearm, Limb(wrist, palm + 0.3 * size * ahead, 0.34 * size, 0.42 * size, skin, True)]
    if dressed:
        limbs.append(Limb(end, wrist - bare * towards, 0.62 * size, 0.5 * size, cloth))
    return limbs


def _finger(base: np.ndarray, ahead: np.ndarray, length: float, bend: float, skin: np.ndarray) -> list[Limb]:
    """Two segments of a finger; the outer one is bent by an angle."""
    knuckle = base + 0.52 * length * ahead
    tip = knuckle + 0.42 * length * _turned(ahead, bend)
    wide = 0.115 * length + 0.03 * length
    return [
        Limb(base, knuckle, 1.1 * wide, wide, skin),
        Limb(knuckle, tip, wide, 0.8 * wide, skin * np.array((1.02, 0.97, 0.96)), True),
    ]


def _person(visitor: Visitor, t: int) -> list[Limb]:
    """Legs, arms, body and head, back to front, in pixels of the world."""
    rng = np.random.default_rng((visitor.seed, 0))
    skin, hair = _skin(rng), np.array((70, 50, 36)) * rng.uniform(0.4, 2.2)
    shirt, trousers = nameless_colour(rng), nameless_colour(rng) * float(rng.uniform(0.4, 1.0))
    size, middle = visitor.size, np.array(visitor.path.at(t))
    walking = visitor.path.start != visitor.path.stop
    swing = (0.55 if walking else 0.12) * math.sin(0.3 * t + visitor.seed % 11)
    bulk = float(rng.uniform(0.85, 1.25))
    raised = float(rng.uniform(0, 2.2)) if rng.random() < 0.3 else 0.0
    down = np.array((0.0, 1.0))
    hip, neck = middle + 0.02 * size * down, middle - 0.3 * size * down
    limbs: list[Limb] = []
    # 1. The far arm and leg, then the near ones; the swing of one is opposite to that of the other.
    for turn in (swing, -swing):
        out = np.array((0.05 * size * bulk * (1 if turn is swing else -1), 0))
        knee = hip + out + 0.24 * size * _turned(down, 0.6 * turn)
        foot = knee + 0.25 * size * _turned(down, 0.6 * turn - 0.35 * abs(turn))
        limbs.append(Limb(hip + out, knee, 0.075 * size * bulk, 0.055 * size, trousers))
        limbs.append(Limb(knee, foot, 0.055 * size, 0.04 * size, trousers * 0.95))
        limbs.append(Limb(foot, foot + np.array((0.05, 0.015)) * size, 0.03 * size, 0.025 * size, hair))
    # 2. The body and the arms.
    limbs.append(Limb(neck + 0.06 * size * down, hip, 0.11 * size * bulk, 0.095 * size * bulk, shirt))
    for turn, lift in ((swing, 0.0), (-swing, raised)):
        shoulder = neck + np.array((0.1 * size * bulk * (1 if lift else -1), 0.05 * size))
        elbow = shoulder + 0.16 * size * _turned(down, -turn - lift)
        hand = elbow + 0.15 * size * _turned(down, -1.5 * turn - 1.3 * lift)
        limbs.append(Limb(shoulder, elbow, 0.045 * size * bulk, 0.036 * size, shirt * 0.9))
        limbs.append(Limb(elbow, hand, 0.034 * size, 0.026 * size, skin))
    # 3. The head, its hair behind the face.
    head = neck - 0.08 * size * down
    limbs.append(Limb(neck + 0.03 * size * down, head, 0.04 * size, 0.05 * size, skin * 0.85))
    nape = head + float(rng.uniform(-0.02, 0.09)) * size * down
    limbs.append(Limb(head - 0.03 * size * down, nape, 0.068 * size, 0.06 * size, hair))
    limbs.append(Limb(head, head + 0.025 * size * down, 0.05 * size, 0.045 * size, skin))
    return limbs


def _turned(vector: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array((cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]))


def _cross(one: np.ndarray, other: np.ndarray) -> float:
    """The sign tells on which side of `one` the other vector lies."""
    return float(one[0] * other[1] - one[1] * other[0])


def _skin(rng: np.random.Generator) -> np.ndarray:
    base = np.array(SKIN[int(rng.integers(len(SKIN)))], np.float64)
    return base * rng.uniform(0.92, 1.05) + rng.uniform(-6, 6, 3)
