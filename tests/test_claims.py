"""Claims of folders and sequences: who wins, who shares, and that the dead leave nothing."""

import json
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from configs.errors import UserError
from infer.runs.claims import claim_out, claim_results
from infer.runs.locks import FileLock, locked

SPAWN = multiprocessing.get_context("spawn")
OURS, THEIRS = {"tracker": "referral"}, {"tracker": "per_frame"}


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_lock_is_held_by_one_and_leaves_no_file(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire() and not second.acquire()
    first.release()
    assert second.acquire() and not first.acquire()
    second.release()
    assert names(tmp_path) == []


def test_a_shared_lock_is_removed_by_its_last_holder(tmp_path: Path) -> None:
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire(shared=True) and second.acquire(shared=True)
    first.release()
    assert names(tmp_path) == ["lock"] and not third.acquire()
    second.release()
    assert names(tmp_path) == [] and third.acquire()


def test_runs_of_the_same_settings_share_a_folder_and_no_sequence(tmp_path: Path) -> None:
    with claim_results(tmp_path, OURS, False) as one, claim_results(tmp_path, OURS, False) as two:
        with one.sequence("ball") as is_ones, two.sequence("ball") as is_twos, two.sequence("kite") as other:
            assert (is_ones, is_twos, other) == (True, False, True)
        with two.sequence("ball") as is_twos:
            assert is_twos
    assert names(tmp_path) == ["fingerprint.json"]


def test_of_two_runs_with_different_settings_one_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match=r"another run is working there \(other tracker\)")
    with claim_results(tmp_path, OURS, False), refused:
        claim_results(tmp_path, THEIRS, False)
    with claim_results(tmp_path, THEIRS, False):  # nothing was written, and nobody is there any more
        pass


def test_results_of_other_code_are_kept_by_a_key_which_is_noted(tmp_path: Path) -> None:
    with claim_results(tmp_path, {**OURS, "code": "one"}, False):
        (tmp_path / "ball.txt").write_text("0\n")
    for code, other in (("two", ["one"]), ("three", ["one", "two"])):
        ours = {**OURS, "code": code}
        with pytest.raises(UserError, match=r"\(other code\); .*accept_code=true to keep them"):
            claim_results(tmp_path, ours, False)
        with pytest.raises(UserError, match=r"other code, tracker\); .* or overwrite=true$"):
            claim_results(tmp_path, {**THEIRS, "code": code}, False, accept_code=True)
        with claim_results(tmp_path, ours, False, accept_code=True), claim_results(tmp_path, ours, False):
            assert json.loads((tmp_path / "fingerprint.json").read_text()) == {**ours, "other_code": other}
        with claim_results(tmp_path, ours, False):
            assert json.loads((tmp_path / "fingerprint.json").read_text())["other_code"] == other
    assert (tmp_path / "ball.txt").is_file()
    with claim_results(tmp_path, OURS, overwrite=True):
        assert "other_code" not in json.loads((tmp_path / "fingerprint.json").read_text())


def test_versions_of_packages_are_recorded_and_end_no_run(tmp_path: Path) -> None:
    with claim_results(tmp_path, OURS, False):  # as earlier versions of this program wrote it
        (tmp_path / "ball.txt").write_text("0\n")
    for torch, others in (("2.1", []), ("2.2", ["2.1"]), ("2.3", ["2.1", "2.2"]), ("2.3", ["2.1", "2.2"])):
        with claim_results(tmp_path, {**OURS, "packages": {"torch": torch}}, False) as claim:
            assert claim is not None
        held = json.loads((tmp_path / "fingerprint.json").read_text())
        assert held["packages"] == {"torch": torch}
        assert held.get("other_packages", []) == [{"torch": other} for other in others]
    assert (tmp_path / "ball.txt").is_file()
    with claim_results(tmp_path, {**OURS, "packages": {"torch": "2.3"}}, overwrite=True):
        assert "other_packages" not in json.loads((tmp_path / "fingerprint.json").read_text())


@pytest.mark.parametrize("value", [5, "x", None, {"a": 1}, [[]]])
def test_a_damaged_list_of_a_fingerprint_ends_no_run(tmp_path: Path, value: object) -> None:
    (tmp_path / "ball.txt").write_text("0\n")
    damaged = {**OURS, "packages": value, "other_packages": value, "other_code": value}
    (tmp_path / "fingerprint.json").write_text(json.dumps(damaged))
    with claim_results(tmp_path, OURS, False):
        assert (tmp_path / "ball.txt").is_file()


def test_results_whose_settings_have_new_names_since_are_kept(tmp_path: Path) -> None:
    old = {"kind": "TrackerConfig", "find_above": 0.6, "lean": 0.4, "confirm": True}
    new = {"kind": "ReferralConfig", "activation_threshold": 0.6, "logit_bias": 0.4, "confirm": True}
    (tmp_path / "ball.txt").write_text("0\n")
    (tmp_path / "fingerprint.json").write_text(json.dumps({**OURS, "tracker": old}))
    with pytest.raises(UserError, match="other tracker"):
        claim_results(tmp_path, {**OURS, "tracker": {**new, "logit_bias": 0.5}}, False)
    with claim_results(tmp_path, {**OURS, "tracker": new}, False):
        assert json.loads((tmp_path / "fingerprint.json").read_text())["tracker"] == new
    assert (tmp_path / "ball.txt").is_file()


def test_results_are_not_overwritten_while_a_run_works_on_them(tmp_path: Path) -> None:
    with claim_results(tmp_path, OURS, False):
        (tmp_path / "ball.txt").write_text("0\n")
        for wanted in (OURS, THEIRS):
            with pytest.raises(UserError, match="another run is working there"):
                claim_results(tmp_path, wanted, overwrite=True)
        assert (tmp_path / "ball.txt").is_file()
    with claim_results(tmp_path, THEIRS, overwrite=True):
        assert not (tmp_path / "ball.txt").exists()


def test_what_a_killed_run_left_is_removed_but_not_what_a_live_one_writes(tmp_path: Path) -> None:
    left = [
        tmp_path / "overlays" / ".part-abc.mp4",
        tmp_path / ".lock-sequence-00",
        tmp_path / ".part-x.json",
    ]
    left[0].parent.mkdir()
    for path in left:
        path.write_text("")
    with claim_out(tmp_path, {"video": "a.mp4"}, False):
        assert names(tmp_path) == [".lock-run", "run.json"]
        left[0].write_text("")
        with claim_out(tmp_path, {"video": "a.mp4"}, False):
            assert left[0].exists()


def test_a_folder_of_pictures_belongs_to_what_is_tracked(tmp_path: Path) -> None:
    with claim_out(tmp_path, {"video": "a/clip.mp4", "bytes": 1}, False):
        pass
    video = tmp_path / "overlays" / "clip_00.mp4"
    video.parent.mkdir()
    video.write_text("")
    with pytest.raises(UserError, match=r"video=a/clip.mp4.*take another out= or overwrite=true"):
        claim_out(tmp_path, {"video": "b/clip.mp4", "bytes": 1}, False)
    with claim_out(tmp_path, {"video": "a/clip.mp4", "bytes": 1}, False):
        assert video.exists()
    with claim_out(tmp_path, {"video": "b/clip.mp4", "bytes": 1}, True):
        assert not video.exists()


def _claim_and_wait(folder: Path, mine: dict[str, str], told: Connection, go: Connection) -> None:
    """In another process: claim as soon as it is let, tell the outcome, hold on until told to stop."""
    told.send("ready")
    go.recv()
    try:
        with claim_results(folder, mine, False) as claim, claim.sequence("ball") as is_mine:
            told.send("claimed" if is_mine else "shared")
            go.recv()
    except UserError as fault:
        told.send(str(fault))


def test_processes_that_claim_at_once_and_one_that_is_killed(tmp_path: Path) -> None:
    pipes = [(SPAWN.Pipe(), SPAWN.Pipe()) for _ in range(2)]
    processes = [
        SPAWN.Process(target=_claim_and_wait, args=(tmp_path, mine, told[1], go[0]))
        for mine, (told, go) in zip((OURS, THEIRS), pipes, strict=True)
    ]
    for process in processes:
        process.start()
    for told, _ in pipes:
        assert told[0].recv() == "ready"
    for _, go in pipes:
        go[1].send("go")
    outcomes = [told[0].recv() for told, _ in pipes]
    assert sum(outcome == "claimed" for outcome in outcomes) == 1
    winner = outcomes.index("claimed")
    assert "another run is working there" in outcomes[1 - winner]
    killed = processes[winner].pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    for process in processes:
        process.join()
    assert any(name.startswith(".lock-sequence-") for name in names(tmp_path))
    with claim_results(tmp_path, (OURS, THEIRS)[winner], False) as claim, claim.sequence("ball") as is_mine:
        assert is_mine
    assert names(tmp_path) == ["fingerprint.json"]


def test_a_file_is_changed_by_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "trackers.ini"
    with locked(path):
        assert not FileLock(tmp_path / ".lock-trackers.ini").acquire()
    assert names(tmp_path) == []


def test_what_a_killed_process_was_writing_is_removed_by_the_next_with_the_same_lock(tmp_path: Path) -> None:
    for name in (".part-abc.ini", ".part-abc.zip", "trackers.ini"):
        (tmp_path / name).touch()
    with locked(tmp_path / "trackers.ini"):
        assert names(tmp_path) == [".lock-trackers.ini", ".part-abc.zip", "trackers.ini"]
