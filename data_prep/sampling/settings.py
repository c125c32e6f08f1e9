"""Settings of how pairs are drawn. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn: a template of the target, an expression for it, and a frame to search."""

    # Which target, and which frames.
    visible: float = key(
        0.85,
        "share of pairs whose search frame shows the target, in videos that have frames with and without it",
        minimum=0.0,
        maximum=1.0,
    )
    negative: float = key(
        0.1,
        "share of pairs whose expression and template are those of another video's target",
        minimum=0.0,
        maximum=1.0,
    )
    gap: int = key(200, "most frames between the template and the search frame", minimum=1)
    gap_power: int = key(1, "1: all gaps equally often; higher: short ones more often", minimum=1)
    # The visual prompt, the rectangle drawn on the search frame.
    prompt_scale_from: float = key(
        2.0, "smallest side of the drawn rectangle, as a multiple of the target's side", minimum=1.0
    )
    prompt_scale_to: float = key(
        8.0, "largest side of the rectangle, as a multiple of the target's side", minimum=1.0
    )
    prompt_jitter: float = key(
        0.1,
        "largest shift of each side of the box that the rectangle is drawn around, as a share of the box",
        minimum=0.0,
        maximum=1.0,
    )
    prompt_shift: float = key(
        0.5,
        "largest shift of the rectangle's centre, as a share of the room that it has around the target",
        minimum=0.0,
        maximum=1.0,
    )
    prompt_miss: float = key(
        0.15, "share of the rectangles that are drawn in a wrong place", minimum=0.0, maximum=1.0
    )
    prompt_colours: list[str] = key(
        [],
        "colours of the rectangle, as [red,lime,'#0080ff'], from which one is drawn for each pair; empty: "
        "the contract's colour",
    )
    prompt_width_from: float = key(
        1.0, "thinnest line of the rectangle, as a multiple of the contract's line width", minimum=0.1
    )
    prompt_width_to: float = key(
        1.0, "thickest line of the rectangle, as a multiple of the contract's line width", minimum=0.1
    )
    # What a pair shows.
    template: float = key(1.0, "share of pairs that show the template", minimum=0.0, maximum=1.0)
    marked: float = key(1.0, "share of pairs that show the rectangle", minimum=0.0, maximum=1.0)
    worded: float = key(
        1.0,
        "share of pairs that show the expression; pairs without it always show the template",
        minimum=0.0,
        maximum=1.0,
    )
