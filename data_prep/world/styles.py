"""The ways a scene may be drawn: as a photograph, plainly, or in another look."""

from dataclasses import dataclass

import numpy as np

from data_prep.world.presets import WorldPreset

OTHER = ("night", "pastel", "lines")


@dataclass(frozen=True)
class Style:
    """How colours of things are shown."""

    name: str
    edge: float = 0.55  # brightness of the rim, as a share of the colour's
    rim: float = 0.045  # width of the rim in radii
    inside: float = 1.0  # share of the inside's colour; the rest is paper
    wash: float = 0.0  # share of white mixed into colours
    glow: float = 1.0  # factor on colours


def style_of(seed: int, preset: WorldPreset) -> Style:
    """The style of the scene of this seed."""
    if preset.look != "other":
        return Style(preset.look)
    name = OTHER[int(np.random.default_rng((seed, 3)).integers(len(OTHER)))]
    if name == "night":
        return Style(name, edge=1.7, rim=0.06, glow=0.8)
    if name == "pastel":
        return Style(name, edge=0.45, rim=0.07, wash=0.2)
    return Style(name, edge=0.8, rim=0.16, inside=0.45)


def styled_background(picture: np.ndarray, style: Style) -> np.ndarray:
    """A background, RGB uint8, as the style shows it."""
    if style.name == "night":
        return (picture * np.array([0.38, 0.4, 0.5])).astype(np.uint8)
    if style.name == "pastel":
        return (255 - (255 - picture.astype(np.float32)) * 0.62).astype(np.uint8)
    if style.name == "lines":
        grey = picture.mean(axis=2, keepdims=True)
        return np.repeat(np.clip(175 + (grey - grey.mean()) * 0.45, 0, 255), 3, axis=2).astype(np.uint8)
    return picture
