"""The timeline of a sequence: for each of its tracks what was asked, believed and decided, over the frames.

It is drawn from the traces of the tracks (`data_prep.trace`). Importing this module imports matplotlib.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from data_prep.files import whole_file, writing
from data_prep.sequence import ABSENT, PRESENT
from data_prep.trace import LOCATE_FRAME, TraceFrame
from evaluation.report.plot_style import label, plot_settings
from infer.render.drawing import STATE_COLOURS
from infer.trackers.requests import State

MAX_TRACKS = 8  # rows of a picture; a sequence may have a hundred tracks
# Inches: the width, the height of a row, and what is above and below the rows. Pixels per inch.
WIDTH, ROW, HEAD, FOOT, DPI = 11.0, 1.55, 0.45, 0.48, 110
# Shares of the width: left and right border, and a letter of a label.
LEFT, RIGHT, LETTER = 0.04, 0.985, 0.0058
# Heights in units of the axis, on which probabilities go from 0 to 1: the band of states, that of the truth,
# and the ticks of questions (about the whole frame without a place, and other ones).
STATES, TRUTH, TICKS, TOP = (-0.2, 0.15), (-0.38, 0.13), (1.04, 1.2, 1.11), 1.42
PRESENCE_COLOUR, SCORE_COLOUR, TRUTH_COLOUR = "#0072B2", "#999999", "#000000"
LOST_STATES = (State.SEARCH, State.LOST)


@dataclass(frozen=True)
class TimelineTrack:
    """One row: the expression of a track and its trace."""

    expression: str
    trace: Sequence[TraceFrame]


def write_timeline(
    path: Path, sequence: str, tracks: Sequence[TimelineTrack], present: np.ndarray | None = None
) -> None:
    """Draw the timeline of a sequence as PNG, completely or not at all.

    `present` int8 (F,) is the truth (`data_prep.sequence.Truth.present`), None where it is not known. Raises
    UserError where the file cannot be written.
    """
    with plot_settings(), writing(path), whole_file(path, durable=False) as temporary:
        timeline(sequence, tracks, present).savefig(temporary, format="png", dpi=DPI)


def timeline(sequence: str, tracks: Sequence[TimelineTrack], present: np.ndarray | None) -> Figure:
    """The picture of `write_timeline`."""
    shown = tracks[:MAX_TRACKS]
    height = HEAD + FOOT + ROW * len(shown)
    figure = Figure(figsize=(WIDTH, height))
    # 1. One row for each track, from the top.
    for number, track in enumerate(shown):
        low = (FOOT + ROW * (len(shown) - 1 - number)) / height
        axes = figure.add_axes((LEFT, low, RIGHT - LEFT, 0.8 * ROW / height))
        _draw_track(axes, track, present)
        if number < len(shown) - 1:
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("frame")
    # 2. Title and legend.
    more = f" (the first {len(shown)} of {len(tracks)} tracks)" if len(tracks) > len(shown) else ""
    top = 1 - 0.18 / height
    figure.text(LEFT, top, label(f"{sequence}{more}", 90), fontsize=11, weight="bold", va="center")
    states = {State(each.state) for track in shown for each in track.trace if each.state in set(State)}
    figure.legend(
        handles=_legend(states, present is not None),
        loc="upper left",
        bbox_to_anchor=(LEFT - 0.01, 1 - 0.27 / height),
        ncols=10,
        fontsize=7.5,
        handlelength=1.4,
        columnspacing=1.2,
    )
    return figure


def _draw_track(axes: Axes, track: TimelineTrack, present: np.ndarray | None) -> None:
    trace = track.trace
    frames = np.array([each.frame for each in trace])
    # 1. The axis.
    axes.set_xlim(0.5, max(1.5, len(trace) + 0.5))
    axes.set_ylim(TRUTH[0] if present is not None else STATES[0], TOP)
    axes.set_yticks([0, 0.5, 1])
    axes.set_title(label(track.expression or "(empty)", 110), fontsize=8.5, loc="left", pad=2)
    # 2. Bands of states, in pale also behind the curves, and of the truth.
    #    One call for each state: a long track has thousands of bands.
    for state, spans in _spans([each.state for each in trace]).items():
        colour = _state_colour(state)
        axes.broken_barh(spans, (STATES[0], TOP - STATES[0]), color=colour, alpha=0.13, linewidth=0)
        axes.broken_barh(spans, STATES, color=colour, linewidth=0)
    if present is not None:
        for flag, spans in _spans([int(each) for each in present[: len(trace)]]).items():
            if flag in (PRESENT, ABSENT):
                face = TRUTH_COLOUR if flag == PRESENT else "white"
                axes.broken_barh(spans, TRUTH, facecolor=face, edgecolor=TRUTH_COLOUR, linewidth=0.6)
    # 3. Curves: object score, belief in presence, and the answers of the grounder.
    scores = [_last(each.object_score for each in frame.asked) for frame in trace]
    axes.plot(frames, _floats(scores), color=SCORE_COLOUR, linewidth=1.0)
    axes.plot(frames, _floats([each.presence for each in trace]), color=PRESENCE_COLOUR, linewidth=1.6)
    answers = [(frame.frame, each) for frame in trace for each in frame.asked if each.is_question]
    visible = _floats([each.visible for _, each in answers])
    axes.plot([at for at, _ in answers], visible, ".", color=PRESENCE_COLOUR, markersize=3.5)
    # 4. Questions as ticks above.
    for is_search, shade, top in ((True, "#000000", TICKS[1]), (False, "#555555", TICKS[2])):
        at = [at for at, each in answers if _is_search(each.request, each.visual_prompt) == is_search]
        axes.vlines(at, TICKS[0], top, color=shade, linewidth=0.9)
    # 5. Why the target was lost and found.
    for left, text in _labels(trace):
        axes.text(left, TICKS[1] + 0.03, text, fontsize=6.5, va="bottom")


def _is_search(request: str, visual_prompt: bool) -> bool:
    """Whether a question is about the whole frame, without a last known place."""
    return request == LOCATE_FRAME and not visual_prompt


def _transitions(trace: Sequence[TraceFrame]) -> Iterator[tuple[int, str]]:
    """Frames in which the target is lost or found, with the reason."""
    for before, frame in pairwise(trace):
        was_lost, is_lost = before.state in LOST_STATES, frame.state in LOST_STATES
        if was_lost == is_lost or not frame.reasons:
            continue
        # The reasons of a loss are followed by those of the search in the same frame.
        lost_because = [each for each in frame.reasons if each in ("presence_below_zero", "mask_lost")]
        reason = (lost_because or frame.reasons)[0 if is_lost and lost_because else -1]
        yield frame.frame, reason.replace("_", " ")


def _labels(trace: Sequence[TraceFrame]) -> Iterator[tuple[float, str]]:
    """The left ends of the labels of transitions, in frames, and their texts.

    A label that would cover the one before is left out, so that a tracker that changes often is not hidden.
    """
    last_end = -np.inf
    for frame, reason in _transitions(trace):
        length = (len(reason) + 2) * LETTER * len(trace)
        # At the right border a label ends at its frame, with the mark on that side.
        fits = frame + length <= len(trace)
        left = float(frame) if fits else frame - length
        if left > last_end:
            last_end = left + length
            yield left, f"▾ {reason}" if fits else f"{reason} ▾"


def _spans(values: Sequence[int | str]) -> dict[int | str, list[tuple[float, int]]]:
    """The runs of each value: where they begin on the axis of frames, and their lengths."""
    spans: dict[int | str, list[tuple[float, int]]] = defaultdict(list)
    first = 0
    for value, run in groupby(values):
        length = sum(1 for _ in run)
        spans[value].append((first + 0.5, length))
        first += length
    return spans


def _state_colour(state: int | str) -> tuple[float, float, float]:
    # A tracker of a plugin has the same states; a trace from elsewhere may have others.
    known = State(state) if state in set(State) else State.EMPTY
    red, green, blue = STATE_COLOURS[known]
    return red / 255, green / 255, blue / 255


def _last(values: Iterator[float | None]) -> float | None:
    """The last value that is known."""
    return next((each for each in reversed([*values]) if each is not None), None)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if each is None else each for each in values], float)


def _legend(states: set[State], has_truth: bool) -> list[Patch | Line2D]:
    """What bands, curves and ticks mean."""
    handles: list[Patch | Line2D] = [
        Patch(color=_state_colour(state), label=str(state)) for state in State if state in states
    ]
    handles += [
        Line2D([], [], color=PRESENCE_COLOUR, linewidth=1.6, label="belief in presence"),
        Line2D([], [], color=PRESENCE_COLOUR, marker=".", linestyle="", label="visible probability"),
        Line2D([], [], color=SCORE_COLOUR, linewidth=1.0, label="object score"),
        _tick("question about the whole frame", 9, "#000000"),
        _tick("question at the last place", 5, "#555555"),
    ]
    if has_truth:
        handles.append(Patch(facecolor=TRUTH_COLOUR, edgecolor=TRUTH_COLOUR, label="truth: present"))
    return handles


def _tick(text: str, size: float, colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker="|", linestyle="", markersize=size, label=text)
