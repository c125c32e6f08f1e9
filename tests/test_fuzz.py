"""The fuzzer: its edits follow from a seed, its checks see planted faults, and a short run finds none."""

import os
import signal
import time
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from benchmarks.fuzz import oracles
from benchmarks.fuzz.checks import (
    Comparison,
    check_exit,
    check_json,
    check_outcome,
    check_output,
    check_results,
    check_written,
    is_reported,
    list_tree,
)
from benchmarks.fuzz.mutations import OPERATIONS, Chosen, mutate_folder
from benchmarks.fuzz.oracles import Meaning
from benchmarks.fuzz.run import Fuzzer
from benchmarks.fuzz.targets import KINDS, SHARES, TARGETS, target_of
from benchmarks.fuzz.worker import CommandResult, import_all, run_commands

SEEDS = {
    "a workspace": (7, 9, 17),
    "kept results": (3, 22, 46, 48, 374),
    "boxes by tnllt": (5, 35),
    "a video in gif": (68, 88),
    "the mask head": (24, 33, 36),
    "what the grounder is": (170, 222),
    "boxes and words, exported": (10, 100),
    "an archive": (26, 52),
    "records": (74, 81),
    "an index": (41, 174),
}
"""Of targets whose inputs are made in a moment; `python -m benchmarks fuzz` goes through all."""


def fine(
    stdout: str = "", stderr: str = "", status: int = 0, ended_by: int = 0, late: bool = False
) -> CommandResult:
    return CommandResult(
        (status,), stdout.encode("utf-8", "surrogateescape"), stderr.encode(), ended_by, late, 1.0
    )


def write_files(root: Path) -> list[Path]:
    texts = {
        "a.txt": "1,2,3,4\n5,6,7,8\n",
        "sub/b.txt": "0\n1\n",
        "c.json": '{"x": [1, 2], "y": {"z": null}}',
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "w.safetensors").write_bytes(save({"a": torch.ones(3), "b": torch.zeros(2, 2)}))
    Image.new("RGB", (4, 4)).save(root / "p.png")
    return sorted(path for path in root.rglob("*") if path.is_file())


def state(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        found[name] = path.readlink().name if path.is_symlink() else path.is_file() and path.read_bytes()
    return found


@pytest.mark.parametrize("seed", range(60))
def test_an_edit_follows_from_its_seed(seed: int, tmp_path: Path) -> None:
    states, edits = [], []
    for name in "ab":
        root = tmp_path / name
        edits.append(mutate_folder(Random(seed), root, write_files(root), tmp_path / f"{name}-outside"))
        states.append(state(root))
    assert edits[0] == edits[1] and states[0] == states[1]
    assert edits[0]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_changes_its_file(operation: str, tmp_path: Path) -> None:
    """Of several seeds: some draw what is there already."""
    name = "c.json" if "value" in operation or "key" in operation or operation == "deep" else "a.txt"
    if operation in ("no number in", "drop half of", "one more tensor in") or "tensor" in operation:
        name = "w.safetensors"
    changed = 0
    for seed in range(5):
        root = tmp_path / str(seed)
        write_files(root)
        before = state(root), (root / name).lstat().st_mode
        other = root / "sub" / "b.txt"
        OPERATIONS[operation](Chosen(Random(seed), root, root / name, other, tmp_path / "outside"))
        changed += (state(root), (root / name).lstat().st_mode if (root / name).exists() else 0) != before
    assert changed >= 1


def test_kinds_are_drawn_by_their_shares() -> None:
    drawn = [target_of(seed) for seed in range(1000)]
    assert {target.name for target in drawn} == {target.name for target in TARGETS}
    for kind in KINDS:
        share = SHARES[kind] / sum(SHARES.values())
        assert abs(sum(target.kind == kind for target in drawn) / 1000 - share) < 0.05
    assert [target_of(seed) for seed in range(10)] == drawn[:10]


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (fine(stderr="Traceback (most recent call last):\n  File\nKeyError: 'x'\n", status=1), "a traceback"),
        (fine(stderr="ValueError: array is too big\n", status=1), "an exception's name"),
        (
            fine(stderr="cv2.error: bad\nsafetensors._rust.SafetensorError: x\n", status=1),
            "an exception's name",
        ),
        (fine(late=True), "did not end"),
        (fine(ended_by=signal.SIGSEGV), "signal 11"),
        (fine(stderr="error: x\n", status=3), "exit status 3"),
        (fine(stdout="all is well\n", status=1), "without a line that says why"),
        (fine(stderr="error: the file\nis broken\n", status=1), "more than one line"),
    ],
)
def test_bad_ends_are_seen(ended: CommandResult, fault: str) -> None:
    assert any(fault in each for each in check_exit(ended))


@pytest.mark.parametrize(
    "ended",
    [
        fine(),
        fine(stderr="error: a.txt: no such file; mend it\nerror: b.txt: the same\n", status=1),
        fine(stdout="failed: ball, “cup”: 2.jpg cannot be read\n", status=1),
        fine(stdout="check: out (2 sequences, 1 broken; in 0 s)\n", status=1),
    ],
)
def test_good_ends_are_no_faults(ended: CommandResult) -> None:
    assert not [*check_exit(ended), *check_output(ended)]


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "a\x07", "\x7f", "\x9b", "a\rb", "\u202e", "\udce9", "x" * 6000]
)
def test_what_a_terminal_would_obey_is_seen(text: str) -> None:
    assert list(check_output(fine(stdout=f"a line\n{text}\n")))


def test_what_is_written_elsewhere_is_seen(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("kept", "in/changed", "in/gone", "in/linked"):
        (tmp_path / name).write_text("1")
    before = list_tree(tmp_path)
    (tmp_path / "in/changed").write_text("22")
    (tmp_path / "in/gone").unlink()
    (tmp_path / "in/linked").unlink()
    (tmp_path / "in/linked").symlink_to("changed")
    (tmp_path / "out").mkdir()
    for name in ("out/fine", "out/.part-x", "new"):
        (tmp_path / name).write_text("1")
    told = list(check_written(before, list_tree(tmp_path), ("out", "out/*")))
    assert [each.rpartition(" ")[2] for each in told] == [
        "'in/changed'",
        "'in/gone'",
        "'in/linked'",
        "'new'",
        "'out/.part-x'",
    ]
    assert not list(check_written(before, before, ()))


def test_files_that_are_not_whole_are_seen(tmp_path: Path) -> None:
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "summary.json").write_text('{"iou": NaN}')
    contents = {"good": "0\nm1,2,3,1,1,2\n", "cut": "0\nm1,2,3,1,1,2", "long": "m1,2,3,1,1,9\n", "none": ""}
    for name, content in contents.items():
        (tmp_path / "out" / "masks" / f"{name}.txt").write_text(content)
    assert [each.split()[0] for each in check_json(tmp_path / "out")] == ["summary.json"]
    assert [Path(each.split()[0]).stem for each in check_results(tmp_path)] == ["cut", "long", "none"]


def encoded(value: int, size: tuple[int, int] = (8, 8)) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


WEIGHTS = {"a": torch.ones(3), "b": torch.zeros(2, 2)}
BOXES = b"1,2,3,4\n0,0,0,0\n"


@pytest.mark.parametrize(
    ("oracle", "before", "after", "meaning"),
    [
        (oracles.boxes, BOXES, b"1 2 3.0 4\r\n0,0,0,0\n\n", Meaning.SAME),
        (oracles.boxes, BOXES, b"1,2,3,5\n0,0,0,0\n", Meaning.OTHER),
        (oracles.boxes, BOXES, b"1,2,3,4\n", Meaning.WRONG),
        (oracles.boxes, BOXES, b"1,2,nan,4\n0,0,0,0\n", Meaning.WRONG),
        (oracles.boxes, BOXES, b"1,2,-3,4\n0,0,0,0\n", Meaning.WRONG),
        (oracles.boxes, BOXES, b"1,2,x,4\n0,0,0,0\n", Meaning.WRONG),
        (oracles.boxes, BOXES, None, Meaning.WRONG),
        (oracles.flags, b"0\n1\n", b"1\n1\n", Meaning.OTHER),
        (oracles.flags, b"0\n1\n", b"2\n1\n", Meaning.WRONG),
        (oracles.masks, b"0\nm1,2,3,1,1,2\n", b"0\r\nm1,2,3,1,1,2", Meaning.SAME),
        (oracles.masks, b"0\nm1,2,3,1,1,2\n", b"0\nm1,2,3,1,0,2\n", Meaning.OTHER),
        (oracles.masks, b"0\nm1,2,3,1,1,2\n", b"0\nm1,2,3,1,1,9\n", Meaning.WRONG),
        (oracles.picture, encoded(9), encoded(200), Meaning.OTHER),
        (oracles.picture, encoded(9), encoded(9) + b"more", Meaning.SAME),
        (oracles.picture, encoded(9), encoded(9)[:-40], Meaning.WRONG),
        (oracles.picture, encoded(9), encoded(9, (8, 9)), Meaning.WRONG),
        (oracles.last_picture, encoded(9), None, Meaning.OTHER),
        (oracles.structure, b'{"a": 1}', b' {"a":1}', Meaning.SAME),
        (oracles.structure, b'{"a": 1}', b'{"a": 2}', Meaning.OTHER),
        (oracles.structure, b'{"a": 1}', b'{"a": ', Meaning.WRONG),
        (oracles.structure, b'{"a": 1}', b"[" * 100_000, Meaning.WRONG),
        (oracles.tensors, save(WEIGHTS), save({k: v.double() for k, v in WEIGHTS.items()}), Meaning.SAME),
        (oracles.tensors, save(WEIGHTS), save({**WEIGHTS, "a": torch.zeros(3)}), Meaning.OTHER),
        (oracles.tensors, save(WEIGHTS), save({"a": WEIGHTS["a"]}), Meaning.WRONG),
        (oracles.tensors, save(WEIGHTS), save({**WEIGHTS, "a": torch.full((3,), torch.nan)}), Meaning.WRONG),
        (oracles.tensors, save(WEIGHTS), save(WEIGHTS)[:-4], Meaning.WRONG),
        (oracles.whole, b"x", b"y", Meaning.WRONG),
    ],
)
def test_judges(oracle: oracles.Oracle, before: bytes, after: bytes | None, meaning: Meaning) -> None:
    assert oracle(before, after) is meaning


PLAIN = {"ball/1.txt": "aa", "kite/1.txt": "bb"}


@pytest.mark.parametrize(
    ("found", "meaning", "told", "faults"),
    [
        (PLAIN, Meaning.SAME, False, 0),
        ({**PLAIN, "ball/1.txt": "other"}, Meaning.OTHER, False, 0),
        ({**PLAIN, "ball/1.txt": "other"}, Meaning.WRONG, True, 0),
        ({**PLAIN, "ball/1.txt": "other"}, Meaning.WRONG, False, 1),
        ({**PLAIN, "ball/1.txt": "other"}, Meaning.SAME, False, 1),
        ({"ball/1.txt": "aa"}, Meaning.OTHER, True, 1),
        ({"new/1.txt": "aa", "kite/1.txt": "bb"}, Meaning.WRONG, False, 0),
        ({"new/1.txt": "other", "kite/1.txt": "bb"}, Meaning.WRONG, False, 1),
        ({**PLAIN, "kite/1.txt": "other"}, Meaning.OTHER, True, 1),
    ],
)
def test_wrong_results_are_seen(found: dict[str, str], meaning: Meaning, told: bool, faults: int) -> None:
    compared = Comparison(PLAIN, found, meaning, frozenset({"ball"}), told)
    assert len(list(check_outcome(compared))) == faults


def test_a_word_about_a_fault_counts_when_the_plain_run_has_it_not() -> None:
    plain = fine("note: 3 frames of s1 are not annotated\n1 of 2\n")
    assert not is_reported(fine("note: 3 frames of s1 are not annotated\n2 of 2\n"), plain)
    assert is_reported(fine("warning: s1: 2 lines cut\n"), plain)
    assert is_reported(fine(stderr="error: s1\n", status=1), plain)


def test_a_worker_is_limited_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()

    def ended(work: object, limit: float = 20) -> CommandResult:
        monkeypatch.setattr("benchmarks.fuzz.worker._in_turn", lambda commands, log: work())
        return run_commands([], tmp_path / "cwd", tmp_path / "log", limit)

    late = ended(lambda: time.sleep(60), 0.3)
    assert late.late and late.signal == signal.SIGKILL and late.seconds < 10
    assert ended(lambda: os.kill(os.getpid(), signal.SIGSEGV)).signal == signal.SIGSEGV
    assert b"MemoryError" in ended(lambda: bytearray(40 << 30)).stderr
    assert b"OSError" in ended(lambda: (tmp_path / "big").write_bytes(b"x" * (257 << 20))).stderr
    assert b"ZeroDivisionError" in ended(lambda: 1 / 0).stderr
    assert ended(lambda: print(Path.cwd(), input())).stderr.endswith(b"EOFError: EOF when reading a line\n")


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    import_all()
    return Fuzzer(tmp_path_factory.mktemp("fuzz") / "root")


@pytest.mark.parametrize(
    ("target", "seed"), [(name, seed) for name, seeds in SEEDS.items() for seed in seeds]
)
def test_edits_do_no_harm(fuzzer: Fuzzer, target: str, seed: int) -> None:
    done = fuzzer.run(seed)
    assert done.target.name == target, "another edit than was chosen: choose a seed of this target"
    assert not done.faults, "\n".join(done.lines())
