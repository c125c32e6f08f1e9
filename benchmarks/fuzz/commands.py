"""The commands that the fuzzer runs, as functions of the folders of one seed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz.corpus import Corpus, training, weights
from benchmarks.fuzz.worker import Command

NO_PICTURES = ("overlay=false", "pack=false")
PICTURES = ("overlay=true", "pack=true")
PACKED = ("overlay=false", "pack=true")


@dataclass(frozen=True)
class Place:
    """The folders of one seed. Files in `input` are mutated, and commands write to `out`."""

    root: Path
    inputs: Corpus

    @property
    def input(self) -> Path:
        """The copies of inputs, some of which are mutated."""
        return self.root / "input"

    @property
    def out(self) -> Path:
        """The folder for everything that commands write."""
        return self.root / "out"


Commands = Callable[[Place], list[Command]]


def workspace(source: str, tracker: str, more: tuple[str, ...] = NO_PICTURES) -> Commands:
    """Track a workspace."""

    def commands(place: Place) -> list[Command]:
        keys = (f"workspace={place.input / source}", f"tracker_id={tracker}", f"out={place.out}")
        return [("infer", (*keys, "device=cpu", *weights(place.inputs), *more))]

    return commands


def scored_workspace(place: Place) -> list[Command]:
    """Score the results that lie in a workspace."""
    return [("evaluation", ("protocol=votsr", f"truth={place.input / 'scored'}", f"out={place.out}"))]


def _video(path: Path, place: Place, models: tuple[str, ...]) -> list[Command]:
    # The same expression for all videos. Whether the small models find it does not matter.
    keys = (f"video={path}", "prompt=the ball", f"out={place.out}", "overlay=false", "device=cpu")
    return [("infer", (*keys, *models))]


def video(ending: str) -> Commands:
    """Track a mutated video."""
    return lambda place: _video(place.input / "videos" / f"clip.{ending}", place, weights(place.inputs))


def video_by(source: str, key: str) -> Commands:
    """Track a valid video with a mutated checkpoint, which `key` names."""

    def commands(place: Place) -> list[Command]:
        # The other model is the shipped one.
        others = [each for each in weights(place.inputs) if not each.startswith(key)]
        # The video is not mutated, so it is read from the shared inputs without a copy.
        path = place.inputs / "videos" / "short.gif"
        return _video(path, place, (f"{key}={place.input / source}", *others))

    return commands


def boxes(protocol: str, more: tuple[str, ...]) -> Commands:
    """Score box results."""

    def commands(place: Place) -> list[Command]:
        folder = place.input / "boxes"
        keys = (f"protocol={protocol}", f"truth={folder / 'annos'}", f"results={folder / 'results'}")
        return [("evaluation", (*keys, f"out={place.out}", *more))]

    return commands


def masks(place: Place) -> list[Command]:
    """Index a data set with masks, and score mask results."""
    root = place.input / "refytvos"
    keys = ("protocol=davis", "data=refytvos", "split=train", f"truth={root}")
    index = _data(place, "index", "refytvos", "train", f"root={root}")
    more = (f"results={place.input / 'masks'}", f"indexes={place.out / 'indexes'}")
    return [index, ("evaluation", (*keys, *more, f"out={place.out / 'scores'}"))]


def sweep(place: Place) -> list[Command]:
    """Make the table of an ablation."""
    return [("evaluation", ("task=ablation", f"runs={place.input / 'sweep'}", f"out={place.out}"))]


def checkpoint(task: str, source: str) -> Commands:
    """Describe or merge a checkpoint."""

    def commands(place: Place) -> list[Command]:
        keys = (f"model.checkpoint={place.input / source}", f"out={place.out / 'merged'}")
        return [("train", (f"task={task}", *keys, "device=cpu"))]

    return commands


def _data(place: Place, task: str, data: str, split: str, *more: str) -> Command:
    """A task of data_prep. `check` reads no index, and `look` works in one process."""
    keys = (f"task={task}", f"data=[{data}]", f"split={split}", f"out={place.out / task}", *more)
    indexes = () if task == "check" else (f"indexes={place.out / 'indexes'}",)
    workers = () if task == "look" else ("workers=1",)
    return "data_prep", (*keys, *indexes, *workers)


def data_set(data: str, split: str, tasks: tuple[str, ...]) -> Commands:
    """Check and index a data set, and run tasks on the index."""
    # Few pairs: a damaged sequence is found when the index is built, and when its frames are read.
    more = {"sample": ("n=20",), "look": ("contract=short",), "export": ("format=swift", "n=4")}

    def commands(place: Place) -> list[Command]:
        root = f"root={place.input / data}"
        check = _data(place, "check", data, split, root, "decode=true")
        index = _data(place, "index", data, split, root)
        return [check, index, *(_data(place, task, data, split, *more[task]) for task in tasks)]

    return commands


def tracked_data(place: Place) -> list[Command]:
    """Index a data set and track it."""
    keys = ("data=tnl2k", "split=test", f"indexes={place.out / 'indexes'}", "tracker_id=t", "first_box=true")
    places = (f"results={place.out / 'results'}", f"out={place.out / 'run'}")
    index = _data(place, "index", "tnl2k", "test", f"root={place.input / 'tnl2k'}")
    return [index, ("infer", (*keys, *places, *weights(place.inputs), "overlay=false", "device=cpu"))]


def from_index(place: Place) -> list[Command]:
    """Draw pairs from a mutated index."""
    keys = ("data=[tnl2k]", "split=test", f"indexes={place.input / 'indexes'}")
    more = {"sample": ("workers=1", "n=20"), "look": ()}
    return [("data_prep", (f"task={task}", *keys, f"out={place.out / task}", *more[task])) for task in more]


def unpacked(place: Place) -> list[Command]:
    """Unpack an archive in parts that has an MD5 sum."""
    folder = place.input / "archive"
    # The command expands the pattern: no shell is involved.
    keys = (f"archive={folder / 'set_part_*'}", f"md5={folder / 'set.md5'}", f"out={place.out / 'data'}")
    return [("data_prep", ("task=unpack", *keys))]


def imported(place: Place) -> list[Command]:
    """Import the records of ReasoningTrack."""
    keys = (f"source={place.input / 'records' / 'records.json'}", "root_map={lasot:/data}")
    form = "format=llamafactory_alpaca"
    return [("data_prep", ("task=import_reasoningtrack", *keys, form, f"out={place.out}"))]


def resumed(place: Place) -> list[Command]:
    """Resume a fine-tuning run."""
    # The command that made the run resumes it, since `out` holds its checkpoints.
    return [training(place.inputs, place.input / "run")]
