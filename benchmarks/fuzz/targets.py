"""The targets of the fuzzer: inputs that are mutated, the commands that read them, and their outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from random import Random

from benchmarks.fuzz import commands, oracles
from benchmarks.fuzz.commands import Commands, Place
from benchmarks.fuzz.oracles import Oracle, any_file, picture, structure, tensors
from benchmarks.fuzz.outcomes import Outcome, files, index_rows, line_counts, lines_of, scores, weight_sums

# Relative frequency of each kind of target.
SHARES = {"workspaces": 5, "results": 5, "videos": 2, "checkpoints": 4, "annotations": 3, "training": 1}
KINDS = tuple(SHARES)
Mutated = tuple[tuple[str, Oracle], ...]  # patterns of paths, with the oracle of the files that match
Outcomes = Callable[[Place], Outcome]


@dataclass(frozen=True)
class Target:
    """Inputs that are mutated together, and the commands that read them.

    `sources` are copied from the corpus to the folder `input`. Files that match a pattern of `edited` are
    mutated; the first matching pattern gives the oracle. `written` are patterns of paths below `input` that
    commands may write. The folders that match `apart` are independent: a fault in one of them must not affect
    the results of the others.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    edited: Mutated
    commands: Commands
    outcome: Outcomes
    written: tuple[str, ...] = ()
    apart: str = ""
    share: int = 1  # relative frequency among the targets of the same kind

    def oracle(self, path: str) -> Oracle | None:
        """The oracle of a path below `input`. None for a file that is not mutated."""
        # `*` of fnmatch matches slashes too, so a pattern need not name every folder.
        return next((oracle for pattern, oracle in self.edited if fnmatch(path, pattern)), None)

    def part(self, path: str) -> str | None:
        """The independent folder that a path lies in. None if the file may affect all of them."""
        parts, depth = Path(path).parts, len(Path(self.apart).parts)
        # As many folders as the pattern has, since its `*` would match slashes as well.
        alone = depth and len(parts) > depth and fnmatch("/".join(parts[:depth]), self.apart)
        return parts[depth - 1] if alone else None


# The special pattern comes first, because the first match counts.
FRAMES: Mutated = (
    ("*/sequences/*/color/00000003.jpg", oracles.last_picture),
    ("*/sequences/*/color/*", picture),
)
WORKSPACE: Mutated = (
    *FRAMES,
    *((f"*/{name}", any_file) for name in ("sequences/*/sequence", "sequences/list.txt", "config.yaml")),
)
RESULTS: Mutated = (
    ("*/results/*/baseline/*.txt", oracles.masks),
    ("*/results/*/fingerprint.json", structure),
    ("*/trackers.ini", any_file),
)
TRUTH: Mutated = (("*/sequences/*/groundtruth_*", oracles.masks),)
TRACKED = ("*/results", "*/results/*", "*/trackers.ini", "*/*.zip")
BOXES: Mutated = (("boxes/annos/absent/*", oracles.flags), ("boxes/*.txt", oracles.boxes))
MASKS: Mutated = (
    ("masks/*.png", picture),
    ("masks/*.txt", oracles.masks),
    ("refytvos/*/Annotations/*", picture),
)
EXPRESSIONS: Mutated = (("*/Annotations/*", picture), ("*.json", structure), ("*.jpg", any_file))
TNL2K: Mutated = (
    ("*/imgs/*", any_file),
    ("*/groundtruth.txt", oracles.boxes),
    ("*/language.txt", any_file),
)
GROUNDER: Mutated = (
    ("*/model.safetensors", tensors),
    *((f"*/{name}.json", structure) for name in ("config", "contract", "tokenizer")),
    ("*/*.json", any_file),
    ("*/chat_template.jinja", any_file),
)
MASK_HEAD: Mutated = (
    ("*/model.safetensors", tensors),
    ("*/config.json", structure),
    ("*/*.json", any_file),
)
ADAPTERS: Mutated = (
    ("*/adapter_model.safetensors", tensors),
    ("*/adapter_config.json", structure),
    ("*/contract.json", structure),
    ("*/*.json", any_file),
)
# Checkpoints of a run hold optimizer states, whose values no oracle can judge.
RUN: Mutated = (("run/checkpoints/*", any_file), ("run/*.json*", any_file), ("run/best/*", any_file))
VIDEO_MASKS: Outcomes = lambda place: files(place.out, "masks/*.txt")  # noqa: E731
SCORES: Outcomes = lambda place: scores(place.out)  # noqa: E731


def _tracked(source: str, tracker: str) -> Outcomes:
    pattern = f"{tracker}/baseline/*/*.txt"
    return lambda place: lines_of(place.input / source / "results", pattern, skip=2)


def _workspace(name: str, more: tuple[str, ...], share: int) -> Target:
    track = commands.workspace("bare", "new", more)
    written, apart = TRACKED, "bare/sequences/*"
    outcome = _tracked("bare", "new")
    return Target(name, "workspaces", ("bare",), WORKSPACE, track, outcome, written, apart, share)


def _video(ending: str) -> Target:
    # A damaged frame may decode to other pixels without an error, so only the numbers of masks are compared.
    outcome: Outcomes = lambda place: line_counts(place.out, "masks/*.txt")  # noqa: E731
    edited: Mutated = ((f"videos/clip.{ending}", oracles.whole),)
    return Target(f"a video in {ending}", "videos", ("videos",), edited, commands.video(ending), outcome)


def _boxes(protocol: str, *more: str) -> Target:
    name = " ".join((f"boxes by {protocol}", *more))
    return Target(name, "results", ("boxes",), BOXES, commands.boxes(protocol, more), SCORES)


def _models(name: str, source: str, edited: Mutated, key: str) -> Target:
    run = commands.video_by(source, key)
    return Target(name, "checkpoints", (source,), edited, run, VIDEO_MASKS, share=3)


def _checkpoint(name: str, task: str, source: str, edited: Mutated) -> Target:
    # Task `info` writes no weights, so its outcome is empty.
    outcome: Outcomes = lambda place: weight_sums(place.out / "merged")  # noqa: E731
    return Target(name, "checkpoints", (source,), edited, commands.checkpoint(task, source), outcome)


def _data_set(name: str, data: str, split: str, edited: Mutated, *tasks: str) -> Target:
    outcome: Outcomes = lambda place: index_rows(  # noqa: E731
        place.out / "indexes" / f"{data}-{split}.arrow"
    )
    return Target(name, "annotations", (data,), edited, commands.data_set(data, split, tasks), outcome)


TARGETS = (
    _workspace("a workspace", commands.NO_PICTURES, 4),
    _workspace("a workspace with pictures", commands.PICTURES, 2),
    Target(
        name="a workspace with truth",
        kind="workspaces",
        sources=("scored",),
        edited=(*TRUTH, *WORKSPACE),
        commands=commands.workspace("scored", "base", commands.PACKED),
        outcome=lambda place: scores(place.out, "summary.json"),
        written=TRACKED,
    ),
    Target(
        name="kept results",
        kind="results",
        sources=("kept",),
        edited=RESULTS,
        commands=commands.workspace("kept", "base"),
        outcome=_tracked("kept", "base"),
        written=TRACKED,
        share=3,
    ),
    Target(
        name="results of a workspace",
        kind="results",
        sources=("scored",),
        edited=(*RESULTS, *TRUTH),
        commands=commands.scored_workspace,
        outcome=SCORES,
    ),
    *(_boxes(protocol) for protocol in ("tnllt", "lasot", "tnl2k", "otb", "pytracking", "got10k")),
    _boxes("tnllt", "missing=count"),
    Target(
        name="masks",
        kind="results",
        sources=("refytvos", "masks"),
        edited=MASKS,
        commands=commands.masks,
        outcome=lambda place: scores(place.out / "scores"),
        share=2,
    ),
    Target(
        name="runs of a sweep",
        kind="results",
        sources=("sweep",),
        edited=(("*.json", structure), ("*.yaml", any_file)),
        commands=commands.sweep,
        outcome=lambda place: files(place.out, "ablation.csv"),
    ),
    *(_video(ending) for ending in ("mp4", "mkv", "avi", "ts", "gif")),
    _models("the grounder", "grounder", GROUNDER, "model.checkpoint"),
    _models("the mask head", "mask_head", MASK_HEAD, "mask_head.checkpoint"),
    _models("adapters", "adapters", ADAPTERS, "model.checkpoint"),
    _checkpoint("what the grounder is", "info", "grounder", GROUNDER),
    _checkpoint("what adapters are", "info", "adapters", ADAPTERS),
    _checkpoint("merged adapters", "merge", "adapters", ADAPTERS),
    _data_set("boxes and words", "tnl2k", "test", TNL2K, "sample", "look"),
    _data_set("boxes and words, exported", "tnl2k", "test", TNL2K, "export"),
    _data_set("masks and expressions", "refytvos", "train", EXPRESSIONS, "sample"),
    Target(
        name="a data set, tracked",
        kind="annotations",
        sources=("tnl2k",),
        edited=TNL2K,
        commands=commands.tracked_data,
        outcome=lambda place: files(place.out / "results" / "tnl2k-test" / "t", "*.txt"),
    ),
    Target(
        name="an index",
        kind="annotations",
        sources=("indexes",),
        edited=(("indexes/*", any_file),),
        commands=commands.from_index,
        outcome=lambda place: files(place.out / "sample", "pairs.jsonl"),
    ),
    Target(
        name="an archive",
        kind="annotations",
        sources=("archive",),
        edited=(("archive/*", oracles.whole),),
        commands=commands.unpacked,
        outcome=lambda place: files(place.out / "data", "demo-001/**/*"),
    ),
    Target(
        name="records",
        kind="annotations",
        sources=("records",),
        edited=(("records/*", structure),),
        commands=commands.imported,
        outcome=lambda place: files(place.out, "records.jsonl"),
    ),
    Target(
        name="a run that goes on",
        kind="training",
        sources=("run",),
        edited=RUN,
        commands=commands.resumed,
        outcome=lambda place: weight_sums(place.input / "run" / "final"),
        written=("run", "run/*"),
    ),
)


def target_of(seed: int) -> Target:
    """The target of a seed. Kinds and targets are drawn with their relative frequencies."""
    # A generator of its own: mutations draw from another one, which starts with the seed alone.
    rng = Random(f"target {seed}")
    kind = rng.choices(KINDS, list(SHARES.values()))[0]
    own = [target for target in TARGETS if target.kind == kind]
    return rng.choices(own, [target.share for target in own])[0]
