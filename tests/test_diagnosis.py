"""`task=diagnose`: kinds exclude each other and add up to the whole loss; what each means; its files."""

import json
from pathlib import Path

import numpy as np
import pytest
from box_miniature import write_toolkit
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from configs.app import run_command
from configs.errors import UserError
from data_prep.index.build import build_index
from data_prep.readers.reader import reader_of
from data_prep.trace import TraceFrame, trace_line
from data_prep.votsr.results import read_lines, result_path
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from evaluation.__main__ import main
from evaluation.config import EvaluationSettings
from evaluation.diagnosis.costs import IOU_EDGES, Diagnosis, Redetection
from evaluation.diagnosis.groups import groups_of
from evaluation.diagnosis.kinds import KINDS, NO_LOSS, SAME_OBJECT_IOU, TrackFrames, kinds_of
from evaluation.diagnosis.sheets import sheets_of
from evaluation.diagnosis.tables import frames_text
from evaluation.diagnosis.tracks import Track, read_tracks
from evaluation.masks.referral_evaluation import evaluate_workspace
from evaluation.report.frame_sources import WorkspaceFrames
from evaluation.scores import FrameView
from infer.engine.engine import Trajectory
from infer.runs.plan import ResultFiles
from infer.runs.records import TrackRecords
from infer.trackers.requests import State
from tests.votsr_miniature import PROMPTS, TRACKER, add_results, add_truth, disc, make_workspace
from tests.votsr_results_miniature import OTHER, scored_workspace

KEYS = [kind.key for kind in KINDS]
ABSENT, PRESENT = False, True
DOCS = Path(__file__).parent.parent / "docs" / "evaluation.md"


def frames_of(frames: list[tuple[bool, float | None]], missing: bool = False) -> TrackFrames:
    """Frames of (present, IoU); None: nothing is reported. The IoU of an absent target means nothing."""
    present = np.array([each for each, _ in frames])
    reported = np.array([overlap is not None and not missing for _, overlap in frames])
    overlaps = np.array([overlap or 0.0 for _, overlap in frames])
    scores = np.where(present, np.where(reported, overlaps, 0.0), 1.0 - reported) * (not missing)
    gone = np.full(len(frames), missing)
    return TrackFrames(scores.astype(float), present, reported, gone, 2 * np.arange(len(frames)))


def plain_kinds(frames: list[tuple[bool, float | None]], missing: bool) -> list[set[str]]:
    """All kinds whose complete definition holds, for each frame, by walking through the track."""
    found = [
        present and iou is not None and iou >= SAME_OBJECT_IOU and not missing for present, iou in frames
    ]
    told = []
    for at, (present, iou) in enumerate(frames):
        start = at
        while start > 0 and frames[start - 1][0]:
            start -= 1
        reported = iou is not None
        silent = present and not reported and not missing
        holds = {
            "no_result": missing,
            "false_presence": not missing and not present and reported,
            "wrong_object": not missing and present and reported and not found[at],
            "poor_mask": found[at] and iou != 1.0,
            "never_found": silent and not any(found),
            "late_detection": silent and any(found) and not any(found[:at]),
            "lost_early": silent and any(found[start:at]),
            "late_redetection": silent and any(found[:start]) and not any(found[start:at]),
        }
        told.append({key for key, does in holds.items() if does})
    return told


OVERLAPS = st.one_of(st.none(), st.sampled_from([0.0, 0.05, SAME_OBJECT_IOU, 0.4, 1.0]), st.floats(0, 1))
FRAMES = st.lists(st.tuples(st.booleans(), OVERLAPS), min_size=1, max_size=14)


@given(FRAMES, st.booleans())
@example([(PRESENT, 0.05), (PRESENT, None), (ABSENT, 0.9), (PRESENT, None)], False)  # never on the target
@example([(PRESENT, 0.9), (ABSENT, None), (PRESENT, None), (PRESENT, 0.9), (PRESENT, None)], False)
def test_every_loss_is_of_the_one_kind_whose_definition_holds(frames, missing):
    numbers = kinds_of(frames_of(frames, missing))
    assert [{KEYS[number]} if number != NO_LOSS else set() for number in numbers] == plain_kinds(
        frames, missing
    )


@given(st.lists(st.tuples(FRAMES, st.booleans(), st.floats(0.01, 1)), min_size=1, max_size=5))
def test_losses_of_all_kinds_and_the_score_add_up(cases):
    """Over all tracks, over some, and for each track, weighted as the score is."""
    total = sum(weight for _, _, weight in cases)
    tracks = tuple(
        Track(f"s{at}", "x", frames_of(frames, missing), weight / total, at, 0, {})
        for at, (frames, missing, weight) in enumerate(cases)
    )
    diagnosis = Diagnosis.of("ours", tracks)
    for rows in (range(len(tracks)), range(0, len(tracks), 2)):
        cost = diagnosis.cost(list(rows))
        assert cost.score + cost.loss.sum() == pytest.approx(100, abs=1e-9)
        score = np.average(
            [tracks[row].frames.scores.mean() for row in rows], weights=diagnosis.weights[rows]
        )
        assert cost.score == pytest.approx(100 * score)
        assert (cost.loss[cost.frames == 0] == 0).all() and (cost.tracks <= cost.frames).all()
    cost = diagnosis.cost()
    assert cost.loss == pytest.approx(diagnosis.weights @ diagnosis.track_losses)
    assert cost.frames.sum() == sum((track.frames.scores < 1).sum() for track in tracks)
    bands, poor = diagnosis.poor_masks(), KEYS.index("poor_mask")
    assert sum(band.loss for band in bands) == pytest.approx(cost.loss[poor], abs=1e-9)
    assert sum(band.frames for band in bands) == cost.frames[poor]
    costs = [diagnosis.weights[row] * diagnosis.track_losses[row].sum() for row in diagnosis.worst()]
    assert costs == sorted(costs, reverse=True) and all(costs)


def test_a_worked_example():
    frames = [
        (PRESENT, None), (PRESENT, 0.05), (PRESENT, 0.8), (PRESENT, None), (PRESENT, 1.0), (ABSENT, 0.5),
        (ABSENT, None), (PRESENT, None), (PRESENT, 0.0), (PRESENT, 0.5), (PRESENT, None),
    ]  # fmt: skip
    diagnosis = Diagnosis.of("ours", (Track("s", "x", frames_of(frames), 1.0, 0, 0, {}),))
    assert [KEYS[number] if number >= 0 else "" for number in diagnosis.kinds[0]] == [
        "late_detection", "wrong_object", "poor_mask", "lost_early", "", "false_presence",
        "", "late_redetection", "wrong_object", "poor_mask", "lost_early",
    ]  # fmt: skip
    cost = diagnosis.cost()
    assert cost.score == pytest.approx(100 * (0.05 + 0.8 + 1 + 1 + 0.5) / 11)
    assert cost.loss[KEYS.index("poor_mask")] == pytest.approx(100 * (0.2 + 0.5) / 11)
    # Frames are those of the video, of which every second one is annotated.
    assert diagnosis.stretches(0, KEYS.index("lost_early")) == [(6, 6), (20, 20)]
    returned, lost = diagnosis.redetections()
    assert (returned.count, returned.ended, returned.median_frames) == (1, 1, 4)
    assert lost.count == 0 and np.isnan(lost.median_frames)


def test_a_loss_that_does_not_end_is_longer_than_any_other():
    nan = float("nan")
    assert Redetection.of(np.array([nan, 3.0, 5.0])).median_frames == 5
    for times in ([nan, nan, 5.0], [1.0, nan]):
        assert Redetection.of(np.array(times)).median_frames == float("inf")
    assert Redetection.of(np.array([7.0, 2.0, nan, 3.0])).median_frames == 7


def test_frames_to_look_at():
    stretches = [(0, 0), (9, 19), (30, 32), (40, 40), (50, 60)]
    assert frames_text(stretches) == "10–20, 31–33, 51–61 and 2 more"
    assert frames_text([(4, 4)]) == "5"
    frames = frames_of([(PRESENT, iou) for iou in (1.0, 0.5, 0.3, 0.3, 0.3, 0.9, 0.3)])
    diagnosis = Diagnosis.of("ours", (Track("s", "x", frames, 1.0, 0, 0, {}),))
    assert diagnosis.worst_frame(0, KEYS.index("poor_mask")) == 3


def test_losses_of_a_target_that_stays_are_apart_from_returns():
    stays = [(PRESENT, 0.9), *[(PRESENT, None)] * 12, (PRESENT, 0.9)]
    returns = [(PRESENT, 0.9), (ABSENT, None), (PRESENT, 0.9)]
    tracks = [Track("s", "x", frames_of(frames), 0.5, 0, 0, {}) for frames in (stays, returns)]
    returned, lost = Diagnosis.of("ours", tuple(tracks)).redetections()
    assert (returned.count, returned.median_frames, lost.count, lost.median_frames) == (1, 0, 1, 24)


def test_a_sheet_shows_the_worst_frame_of_each_sequence_first():
    """Expressions of one sequence with the same worst frame are shown once."""

    def track(number: int, first: int, worst: int) -> Track:
        frames = frames_of([(PRESENT, 0.2 if at == worst else 1.0) for at in range(4)])
        return Track(f"s{number}", "x", frames, 0.2, number, first, {})

    tracks = (track(0, 0, 1), track(0, 4, 1), track(0, 8, 2), track(1, 0, 3), track(1, 4, 1))
    asked = []

    def source(number: int, frame: int, trackers: tuple[str, ...]) -> FrameView:
        asked.append((number, frame))
        return FrameView(frame, np.zeros((48, 64, 3), np.uint8), disc(20, 20, 9), {trackers[0]: None}, "x")

    sheets = sheets_of(Diagnosis.of("ours", tracks), source)
    assert list(sheets) == ["poor_mask"]
    # Frames of the video are even; those of the second expression begin after those of the first.
    assert asked == [(0, 2), (1, 6), (0, 8 + 4), (1, 4 + 2)]


def read(root: Path, **more) -> dict[str, Diagnosis]:
    tracks = read_tracks(EvaluationSettings(task="diagnose", truth=str(root), **more))
    return {name: Diagnosis.of(name, own) for name, own in tracks.by_tracker.items()}


@pytest.mark.parametrize("seed", range(3))
def test_on_random_masks_the_score_is_that_of_the_protocol(tmp_path, seed):
    """Videos of different lengths, of which not all frames are annotated, with pixels that are ignored."""
    root, random = make_workspace(tmp_path, ["ball", "kite", "cup"], 12), np.random.default_rng(seed)

    def masks() -> list[np.ndarray | None]:
        return [None if random.random() < 0.3 else disc(*random.uniform(22, 34, 2), 9) for _ in range(12)]

    for name in ("ball", "kite", "cup"):
        folder = root / "sequences" / name
        for number in range(1, 1 + int(random.integers(4))):
            (folder / "color" / f"{13 - number:08d}.jpg").unlink()
        count = len(list((folder / "color").iterdir()))
        add_truth(folder, masks()[:count], [at % 3 != 1 for at in range(count)], name == "ball")
        for prompt in PROMPTS:
            add_results(root, name, masks()[:count], [prompt])
    (scores,) = evaluate_workspace(root, with_toolkit=False).trackers
    mine = read(root)[TRACKER]
    cost = mine.cost()
    assert cost.score == pytest.approx(scores.overall["region_similarity"], abs=1e-9)
    assert cost.score + cost.loss.sum() == pytest.approx(100, abs=1e-9)
    assert 20 < cost.score < 80 and np.count_nonzero(cost.frames) > 3
    source = WorkspaceFrames(root)
    for track in mine.tracks:
        view = source(track.number, track.first_frame + 3, (TRACKER,))
        assert (view.expression, view.frame_index) == (track.expression, 3)


def run(*keys: str) -> int:
    return run_command("evaluation", main, "", ["task=diagnose", *keys])


def test_the_command_on_a_workspace(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scored_workspace(tmp_path / "w")
    old = tmp_path / "out" / "sheets" / "Gone" / "poor_mask.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    own = old.with_name("own.png")
    own.write_bytes(b"")
    assert run("truth=w", "out=out") == 0
    assert own.is_file() and not old.exists()
    own.unlink()
    said = capfd.readouterr().out
    assert f"{TRACKER}: the tracks that cost most" in said and "Loss by kind" in said
    content = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert list(content["trackers"]) == [OTHER, TRACKER]  # the best first
    assert content["trackers"][OTHER]["score"] == pytest.approx(100)
    mine = content["trackers"][TRACKER]
    assert mine["score"] + sum(kind["loss"] for kind in mine["kinds"].values()) == pytest.approx(100)
    assert sum(track["cost"] for track in mine["tracks"]) == pytest.approx(mine["loss"])
    for track in mine["tracks"]:
        assert track["score"] + sum(kind["loss"] for kind in track["kinds"].values()) == pytest.approx(100)
    sheets = sorted((tmp_path / "out" / "sheets").rglob("*.png"))
    assert {path.parent.name for path in sheets} == {TRACKER}
    assert {path.stem for path in sheets} <= set(KEYS) and len(sheets) > 1
    for path in sheets:
        assert Image.open(path).size[0] == 1744


def test_a_missing_result_is_a_kind_of_its_own(tmp_path):
    root = scored_workspace(tmp_path / "w")
    result_path(root, TRACKER, "ball", PROMPTS[0]).unlink()
    with pytest.raises(UserError, match="no such result"):
        read(root)
    mine = read(root, missing="count")[TRACKER]
    kind = KEYS.index("no_result")
    (row,) = np.flatnonzero(mine.track_frames[:, kind])
    assert (mine.tracks[row].sequence, mine.tracks[row].expression) == ("ball", PROMPTS[0])
    assert mine.track_losses[row, kind] == pytest.approx(100)


def test_rendered_sequences_are_grouped(tmp_path, capfd):
    root = tmp_path / "w"
    names = render_workspace(root, PRESETS["val"], sequences=2, expressions=2, frames=3)
    for name in names:
        folder = root / "sequences" / name
        attributes = json.loads((folder / "attributes.json").read_text())
        for expression in attributes["expressions"]:
            path = result_path(root, TRACKER, name, expression["text"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0\n" * 3)
            assert groups_of(folder, expression["text"])["expression"] == expression["kind"]
        assert groups_of(folder, "another")["absence"] == attributes["absence"]
    assert run(f"truth={root}", f"out={tmp_path / 'out'}") == 0
    groups = json.loads((tmp_path / "out" / "diagnosis.json").read_text())["trackers"][TRACKER]["groups"]
    assert set(groups) == {"absence", "size", "expression"}
    for grouping in groups.values():
        assert sum(group["num_tracks"] for group in grouping.values()) == 4
        for group in grouping.values():
            assert group["score"] + group["loss"] == pytest.approx(100)
    assert f"{TRACKER}: loss by absence" in capfd.readouterr().out
    (folder / "attributes.json").write_text("{")
    with pytest.raises(UserError, match=r"attributes.json: not JSON"):
        groups_of(folder, "another")
    (folder / "attributes.json").write_text(
        '{"absence": ["x"], "median_area_share": null, "expressions": [3]}'
    )
    assert groups_of(folder, "another") == {"size": "never present"}
    assert groups_of(tmp_path, "another") == {}


def test_boxes_of_a_toolkit(tmp_path):
    """Score by box: 1 and 25/175 where the target is present, 1 and 0 where it is absent."""
    box, beside = [10.0, 10.0, 10.0, 10.0], [15.0, 15.0, 10.0, 10.0]
    nothing = [0.0] * 4
    write_toolkit(tmp_path, [[box] * 5], [[1, 1, 0, 0, 1]], {"ours": [[box, beside, nothing, box, nothing]]})
    found = read(
        tmp_path / "annos", layout="toolkit", protocol="tnllt", results=str(tmp_path / "tracking_results")
    )["ours"]
    cost = found.cost()
    assert cost.score == pytest.approx(100 * (1 + 25 / 175 + 1) / 5)
    lost = {KEYS[number]: count for number, count in enumerate(cost.frames) if count}
    assert lost == {"poor_mask": 1, "false_presence": 1, "late_redetection": 1}
    assert found.redetections()[0].count == 1
    # Frames without a line are neither reports of absence nor a loss that lasts.
    path = tmp_path / "tracking_results" / "ours_tracking_result" / "s0.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    cut = read(
        tmp_path / "annos",
        layout="toolkit",
        protocol="tnllt",
        results=str(tmp_path / "tracking_results"),
        missing="count",
    )["ours"]
    lost = {KEYS[number]: count for number, count in enumerate(cut.cost().frames) if count}
    assert lost == {"poor_mask": 1, "no_result": 3} and cut.redetections()[0].count == 0


def test_sequences_without_known_ground_truth_are_left_out(tmp_path):
    """With a note; where there is no other sequence, it is an error."""
    box, unknown = [10.0, 10.0, 10.0, 10.0], [float("nan")] * 4
    keys = {"layout": "toolkit", "protocol": "tnllt"}
    for truth, folder in (
        ([[unknown] * 2, [box] * 2], tmp_path / "a"),
        ([[unknown] * 2] * 2, tmp_path / "b"),
    ):
        write_toolkit(folder, truth, [[1, 1]] * 2, {"ours": [[box] * 2] * 2})
    tracks = read_tracks(
        EvaluationSettings(
            truth=str(tmp_path / "a/annos"), results=str(tmp_path / "a/tracking_results"), **keys
        )
    )
    (track,) = tracks.by_tracker["ours"]
    assert (track.sequence, track.weight) == ("s1", 1)
    assert "s0: no frame with known ground truth; it is left out" in tracks.notes
    with pytest.raises(UserError, match="no frame has its true box"):
        read(tmp_path / "b/annos", results=str(tmp_path / "b/tracking_results"), **keys)


def test_boxes_of_an_index_have_groups_and_sheets(tmp_path):
    """Boxes that are always the first true one lose score as the target moves away."""
    names = render_workspace(tmp_path / "set" / "test", PRESETS["val"], 2, frames=4, layout="tnl2k")
    results = tmp_path / "results" / "tnl2k-test" / "ours"
    results.mkdir(parents=True)
    for name in names:
        lines = (tmp_path / "set" / "test" / name / "groundtruth.txt").read_text().splitlines()
        box = next((line for line in lines if line != "0,0,0,0"), "5,5,9,9")
        (results / f"{name}.txt").write_text(f"{box}\n" * 4)
    build_index(reader_of("tnl2k", "test"), tmp_path / "set", "test", tmp_path / "indexes", workers=1)
    keys = ("data=tnl2k", "split=test", f"indexes={tmp_path / 'indexes'}", f"results={tmp_path / 'results'}")
    assert run(*keys, f"out={tmp_path / 'out'}") == 0
    ours = json.loads((tmp_path / "out" / "diagnosis.json").read_text())["trackers"]["ours"]
    assert set(ours["groups"]) == {"absence", "size", "expression"}
    assert ours["score"] + ours["loss"] == pytest.approx(100) and ours["loss"] > 0
    assert all(track["expression"] for track in ours["tracks"])
    assert list((tmp_path / "out" / "sheets" / "ours").glob("*.png"))


def test_keys_that_do_not_fit(tmp_path):
    for more, words in (
        ({}, "name the workspace"),
        ({"truth": "w", "boxes": "xyxy"}, "scores masks"),
        ({"protocol": "davis", "layout": "expressions"}, "takes a workspace"),
    ):
        with pytest.raises(UserError, match=words):
            read_tracks(EvaluationSettings(task="diagnose", **more))


def test_the_docs_define_every_kind():
    text = DOCS.read_text()
    for kind in KINDS:
        assert f"| {kind.title} | {kind.meaning} |" in text
    assert IOU_EDGES[0] == SAME_OBJECT_IOU


def test_the_traces_of_a_run_say_why_frames_were_lost(tmp_path, capfd):
    """In `runs=`, of these results only; without them, and of other trackers, nothing is said."""
    root = scored_workspace(tmp_path / "w")
    out = tmp_path / "runs" / "w-Mine"
    workspace = read_workspace(root)
    written = {}
    for sequence in workspace.sequences:
        for expression in sequence.expressions:
            path = result_path(root, TRACKER, sequence.name, expression)
            files = ResultFiles(path, path)
            lines, count = read_lines(files.masks), len(sequence.frames)
            trajectory = Trajectory(lines, [None] * count, [State.LOST] * count, [0.0] * count)
            trace = [TraceFrame(at, "lost", ("due", "not_found")) for at in range(1, count + 1)]
            TrackRecords(out, True).write(sequence, expression, files, trajectory, [*map(trace_line, trace)])
            written[sequence.name, expression] = files.masks
    keys = (f"truth={root}", f"out={tmp_path / 'out'}")
    assert run(*keys, f"runs={tmp_path / 'runs'}") == 0
    said = capfd.readouterr().out
    assert "loss by state and reasons" in said and "lost (due, not found)" in said
    content = json.loads((tmp_path / "out" / "diagnosis.json").read_text())["trackers"]
    mine = content[TRACKER]
    assert sum(each["loss"] for each in mine["reasons"]) == pytest.approx(mine["loss"])
    assert sum(each["frames"] for each in mine["reasons"]) == sum(
        kind["frames"] for kind in mine["kinds"].values()
    )
    worst = [kind["worst"] for track in mine["tracks"] for kind in track["kinds"].values()]
    assert worst and all((each["state"], each["reasons"]) == ("lost", ["due", "not_found"]) for each in worst)
    assert content[OTHER]["reasons"] == []
    # Other results than those of the trace, and a trace that is damaged.
    first, second, *_ = sorted(written)
    written[first].write_text("0\n" * len(read_lines(written[first])))
    TrackRecords(out).trace_path(*second).write_text("{\n")
    tracks = read(root, runs=str(out))[TRACKER].tracks
    assert {(track.sequence, track.expression) for track in tracks if not track.why} == {first, second}
    assert not any(track.why for track in read(root)[TRACKER].tracks)
    with pytest.raises(UserError, match="no such folder"):
        read(root, runs=str(tmp_path / "nowhere"))
