"""Reading workspaces: each trap costs one sequence or prompt, in one line, and the others go on."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.votsr.textfiles import read_properties, write_sequence
from data_prep.votsr.workspace import read_workspace
from tests.votsr_miniature import PROMPTS, add_sequence, make_workspace, snapshot, write_frame


def test_a_sound_workspace(tmp_path):
    workspace = read_workspace(make_workspace(tmp_path))
    assert (workspace.problems, workspace.warnings, workspace.stack) == ((), (), "vots2026/referral")
    ball, kite = workspace.sequences
    assert (ball.name, kite.name, ball.expressions, ball.fps) == ("ball", "kite", PROMPTS, 10.0)
    assert [path.name for path in ball.frames.paths] == [f"{number:08d}.jpg" for number in (1, 2, 3, 4)]
    assert (ball.frames.size, ball.folder) == ((64, 48), tmp_path / "sequences" / "ball")
    assert next(iter(ball.frames)).shape == (48, 64, 3)


def drop_config(root):
    (root / "config.yaml").unlink()


def drop_list(root):
    (root / "sequences" / "list.txt").unlink()


def empty_list(root):
    (root / "sequences" / "list.txt").write_text("\n \n")


def break_config(root):
    (root / "config.yaml").write_text("stack: [\n")


def config_of_words(root):
    (root / "config.yaml").write_text("hello\n")


def move_sequences(root):
    (root / "config.yaml").write_text("stack: vots2026/referral\nsequences: elsewhere\n")


def sequences_as_a_list(root):
    (root / "config.yaml").write_text("stack: vots2026/referral\nsequences: [a, b]\n")


def binary_list(root):
    (root / "sequences" / "list.txt").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("trap", "told"),
    [
        (shutil.rmtree, "no such workspace; check its path"),
        (drop_config, "config.yaml: no such file; name the folder of a VOTSr workspace"),
        (break_config, "config.yaml: not YAML"),
        (config_of_words, "config.yaml: not a YAML mapping"),
        (sequences_as_a_list, "config.yaml: sequences: is a list; write the name of one folder"),
        (drop_list, "list.txt: no such file; write the name"),
        (empty_list, "list.txt: names no sequence; write"),
        (binary_list, "list.txt: not UTF-8 text"),
        (move_sequences, "elsewhere/list.txt: no such file"),
    ],
)
def test_no_workspace_is_one_line(tmp_path, trap, told):
    root = make_workspace(tmp_path / "w")
    trap(root)
    with pytest.raises(UserError) as caught:
        read_workspace(root)
    assert told in str(caught.value)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def no_sequence_file(folder):
    (folder / "sequence").unlink()


def no_folder(folder):
    shutil.rmtree(folder)


def no_prompts(folder):
    (folder / "sequence").write_text("fps=10\n")


def blank_prompts(folder):
    (folder / "sequence").write_text("prompts=; ;\n")


def gap(folder):
    (folder / "color" / "00000002.jpg").unlink()


def no_first(folder):
    (folder / "color" / "00000001.jpg").unlink()


def no_frames(folder):
    shutil.rmtree(folder / "color")


def other_size(folder):
    write_frame(folder / "color" / "00000003.jpg", (32, 24))


def no_image(folder):
    (folder / "color" / "00000003.jpg").write_text("no image")


def too_long(folder):
    write_sequence(folder, PROMPTS, 10.0, length="6")


def leaves(folder):
    write_sequence(folder, PROMPTS, 10.0, **{"channels.color": "../ball/color/%08d.jpg"})


def absolute(folder):
    write_sequence(folder, PROMPTS, 10.0, **{"channels.color": str(folder / "color" / "%08d.jpg")})


def no_number(folder):
    write_sequence(folder, PROMPTS, 10.0, **{"channels.color": "color/frame.jpg"})


def odd_extension(folder):
    write_sequence(folder, PROMPTS, 10.0, **{"channels.color": "color/%08d.bmp"})


def number_in_folder(folder):
    write_sequence(folder, PROMPTS, 10.0, **{"channels.color": "%08d/frame.jpg"})


def two_lengths(folder):
    write_sequence(folder, PROMPTS, 10.0, **{"channels.depth": "depth/%08d.jpg"})
    write_frame(folder / "depth" / "00000001.jpg")


def not_text(folder):
    (folder / "sequence").write_bytes(b"prompts=\xff\n")


UNREAD_PROMPTS = (no_sequence_file, no_folder, no_prompts, blank_prompts, not_text)


@pytest.mark.parametrize(
    ("trap", "told"),
    [
        (no_sequence_file, "kite/sequence: no such file; restore it, or take 'kite' off list.txt"),
        (no_folder, "kite/sequence: no such file"),
        (no_prompts, "kite/sequence: no prompts; add a line"),
        (blank_prompts, "kite/sequence: no prompts; add a line"),
        (not_text, "kite/sequence: not UTF-8 text (byte 8)"),
        (gap, "color/00000002.jpg: frame is missing and 2 later ones would be lost; restore it"),
        (no_first, "color/00000001.jpg: frame is missing and 3 later ones would be lost; restore it"),
        (no_frames, "color/%08d.jpg: no frames; unpack them there, numbered from 00000001.jpg"),
        (other_size, "00000003.jpg: frame is 32x24 but the sequence is 64x48; make all frames one size"),
        (no_image, "00000003.jpg: frame cannot be read"),
        (too_long, "00000005.jpg: frame is missing and length=6 asks for it"),
        (leaves, "channels.color=../ball/color/%08d.jpg leaves the sequence's folder"),
        (absolute, "leaves the sequence's folder"),
        (no_number, "is no pattern of frames; write it like color/%08d.jpg"),
        (odd_extension, "is no pattern of frames"),
        (number_in_folder, "is no pattern of frames"),
        (two_lengths, "channels differ in frames (color 4, depth 1)"),
    ],
)
def test_a_broken_sequence_is_one_line_and_the_other_goes_on(tmp_path, trap, told):
    root = make_workspace(tmp_path)
    trap(root / "sequences" / "kite")
    before = snapshot(root)
    workspace = read_workspace(root)
    assert [sequence.name for sequence in workspace.sequences] == ["ball"]
    assert {problem.sequence for problem in workspace.problems} == {"kite"}
    named = [problem.prompt for problem in workspace.problems]
    assert named in (list(PROMPTS), [None])  # each prompt where they could be read
    assert (named == [None]) == (trap in UNREAD_PROMPTS)
    (reason,) = {problem.reason for problem in workspace.problems}
    assert told in reason
    assert "\n" not in reason
    assert snapshot(root) == before


@pytest.mark.parametrize("name", ["n" * 242, "é" * 121])
def test_a_name_too_long_for_result_files_is_found_before_tracking(tmp_path, name):
    root = make_workspace(tmp_path)
    (root / "sequences" / "list.txt").write_text(f"{name}\nball\n")
    (root / "sequences" / "kite").rename(root / "sequences" / name)
    workspace = read_workspace(root)
    assert [sequence.name for sequence in workspace.sequences] == ["ball"]
    (problem,) = workspace.problems
    assert "rename the sequence to at most 241 bytes" in problem.reason
    (root / "sequences" / name).rename(root / "sequences" / name[:120])
    (root / "sequences" / "list.txt").write_text(f"{name[:120]}\n")
    assert not read_workspace(root).problems


@pytest.mark.parametrize("name", ["../outside", "/etc", "..", "a/b", "kite/", "50%", "bad\0name"])
def test_names_stay_in_their_folder(tmp_path, name):
    root = make_workspace(tmp_path / "w")
    add_sequence(root, "kite").rename(tmp_path / "outside")
    (root / "sequences" / "list.txt").write_text(f"{name}\nball\n")
    workspace = read_workspace(root)
    assert [sequence.name for sequence in workspace.sequences] == ["ball"]
    (problem,) = workspace.problems
    assert "list.txt" in problem.reason
    assert "name" in problem.reason


def test_windows_line_ends_blank_lines_marks_and_a_name_twice(tmp_path):
    root = make_workspace(tmp_path)
    (root / "sequences" / "list.txt").write_bytes(b"\xef\xbb\xbfball\r\n\r\nkite\r\nball\r\n")
    path = root / "sequences" / "ball" / "sequence"
    path.write_bytes(b"\xef\xbb\xbfprompts=the red cup; a cup ;x \r\nfps=7.5\r\n")
    workspace = read_workspace(root)
    ball, kite = workspace.sequences
    assert (ball.name, kite.name) == ("ball", "kite")
    assert (ball.expressions, ball.fps) == (("the red cup", " a cup ", "x"), 7.5)
    assert workspace.problems == ()
    (warning,) = workspace.warnings
    assert "'ball' is listed more than once; it is read once" in warning


@pytest.mark.parametrize(("text", "prompts"), [("a;b;", ("a", "b", "")), ("a;;b;", ("a", "", "b", ""))])
def test_an_empty_prompt_is_kept_with_a_warning(tmp_path, text, prompts):
    root = make_workspace(tmp_path, ["ball"])
    (root / "sequences" / "ball" / "sequence").write_text(f"prompts={text}\n")
    workspace = read_workspace(root)
    assert (workspace.sequences[0].expressions, workspace.problems) == (prompts, ())
    assert "holds an empty prompt (a stray ';')" in workspace.warnings[0]


def test_prompts_of_one_hash_are_problems_and_the_others_go_on(tmp_path, monkeypatch):
    root = make_workspace(tmp_path, ["ball"])
    (root / "sequences" / "ball" / "sequence").write_text("prompts=same;one;same;other;two\n")
    monkeypatch.setattr(
        "data_prep.votsr.workspace.prompt_hash", lambda prompt: {"one": "11", "two": "11"}.get(prompt, prompt)
    )
    workspace = read_workspace(root)
    assert workspace.sequences[0].expressions == ("other",)
    assert [problem.prompt for problem in workspace.problems] == ["same", "one", "two"]
    assert "'same' and 'same' share the hash" in workspace.problems[0].reason
    assert "'one' and 'two' share the hash 11" in workspace.problems[1].reason


def test_a_sequence_whose_prompts_all_clash_is_left_out(tmp_path):
    root = make_workspace(tmp_path)
    (root / "sequences" / "kite" / "sequence").write_text("prompts=same;same\n")
    workspace = read_workspace(root)
    assert [sequence.name for sequence in workspace.sequences] == ["ball"]
    assert [problem.prompt for problem in workspace.problems] == ["same"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("color/%05d.png", "color/{:05d}.png"),
        ("color/%d.jpg", "color/{:d}.jpg"),
        ("color/frame%04d.jpg", "color/frame{:04d}.jpg"),
        ("color\\%08d.jpg", "color/{:08d}.jpg"),
        ("pictures/here", "pictures/here/{:08d}.jpg"),
        ("pictures.v2/", "pictures.v2/{:08d}.jpg"),
        ("%08d.jpg", "{:08d}.jpg"),
        ("", "{:08d}.jpg"),
        (None, "color/{:08d}.jpg"),
    ],
)
def test_every_pattern_of_the_toolkit(tmp_path, pattern, name):
    """The same frames as the toolkit's own reader finds."""
    from vot.dataset.common import read_sequence

    root = make_workspace(tmp_path, ["ball"])
    folder = root / "sequences" / "ball"
    shutil.rmtree(folder / "color")
    for number in (1, 2, 3):
        write_frame(folder / name.format(number))
    channel = "" if pattern is None else f"channels.color={pattern}\n"
    (folder / "sequence").write_text(f"prompts=a\n{channel}")
    (folder / "groundtruth.txt").write_text("0\n0\n0\n")
    workspace = read_workspace(root)
    assert workspace.problems == ()
    theirs = read_sequence(str(folder))
    ours = workspace.sequences[0]
    assert len(theirs) == len(ours.frames) == 3
    found = [theirs.channel("color").filename(index) for index in range(3)]
    assert [path.resolve() for path in ours.frames.paths] == [type(folder)(path).resolve() for path in found]
    assert ours.fps == 30.0


def test_frames_outside_the_count_are_told(tmp_path):
    root = make_workspace(tmp_path)
    write_frame(root / "sequences" / "ball" / "color" / "00000000.jpg")
    write_sequence(root / "sequences" / "kite", PROMPTS, 10.0, length="3", width="10", height="10")
    workspace = read_workspace(root)
    assert [len(sequence.frames) for sequence in workspace.sequences] == [4, 3]
    before, after, size = workspace.warnings
    assert "00000000.jpg left out, as the toolkit does: frames are 1 to 4" in before
    assert "00000004.jpg left out, as the toolkit does: frames are 1 to 3" in after
    assert "width=10 height=10, but the frames are 64x48" in size


@pytest.mark.parametrize("rate", ["fast", "0", "-3", "nan", "inf"])
def test_a_frame_rate_that_is_none_is_told(tmp_path, rate):
    root = make_workspace(tmp_path, ["ball"])
    (root / "sequences" / "ball" / "sequence").write_text(f"prompts=a\nfps={rate}\n")
    workspace = read_workspace(root)
    assert workspace.sequences[0].fps == 30.0
    assert f"fps={rate} is not a frame rate" in workspace.warnings[0]


def test_no_stack_is_told(tmp_path):
    root = make_workspace(tmp_path)
    (root / "config.yaml").write_text("registry: [./trackers.ini]\n")
    workspace = read_workspace(root)
    assert workspace.stack == "vots2026/referral"
    assert "names no stack" in workspace.warnings[0]


def test_headers_are_left_alone_when_asked(tmp_path):
    root = make_workspace(tmp_path)
    other_size(root / "sequences" / "kite")
    assert read_workspace(root, check_frames=False).problems == ()


LINE = st.text(st.sampled_from("ab_.-= ;\t\r\v\x1c\u2028é#"), max_size=12)


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(LINE, max_size=6))
def test_properties_as_the_toolkit_reads_them(tmp_path_factory, lines):
    from vot.utilities import read_properties as theirs

    path = tmp_path_factory.mktemp("properties") / "sequence"
    path.write_bytes("\n".join(lines).encode())
    assert read_properties(path, "") == theirs(str(path))
