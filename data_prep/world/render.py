"""Writing a preset of the rendered world as a data set, on all cores."""

from functools import partial
from pathlib import Path

from data_prep.parallel import in_processes
from data_prep.votsr.write import write_workspace
from data_prep.world.film import make_film
from data_prep.world.layouts import LAYOUTS
from data_prep.world.presets import WorldPreset


def render_workspace(
    root: Path,
    preset: WorldPreset,
    sequences: int = 0,
    expressions: int = 0,
    frames: int = 0,
    workers: int = 1,
    layout: str = "votsr",
    first: int = 0,
) -> list[str]:
    """Render the scenes of a preset from number `first` on into a folder; returns the sequences' names.

    `expressions` is the number of texts a target gets (layouts of boxes hold the first), `frames` the most
    frames a video has; 0 is the preset's own. `workers` is the number of processes; 0: one a core. The
    same arguments give the same bytes, whatever the number of workers.
    """
    one = partial(_render_one, root, preset, expressions, frames, layout)
    names = list(in_processes(one, range(first, first + (sequences or preset.sequences)), workers))
    if layout == "votsr":
        write_workspace(root, names)
    return names


def _render_one(
    root: Path, preset: WorldPreset, expressions: int, frames: int, layout: str, index: int
) -> str:
    """Render the scene of this index; returns its sequence's name."""
    film = make_film(preset, index, expressions, frames)
    LAYOUTS[layout](root, film)
    return film.name
