"""Beginnings of questions that other questions have too: their keys and values are computed once.

A contract puts the search image either before the expression or behind it, so there are two kinds of them:

- *Of a frame.* With Qwen's own wording the search image comes first. All questions about a frame begin with
  the same tokens and pixels, up to the end of the image. They are shared by the questions of a call.
- *Of a track.* With the other wordings the search image comes last (VPTracker's has some text behind it).
  What precedes it, the expression and the template, is the same in all frames of a track. It is kept from
  call to call, as long as there is room.

A prefix is computed by itself, in a batch of one question. Its numbers are therefore a function of the prefix
alone: they depend neither on the questions that are asked together, nor on whether it was still in the cache.
Only the question that a thinking model is asked twice is taken from the batch in which it was asked first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from models.grounder.batch_cache import BatchCache, KeysValues
from models.grounder.questions import MERGED_PATCHES, Encoded, ImageKey

# What is kept from call to call. 64 prefixes of Qwen3-VL-4B with the contract `instruct3` take 1.4 GB, those
# of Qwen2.5-VL-3B 0.4 GB.
MAX_PREFIXES = 256
MAX_BYTES = 1 << 30
KEPT_CALLS = 100  # a prefix that was used in one of the last calls belongs to a track that probably goes on
MIN_SHARE = 0.1  # of the tokens of a batch; computing shorter prefixes by themselves would save little

PrefixKey = tuple[bytes, tuple[ImageKey, ...]]
"""The ids of the tokens of a prefix, and its images."""


@dataclass(frozen=True)
class Prefix:
    """The beginning of one question of a batch.

    `start` is the column of its first token, `stop` the one behind its last. `images` are the indices of its
    images in the batch. `is_of_track`: later calls may begin with it too.
    """

    key: PrefixKey
    start: int
    stop: int
    images: tuple[int, ...]
    is_of_track: bool

    @property
    def length(self) -> int:
        """The number of its tokens."""
        return self.stop - self.start


class PrefixCache:
    """Finds the prefixes of questions, and holds their keys and values.

    Those of tracks are kept from call to call, at most `MAX_PREFIXES` with at most `MAX_BYTES`. The least
    recently used ones make room for new ones, unless they were used in the last `KEPT_CALLS` calls: tracks
    are asked in turn, so of more tracks than there is room for each would drop the one that is asked next.
    """

    def __init__(self) -> None:
        self._of_frames: dict[PrefixKey, KeysValues] = {}
        # Questions that are asked again, of the last batch that has such questions.
        self._of_batch: dict[PrefixKey, KeysValues] = {}
        self._of_tracks: OrderedDict[PrefixKey, KeysValues] = OrderedDict()
        self._last_used: dict[PrefixKey, int] = {}  # the call in which a prefix of a track was used last
        self._call = 0
        self._keeps_tracks = True

    def find(self, encoded: Encoded) -> list[Prefix]:
        """The prefix of each question that is to be computed by itself; an empty list: there are none.

        Which kind it is depends on the questions of this call only, so that the numbers of the answers do not
        depend on earlier calls.
        """
        rows = [_candidates(encoded, row) for row in range(len(encoded.image_indices))]
        of_frame, of_track = [row[0] for row in rows], [row[1] for row in rows]
        # 1. Of frames, where questions share one, also with an earlier batch of this call. Those that nobody
        #    shares are computed by themselves too: as a part of the rest they would make all rows longer.
        keys = {prefix.key for prefix in of_frame}
        if len(keys) < len(rows) or keys & (self._of_frames.keys() | self._of_batch.keys()):
            return of_frame
        # 2. Of tracks, which later calls ask about too.
        tokens = int(encoded.inputs["attention_mask"].sum())
        is_kept = encoded.are_of_tracks and self._keeps_tracks
        if is_kept and sum(prefix.length for prefix in of_track) >= MIN_SHARE * tokens:
            return of_track
        return []

    def held(self, prefixes: Sequence[Prefix]) -> dict[PrefixKey, KeysValues]:
        """The keys and values of those prefixes that are in the cache."""
        found = {}
        for key in (prefix.key for prefix in prefixes):
            if key in self._of_frames:
                found[key] = self._of_frames[key]
            elif key in self._of_batch:
                found[key] = self._of_batch[key]
            elif key in self._of_tracks:
                self._of_tracks.move_to_end(key)
                self._last_used[key] = self._call
                found[key] = self._of_tracks[key]
        return found

    def keep(self, prefixes: Sequence[Prefix], keys_values: dict[PrefixKey, KeysValues]) -> None:
        """Put the keys and values of prefixes into the cache, those of tracks if there is room."""
        for prefix in prefixes:
            if prefix.is_of_track:
                self._keep_of_track(prefix.key, keys_values[prefix.key])
            else:
                self._of_frames[prefix.key] = keys_values[prefix.key]

    def _keep_of_track(self, key: PrefixKey, keys_values: KeysValues) -> None:
        """Keep a new prefix of a track, in the place of those that were not used for long."""
        room = MAX_BYTES - _bytes(keys_values)
        while len(self._of_tracks) >= MAX_PREFIXES or sum(map(_bytes, self._of_tracks.values())) > room:
            oldest = next(iter(self._of_tracks), None)
            if oldest is None or self._last_used[oldest] > self._call - KEPT_CALLS:
                return
            del self._of_tracks[oldest], self._last_used[oldest]
        self._of_tracks[key], self._last_used[key] = keys_values, self._call

    def keep_questions(self, encoded: Encoded, cache: BatchCache) -> None:
        """Keep the questions of a batch up to the end of their search images, until those of another batch.

        `cache` is the one that the forward pass over them has left.
        """
        kept = {}
        for row in range(len(encoded.image_indices)):
            prefix, _ = _candidates(encoded, row)
            if prefix.key not in self._of_frames:
                kept[prefix.key] = cache.first_tokens(row, prefix.length)
        self._of_batch = kept

    def end_call(self) -> None:
        """Drop the prefixes of frames: images are told apart by their ids only while a call holds them."""
        self._of_frames.clear()
        self._of_batch.clear()
        self._call += 1

    def release(self) -> bool:
        """Drop everything because memory has run out, and keep no prefixes of tracks from now on.

        Returns whether anything was kept from earlier calls.
        """
        was_kept = bool(self._of_tracks)
        for kept in (self._of_frames, self._of_batch, self._of_tracks, self._last_used):
            kept.clear()
        self._keeps_tracks = False
        return was_kept


def _candidates(encoded: Encoded, row: int) -> tuple[Prefix, Prefix]:
    """The prefixes of a question up to the end of its search image (of the frame), and up to its begin (of
    the track).
    """
    inputs, images = encoded.inputs, tuple(encoded.image_indices[row])
    start = int(inputs["attention_mask"][row].argmax())
    end = int(inputs["mm_token_type_ids"][row].nonzero()[-1]) + 1
    begin = end - int(inputs["image_grid_thw"][images[-1]].prod()) // MERGED_PATCHES
    ids = inputs["input_ids"][row].numpy()

    def prefix(stop: int, of_images: tuple[int, ...], is_of_track: bool) -> Prefix:
        key = ids[start:stop].tobytes(), tuple(encoded.image_keys[index] for index in of_images)
        return Prefix(key, start, stop, of_images, is_of_track)

    return prefix(end, images, False), prefix(begin, images[:-1], True)


def _bytes(keys_values: KeysValues) -> int:
    return sum(each.nbytes for layer in keys_values for each in layer)
