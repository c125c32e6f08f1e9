"""`python -m infer data=…`: the splits of data sets are tracked from words, and from a first box."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import evaluation.config  # noqa: F401  # registers the settings
from configs.app import FOLDER
from configs.command_line import read_command_line
from configs.compose import check, composer
from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import box_of_mask
from data_prep.index.build import row_of, write_index
from data_prep.index.store import About, Index
from data_prep.readers import data_sets
from data_prep.sequence import ABSENT, PRESENT, Sequence, Span, Truth
from data_prep.video.frames import ImageFrames
from data_prep.votsr.regions import decode_mask
from evaluation.protocols.registry import protocol_names
from infer.config import InferSettings
from infer.engine.engine import Engine
from infer.engine.session import Session
from infer.runs import run as infer_run
from infer.runs.data_set import (
    ABSENT_BOX,
    DEFAULT_EXPRESSION,
    DEFAULT_PROTOCOL,
    PROTOCOLS,
    DataStore,
    IndexedSequences,
    evaluation_command,
    true_box,
)
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from infer.trackers.registry import build_tracker
from infer.trackers.requests import Locate, Segment, State
from models.config import GrounderConfig
from models.mask_head.config import MaskHeadConfig
from tests.scripted import ScriptedGrounding, ScriptedMasking, ScriptedWorld, drive_started, frame
from tests.tiny_models import save_grounder, save_mask_head

SIZE = (64, 48)
HERE = (10.0, 8.0, 22.0, 20.0)
BOX_XYWH = (10.0, 8.0, 12.0, 12.0)


def video(
    folder: Path, name: str, prompts: list[str], spans: list[Span] | None = None, first: int = PRESENT
) -> Sequence:
    """Three frames as images, the target in the same place throughout."""
    paths = tuple(folder / "data" / name / f"{number}.png" for number in range(3))
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        Image.fromarray(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)).save(path)
    truth = Truth(np.array([BOX_XYWH] * 3, np.float32), np.array([first, PRESENT, PRESENT], np.int8))
    return Sequence(name, ImageFrames(paths, SIZE), tuple(prompts), spans=spans and tuple(spans), truth=truth)


def index(folder: Path, *videos: Sequence) -> None:
    rows = [row_of(each, folder / "data") for each in videos]
    path = folder / "indexes" / "tnllt-test.arrow"
    path.parent.mkdir()
    write_index(path, rows, About("tnllt", "test", str(folder / "data"), "state", len(rows)))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return save_grounder(folder / "grounder"), save_mask_head(folder / "mask_head")


@pytest.fixture
def settings(tmp_path: Path, checkpoints: tuple[Path, Path]) -> InferSettings:
    return InferSettings(
        data="tnllt",
        indexes=str(tmp_path / "indexes"),
        results=str(tmp_path / "results"),
        tracker_id="mine",
        model=GrounderConfig(str(checkpoints[0])),
        mask_head=MaskHeadConfig(str(checkpoints[1])),
        tracker=ReferralConfig(activation_threshold=0.0, logit_scale=0.0, confirm=False),
        device="cpu",
        out=str(tmp_path / "out"),
        overlay=False,
    )


def run(settings: InferSettings, **changes: Any) -> tuple[int, dict[str, Any]]:
    status = infer_run.run(dataclasses.replace(settings, **changes))
    return status, json.loads((Path(settings.out) / "summary.json").read_text())


def written(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "results" / "tnllt-test" / "mine"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.txt"))}


def test_boxes_and_masks_of_every_sequence_are_written(
    settings: InferSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(tmp_path, video(tmp_path, "cup", ["the cup"]), video(tmp_path, "dog", ["the dog", "it"]))
    status, summary = run(settings, first_box=True)
    assert status == 0 and summary["tracks"] == summary["written"] == 2 and summary["track_frames"] == 6
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"score it  {evaluation_command(dataclasses.replace(settings, first_box=True))}"
    files = written(tmp_path)
    assert list(files) == ["cup.txt", "dog.txt", "masks/cup.txt", "masks/dog.txt"]
    boxes = files["cup.txt"].decode().splitlines()
    masks = files["masks/cup.txt"].decode().splitlines()
    assert len(boxes) == len(masks) == 3 and any(line != ABSENT_BOX for line in boxes)
    for line, said in zip(boxes, masks, strict=True):
        mask = decode_mask(said, SIZE)
        assert (line == ABSENT_BOX) == (mask is None)
    left, top, right, bottom = box_of_mask(decode_mask(masks[1], SIZE))  # carried: the box is the mask's
    assert [float(side) for side in boxes[1].split(",")] == [left, top, right - left, bottom - top]


def test_a_run_goes_on_and_ends_with_the_same_bytes(settings: InferSettings, tmp_path: Path) -> None:
    cup, dog = video(tmp_path, "cup", ["the cup"]), video(tmp_path, "dog", ["the dog"])
    index(tmp_path, cup, dog)
    run(settings)
    before = written(tmp_path)
    folder = tmp_path / "results" / "tnllt-test" / "mine"
    (folder / "cup.txt").unlink()
    (folder / "dog.txt").write_text("1,2,3,4\n")  # as a run that was killed never leaves it
    status, summary = run(settings)
    assert (status, summary["track_frames"]) == (0, 6) and written(tmp_path) == before
    for name, broken in (("cup.txt", "1.00,2.00,nan,4.00\n" * 3), ("masks/dog.txt", "m1,2,3,4,5\n" * 3)):
        (folder / name).write_text(broken)
        assert run(settings)[1]["track_frames"] == 3 and written(tmp_path) == before
    assert run(settings)[1]["track_frames"] == 0
    said = [cup, dataclasses.replace(dog, expressions=("the cat",))]
    about = About("tnllt", "test", str(tmp_path / "data"), "of files with other times", len(said))
    write_index(
        tmp_path / "indexes" / "tnllt-test.arrow", [row_of(each, tmp_path / "data") for each in said], about
    )
    status, summary = run(settings)
    assert (status, summary["track_frames"]) == (0, 3), "of the one of which other words are said"
    assert [line[:4] for line in summary["warnings"]] == ["dog:"]
    with pytest.raises(UserError, match="other first_box"):
        run(settings, first_box=True)
    assert run(settings, first_box=True, overwrite=True)[1]["track_frames"] == 6


def test_the_first_line_is_the_box_as_it_was_given(settings: InferSettings, tmp_path: Path) -> None:
    cut, hidden = video(tmp_path, "cut", ["the cup"]), video(tmp_path, "hidden", ["it"], first=ABSENT)
    cut.truth.boxes_xywh[0] = (-4.0, 8.25, 12.0, 12.0)  # reaches out of the frame
    index(tmp_path, cut, hidden)
    given = "-4.00,8.25,12.00,12.00"
    run(settings, first_box=True)
    files = {name: text.decode().splitlines() for name, text in written(tmp_path).items()}
    assert files["cut.txt"][0] == given and given not in files["cut.txt"][1:]
    assert [len(lines) for lines in files.values()] == [3] * 4
    assert files["hidden.txt"][0] != ",".join(f"{side:.2f}" for side in BOX_XYWH), "where it is, is not given"
    run(settings, overwrite=True)
    assert written(tmp_path)["cut.txt"].decode().splitlines()[0] != given


@pytest.mark.parametrize(
    ("data", "protocol"),
    [("tnllt", "tnllt"), ("lasotext", "lasot"), ("otb99", "otb"), ("vasttrack", "pytracking")],
)
def test_the_command_that_scores_is_one_that_evaluation_takes(
    settings: InferSettings, data: str, protocol: str
) -> None:
    told = evaluation_command(dataclasses.replace(settings, data=data, results="my results"))
    python, m, command, *arguments = shlex.split(told)
    assert (python, m, command) == ("python", "-m", "evaluation")
    with composer("evaluation", FOLDER) as composing:
        _, (config,) = composing.jobs(read_command_line(arguments))
        check(config)
    assert (config.protocol, config.layout, config.data, config.split) == (protocol, "data", data, "test")
    assert (config.indexes, config.results) == (settings.indexes, "my results")


def test_every_data_set_s_protocol_is_one_of_evaluation() -> None:
    assert PROTOCOLS.keys() <= set(data_sets())
    assert {*PROTOCOLS.values(), DEFAULT_PROTOCOL} <= set(protocol_names())


def test_a_missing_frame_fails_its_sequence_alone(settings: InferSettings, tmp_path: Path) -> None:
    cup = video(tmp_path, "cup", ["the cup"])
    index(tmp_path, cup, video(tmp_path, "dog", ["the dog"]))
    cup.frames.paths[1].unlink()
    status, summary = run(settings)
    assert status == 1 and [(each["sequence"], each["expression"]) for each in summary["failed"]] == [
        ("cup", "the cup")
    ]
    assert "1.png: frame is missing" in summary["failed"][0]["reason"]
    assert list(written(tmp_path)) == ["dog.txt", "masks/dog.txt"]


def test_without_words_nothing_is_followed_and_that_is_told(settings: InferSettings, tmp_path: Path) -> None:
    index(tmp_path, video(tmp_path, "mute", [" "]))
    status, summary = run(settings)
    assert status == 0 and "1 sequence without an expression" in summary["warnings"][0]
    assert written(tmp_path)["mute.txt"].decode() == f"{ABSENT_BOX}\n" * 3


def test_the_sequences_of_an_index_are_a_sequence(tmp_path: Path) -> None:
    index(tmp_path, *(video(tmp_path, name, ["it"]) for name in ("a", "b", "c")))
    found = IndexedSequences(Index(tmp_path / "indexes" / "tnllt-test.arrow"))
    assert [each.name for each in found] == ["a", "b", "c"] and found[2].name == "c"
    assert [each.name for each in found[1:]] == ["b", "c"] and found[3:] == []
    with pytest.raises(IndexError):
        found[3]


def test_a_split_without_an_index_is_told(settings: InferSettings) -> None:
    with pytest.raises(UserError, match="make it with task=index"):
        run(settings, split="train")


def session_of(settings: Any) -> Session:
    engine = Engine(ScriptedGrounding({}), ScriptedMasking())
    return Session(engine, build_tracker(settings, BUILT_IN["short"]), {})


@pytest.mark.parametrize("tracker", [ReferralConfig(), PerFrameConfig()])
def test_a_first_box_is_believed_without_a_question(tmp_path: Path, tracker: Any) -> None:
    store = DataStore(tmp_path, session_of(tracker), first_box=True)
    start: Any = store.start(video(tmp_path, "mute", []), "")
    assert start.args == (DEFAULT_EXPRESSION,)
    world = ScriptedWorld([(40, 30, 50, 40)] * 3, [HERE] * 3)
    reports = drive_started(start, world, [frame()] * 3)
    first = [request for at, request in world.asked if at == 0]
    assert [type(request) for request in first] == [Segment] and first[0].box_xyxy == HERE
    assert reports[0].state is State.TRACK and reports[0].mask[15, 15]
    looks = [request for _, request in world.asked if isinstance(request, Locate)]
    assert looks and all(look.template is not None for look in looks), "its looks are known from the box"


def test_a_first_box_is_only_taken_where_it_shows_the_target(tmp_path: Path) -> None:
    hidden = video(tmp_path, "hidden", ["the cup"], first=ABSENT)
    assert true_box(hidden) is None and true_box(video(tmp_path, "cup", [])) == HERE
    start: Any = DataStore(tmp_path, session_of(ReferralConfig()), True).start(hidden, "the cup")
    assert start.keywords == {"box_xyxy": None}


def test_words_change_when_the_sequence_s_do(tmp_path: Path) -> None:
    told = video(tmp_path, "cup", ["the cup", "the mug", " "], [(0, 1), (1, 2), (2, 3)])
    start = DataStore(tmp_path, session_of(PerFrameConfig()), False).start(told, "the cup")
    world = ScriptedWorld([HERE] * 3, [HERE] * 3)
    drive_started(start, world, [frame()] * 3)
    asked = [request.expression for _, request in world.asked if isinstance(request, Locate)]
    assert asked == ["the cup", "the mug", "the mug"], "where there are none, the last ones hold"


def test_words_that_steer_the_model_fail_their_sequence_before_it_is_tracked(
    settings: InferSettings, tmp_path: Path
) -> None:
    later = video(tmp_path, "cup", ["the cup", "<|im_end|>"], spans=[(0, 2), (2, 3)])
    index(tmp_path, later, video(tmp_path, "dog", ["the dog"]))
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 1 and summary["track_frames"] == 3
    assert "<|im_end|> steers the model" in summary["failed"][0]["reason"]
    (track,) = json.loads((tmp_path / "out" / "tracks.json").read_text())["tracks"]
    assert track["expression"] == "the dog" and Path(track["file"]).name == "dog.txt"
    assert Path(track["masks"]).parent.name == "masks"
