"""Packing: the toolkit's archive, looked into; the user's sequences never written to."""

import fcntl
import os
import shutil
import zipfile

import pytest
import yaml

from configs.errors import UserError
from data_prep.votsr.pack import _earlier_archive, _files, pack
from data_prep.votsr.results import result_path, write_result
from data_prep.votsr.shadow import _locked_folder
from data_prep.votsr.workspace import read_workspace
from infer.config import InferSettings
from infer.runs.checks import check_settings
from tests.votsr_miniature import PROMPTS, TRACKER, add_results, add_truth, disc, make_workspace, snapshot

pytestmark = pytest.mark.usefixtures("forked_toolkit")

MASKS = [disc(20, 20, 6), None, disc(0, 10, 0.5), disc(32, 24, 100)]


@pytest.fixture
def root(tmp_path):
    """A workspace with a result for every prompt."""
    root = make_workspace(tmp_path / "w")
    add_results(root, "ball", MASKS)
    add_results(root, "kite", MASKS[::-1])
    return root


@pytest.mark.toolkit_process
def test_an_awkward_workspace_packs(root, monkeypatch, tmp_path):
    """Windows line ends, a name twice, blank lines, a byte order mark, an empty prompt, odd neighbours."""
    sequences = root / "sequences"
    (sequences / "list.txt").write_bytes(b"\xef\xbb\xbfball\r\n\r\nkite\r\nball\r\n")
    (sequences / "ball" / "sequence").write_bytes(b"\xef\xbb\xbfprompts=the red cup;a cup on the left;;\r\n")
    write_result(result_path(root, TRACKER, "ball", ""), ["0"] * 4, 4)
    add_truth(sequences / "kite", MASKS, [True] * 4, ignore=True)
    (root / "trackers.ini").write_text(
        "[Broken]\nlabel = no command\n[Mine]\nversion = 7\nlabel = 50 %% sure\n"
    )
    (root / "results" / TRACKER / "fingerprint.json").write_text("{}")
    (result_path(root, TRACKER, "ball", "the red cup").with_suffix(".bin")).write_bytes(b"old")
    (tmp_path / "trackers.ini").write_text("[Mine]\ncommand = another\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOT_REGISTRY", str(tmp_path))
    monkeypatch.setenv("VOT_RESULTS_BINARY", "nonsense")
    before = snapshot(root)
    archive = pack(root, TRACKER)
    after = snapshot(root)
    assert after.pop(archive.name)
    assert after == before
    assert archive.parent == root
    assert archive.name.startswith("Mine_20")
    with zipfile.ZipFile(archive) as packed:
        wanted = [("ball", prompt) for prompt in (*PROMPTS, "")] + [("kite", prompt) for prompt in PROMPTS]
        paths = [result_path(root, TRACKER, name, prompt) for name, prompt in wanted]
        names = {f"baseline/{path.parent.name}/{path.name}": path.read_bytes() for path in paths}
        assert sorted(packed.namelist()) == sorted([*names, "manifest.yml"])
        assert {name: packed.read(name) for name in names} == names
        manifest = yaml.safe_load(packed.read("manifest.yml"))
    assert (manifest["identifier"], manifest["stack"]) == ("Mine", "vots2026/referral")
    assert manifest["configuration"]["label"] == "50 % sure"


def refuse(root, told):
    before = snapshot(root)
    with pytest.raises(UserError) as caught:
        pack(root, TRACKER)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(root) == before


def test_a_missing_result_is_named(root):
    missing = result_path(root, TRACKER, "kite", PROMPTS[1])
    missing.unlink()
    refuse(root, f"1 of 4 results missing: {missing}; track these prompts first")


def test_a_stranger_has_no_results(root):
    with pytest.raises(UserError, match=r"4 of 4 results missing: .*Other.*; track"):
        pack(root, "Other")
    with pytest.raises(UserError, match="is not a name that the toolkit accepts"):
        pack(root, "../Mine")


@pytest.mark.parametrize(
    ("text", "told"),
    [("0\n0\n0\n", "3 lines for 4 frames"), ("0\n0\n0\nm0,0,2,2,9\n", ":4: runs of 9 pixels do not fit")],
)
def test_a_broken_result_is_named(root, text, told):
    path = result_path(root, TRACKER, "kite", PROMPTS[0])
    path.write_text(text)
    refuse(root, f"{path}")
    refuse(root, told)


def test_a_broken_sequence_is_named(root):
    (root / "sequences" / "ball" / "color" / "00000002.jpg").unlink()
    refuse(root, "not packed: ")
    refuse(root, "ball/color/00000002.jpg: frame is missing")


RUNS_CODE = 'title: x\nexperiments: !!python/object/apply:os.system ["touch MARK"]\n'


@pytest.mark.parametrize(
    "stack",
    [
        "vots2026/votsr",  # none of the toolkit's
        "vots2026/main",  # of other results
        "tests/basic",
        "",
        "./stack.yaml",
        "stack.yaml",
        "stack",
        "../w/stack.yaml",
        "ABSOLUTE",
        "TEXT",  # once the text of a stack was told from a name by its line ends
        "vots2026/../vots2026/referral",
        "vots2026/referral\n",
        "\x1b[31mred",
        "vots2026/" + "n" * 999,
    ],
)
def test_no_stack_but_the_toolkits_own_reaches_it(root, stack, tmp_path):
    """The toolkit's YAML loader runs what a stack file names."""
    mark = tmp_path / "mark"
    text = RUNS_CODE.replace("MARK", str(mark))
    for name in ("stack.yaml", "stack"):
        (root / name).write_text(text)
    stack = {"ABSOLUTE": str(root / "stack.yaml"), "TEXT": text}.get(stack, stack)
    config = {"registry": ["./trackers.ini"], "sequences": "sequences", "stack": stack}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    refuse(root, "is not one of the toolkit's stacks for referral results")
    with pytest.raises(UserError, match=r"config\.yaml: stack=.* write stack: vots2026/referral, or"):
        check_settings(InferSettings(workspace=str(root)))
    check_settings(InferSettings(workspace=str(root), pack=False))
    assert not mark.exists()


@pytest.mark.toolkit_process
def test_a_trackers_section_hands_nothing_of_the_environment_on(root, monkeypatch):
    """The toolkit expands variables in `env_*` and writes them into the archive; `metadata` ends it."""
    monkeypatch.setenv("A_SECRET", "hunter2")
    lines = "env_x = $A_SECRET\nmetadata = {}\n_source = /etc/passwd\nargument_x = 1\nstorage = /tmp\n"
    (root / "trackers.ini").write_text(f"[{TRACKER}]\nlabel = mine\n{lines}")
    with zipfile.ZipFile(pack(root, TRACKER)) as packed:
        text = packed.read("manifest.yml").decode()
    assert "hunter2" not in text and yaml.safe_load(text)["configuration"]["label"] == "mine"


def test_results_that_are_packed_already_are_not_packed_again(root):
    first = pack(root, TRACKER)
    add_results(root, "ball", MASKS[::-1])
    second = pack(root, TRACKER)
    assert second != first
    before = snapshot(root)
    assert pack(root, TRACKER) == second and snapshot(root) == before
    second.write_bytes(second.read_bytes()[:-9])  # broken since
    assert pack(root, TRACKER) not in (first, second)


def test_the_archive_of_another_tracker_with_equal_results_is_not_taken(root):
    shutil.copytree(root / "results" / TRACKER, root / "results" / f"{TRACKER}_b")
    other = pack(root, f"{TRACKER}_b")
    os.utime(other, ns=(2**62, 2**62))  # newer than everything
    assert _earlier_archive(root, TRACKER, _result_files(root)) is None
    assert _earlier_archive(root, f"{TRACKER}_b", _result_files(root)) == other


def _result_files(root):
    return _files(read_workspace(root), TRACKER)


def test_a_tracker_that_is_described_anew_is_packed_again(root):
    first = pack(root, TRACKER)
    (root / "trackers.ini").write_text(f"[{TRACKER}]\nlabel = new\nprotocol = trax\ncommand = x\n")
    assert pack(root, TRACKER) != first


def test_the_shadows_of_killed_processes_are_removed_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ("refertrack-dead", "refertrack-new", "refertrack-alive", "refertrack-empty", "other")
    for name in names:
        (tmp_path / name).mkdir()
        if name != "refertrack-empty":
            (tmp_path / name / "trackers.ini").touch()
        if name != "refertrack-new":
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / "refertrack-link").symlink_to(tmp_path / "other")
    handle = os.open(tmp_path / "refertrack-alive", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with _locked_folder() as folder:
        (folder / "trackers.ini").touch()
        os.utime(folder, (0, 0))
        with _locked_folder():
            assert folder.is_dir()
    os.close(handle)
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:], "refertrack-link"}


def test_no_room_for_the_shadow(root, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(root / "nowhere"))
    refuse(root, "set TMPDIR to another folder")


def test_no_room_for_the_archive(root, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("data_prep.files.shutil.copyfile", full)
    refuse(root, "cannot be written (No space left on device)")


@pytest.mark.toolkit_process
def test_the_real_workspace_packs(shared_data, tmp_path):
    """One real video of 50 frames with three prompts and no truth."""
    root = tmp_path / "real"
    (root / "sequences").mkdir(parents=True)
    source = shared_data / "votsr_real"
    (root / "config.yaml").write_bytes((source / "config.yaml").read_bytes())
    (root / "sequences" / "list.txt").write_bytes((source / "sequences" / "list.txt").read_bytes())
    (root / "sequences" / "bedroom").symlink_to(source / "sequences" / "bedroom")
    (sequence,) = read_workspace(root).sequences
    assert (sequence.frames.size, len(sequence.frames), sequence.fps) == ((960, 540), 50, 7.5)
    assert len(sequence.expressions) == 3
    add_results(root, sequence.name, [disc(9, 9, 5)] * 50, sequence.expressions)
    with zipfile.ZipFile(pack(root, TRACKER)) as packed:
        assert sorted(packed.namelist()) == [
            "baseline/bedroom/bedroom_2c2beef5.txt",
            "baseline/bedroom/bedroom_4e4baa4f.txt",
            "baseline/bedroom/bedroom_72e9689f.txt",
            "manifest.yml",
        ]
