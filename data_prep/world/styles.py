"""The styles of drawing: like a photograph, plain, one of three other looks, varied, or like footage.

The varied look and the footage look are for training. A model that is trained in sufficiently different
worlds treats the real one as another of them (domain randomisation, Tobin et al. 2017, https://arxiv.org/abs/1703.06907).
"""

from dataclasses import dataclass

import numpy as np

from data_prep.world.presets import WorldPreset

OTHER = ("night", "pastel", "lines")


@dataclass(frozen=True)
class Style:
    """How the colours and outlines of things are drawn."""

    name: str
    edge: float = 0.55  # brightness of the rim, as a share of the colour's
    rim: float = 0.045  # width of the rim in radii
    inside: float = 1.0  # share of the thing's colour inside its rim; the rest is the colour of paper
    wash: float = 0.0  # share of white mixed into colours
    glow: float = 1.0  # factor on colours
    astray: float = 10.0  # largest difference of each channel from the prototype of the colour
    marks: float = 0.0  # share of things with a letter on them
    depth: float = 0.0  # thickness of things with a fixed outline, in radii


def style_of(seed: int, preset: WorldPreset) -> Style:
    """The style of the scene of this seed."""
    rng = np.random.default_rng((seed, 3))
    # Only the styles with a choice draw random numbers; the others follow from their name.
    if preset.look == "varied":
        return _varied(rng)
    if preset.look == "footage":
        return _footage(rng)
    if preset.look != "other":
        return Style(preset.look)
    name = OTHER[int(rng.integers(len(OTHER)))]
    # At night colours are darker, and rims glow instead of being dark.
    if name == "night":
        return Style(name, edge=1.7, rim=0.06, glow=0.8)
    # Pastel colours are mixed with white.
    if name == "pastel":
        return Style(name, edge=0.45, rim=0.07, wash=0.2)
    return Style(name, edge=0.8, rim=0.16, inside=0.45)


def _varied(rng: np.random.Generator) -> Style:
    return Style(
        "varied",
        # Each property is drawn by itself, so that the styles cover every combination.
        edge=float(rng.uniform(0.4, 0.98)),
        rim=float(rng.uniform(0.02, 0.1)),
        wash=float(rng.uniform(0, 0.35)) if rng.random() < 0.5 else 0.0,
        glow=float(rng.uniform(0.75, 1.05)),
        astray=22.0,
        marks=float(rng.choice((0.0, 0.3, 0.8))),
        depth=float(rng.uniform(0.1, 0.35)) if rng.random() < 0.4 else 0.0,
    )


def _footage(rng: np.random.Generator) -> Style:
    return Style(
        "footage",
        wash=float(rng.uniform(0, 0.38)),
        glow=float(rng.uniform(0.75, 1.04)),
        astray=20.0,
        marks=float(rng.choice((0.0, 0.15, 0.7))),
        depth=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.75 else 0.0,
    )


def styled_background(image: np.ndarray, style: Style) -> np.ndarray:
    """A background, RGB uint8, in this style."""
    # The background is changed in the same way as the things, or they would not fit together.
    if style.name == "night":
        return (image * np.array([0.38, 0.4, 0.5])).astype(np.uint8)
    if style.name == "pastel":
        return (255 - (255 - image.astype(np.float32)) * 0.62).astype(np.uint8)
    if style.name == "lines":
        grey = image.mean(axis=2, keepdims=True)
        return np.repeat(np.clip(175 + (grey - grey.mean()) * 0.45, 0, 255), 3, axis=2).astype(np.uint8)
    return image
