"""Settings of how pairs are drawn. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key


@dataclass(frozen=True)
class PairSettings:
    """What a training pair is: a template of the target, words for it, and a frame to search."""

    visible: float = key(
        0.85,
        "share of pairs whose search frame shows the target, where a video has both kinds",
        minimum=0.0,
        maximum=1.0,
    )
    negative: float = key(
        0.1,
        "share of pairs whose words and template are those of another video's target",
        minimum=0.0,
        maximum=1.0,
    )
    gap: int = key(200, "most frames between template and search frame", minimum=1)
    gap_power: int = key(1, "1: all gaps alike; higher: short ones are commoner", minimum=1)
    prompt_scale_from: float = key(
        2.0, "smallest side of the drawn rectangle, in sides of the target", minimum=1.0
    )
    prompt_scale_to: float = key(8.0, "its largest side", minimum=1.0)
    prompt_jitter: float = key(
        0.1,
        "largest shift of each side of the box it is drawn around, as a share of the box",
        minimum=0.0,
        maximum=1.0,
    )
    prompt_shift: float = key(
        0.5, "how far it is pushed aside, as a share of its room around the target", minimum=0.0, maximum=1.0
    )
    prompt_miss: float = key(
        0.15, "share of the rectangles that lie somewhere else", minimum=0.0, maximum=1.0
    )
    prompt_colours: list[str] = key(
        [],
        "colours of the rectangle, one for each pair, as [red,lime,'#0080ff']; empty: the contract's",
    )
    prompt_width_from: float = key(1.0, "thinnest line of the rectangle, in the contract's", minimum=0.1)
    prompt_width_to: float = key(1.0, "its thickest line", minimum=0.1)
    template: float = key(1.0, "share of pairs that show the template", minimum=0.0, maximum=1.0)
    marked: float = key(1.0, "share of pairs that show the rectangle", minimum=0.0, maximum=1.0)
    worded: float = key(
        1.0,
        "share of pairs that tell the words; without them the template is shown",
        minimum=0.0,
        maximum=1.0,
    )
