"""Words that change with time, as those of TNLLT do: a track is told the ones that are true now."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np

from data_prep.geometry import Box
from data_prep.sequence import Sequence
from infer.trackers.requests import Locate, Report, Request, StartTrack, State, Track


def words_at(sequence: Sequence, frame: int) -> str:
    """The first prompt that has words and is true of a frame; empty where there is none."""
    spans = sequence.spans or ((0, len(sequence.frames)),) * len(sequence.expressions)
    for prompt, (start, stop) in zip(sequence.expressions, spans, strict=True):
        if start <= frame < stop and prompt.strip():
            return prompt
    return ""


def retold(start: StartTrack, sequence: Sequence) -> StartTrack:
    """A track that asks with the words of the frame it is at; where that has none, with the last ones."""

    def begin(words: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        return _retell(start(words, frame, box_xyxy), words, sequence)

    return begin


def _retell(track: Track, words: str, sequence: Sequence) -> Generator[Request, Any, None]:
    number, request = 0, next(track)
    while True:
        if isinstance(request, Locate):
            request = replace(request, words=words)
        reply = yield request
        if isinstance(request, Report):
            number += 1
            words = words_at(sequence, number) or words
        request = track.send(reply)


def empty_track(words: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:  # noqa: ARG001
    """The track of an empty prompt: absent in every frame."""
    while True:
        yield Report(State.EMPTY)
