"""Command lines: what is refused and how, free text, sweeps, exit status, and a help that answers at once."""

import json
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_command
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from configs.app import FOLDER, register, run_command
from configs.command_line import QUOTED, quote_text
from configs.errors import UserError, did_you_mean

ROOT = FOLDER.parent
COMMANDS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "base")
HELP_SECONDS = 2.0  # of the processor, so that a busy machine does not fail the test
HEAVY = {
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "deepspeed",
    "sam2",
    "vot",
    "cv2",
}

YAML = """
defaults:
  - base
  - tiny_schema
  - model: nano
  - tracker: plain
  - experiment: null  # a named set of changes
  - optional local: default
  - _self_
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the YAML of the tiny command; the present folder is a fresh one beside it."""
    for group in ("model", "experiment"):
        (tmp_path / "yaml" / group).mkdir(parents=True)
    yaml = tmp_path / "yaml"
    shutil.copy(FOLDER / "base.yaml", yaml)
    (yaml / "tiny.yaml").write_text(YAML)
    (yaml / "model" / "nano.yaml").write_text("size: 3\n")
    (yaml / "model" / "huge.yaml").write_text("size: 8\n")
    (yaml / "experiment" / "wide.yaml").write_text("# @package _global_\nmodel:\n  size: 7\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return yaml


@pytest.fixture
def run(folder, capfd):
    """Run the tiny command in this process: what `main` was given, the status, and what was printed."""

    def run(*arguments):
        seen = []

        def main(settings):
            seen.append(settings)
            return tiny_command.main(settings)

        status = run_command("tiny", main, tiny_command.DOC, list(arguments), folder)
        printed = capfd.readouterr()
        return seen, status, printed.out, printed.err

    return run


@pytest.fixture
def refused(run):
    """The one line that a refused command line gets; `main` is not reached and no folder is made."""

    def refused(*arguments):
        seen, status, out, err = run(*arguments)
        assert (seen, status, out) == ([], 1, "")
        assert list(Path().iterdir()) == []
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return refused


def test_what_is_no_number_is_refused(refused):
    assert refused("betas=[0.5,nan]") == "error: betas=nan: must be a number\n"


def test_settings_are_real_objects(run):
    (settings,), status, _, _ = run("model=huge", "tracker=deep", "tracker.depth=5", "betas=[0.5,0.6]")
    assert status == 0
    assert settings.model == tiny_command.Model(size=8)
    assert settings.tracker == tiny_command.Deep(depth=5)
    assert settings.betas == (0.5, 0.6)
    assert settings.parts == [tiny_command.Part(), tiny_command.Part("hilly")]


def test_commands_of_one_process_do_not_mix(run, folder):
    register(
        "other",
        tiny_command.Tiny,
        {"model": {"nano": tiny_command.Deep()}, "tracker": {"odd": tiny_command.Deep()}},
    )
    (folder / "other.yaml").write_text(YAML.replace("tiny_schema", "other_schema").replace("plain", "odd"))
    assert run_command("other", tiny_command.main, "", ["model=huge"], folder) == 0
    (settings,), status, _, _ = run("model=nano")
    assert (status, settings.model.size, settings.tracker) == (0, 3, tiny_command.Plain())
    assert "tracker=odd: no such option" in run("tracker=odd")[3]


def test_an_entry_of_a_list_is_overridden(run):
    (settings,), _, _, _ = run("parts.0.preset=hilly")
    assert settings.parts[0].preset == "hilly"


def test_an_experiment_changes_what_it_names(run):
    (settings,), _, _, _ = run("experiment=wide")
    assert settings.model.size == 7


def test_a_local_file_is_read_where_there_is_one(run, folder):
    (folder / "local").mkdir()
    (folder / "local" / "default.yaml").write_text(
        "# @package _global_\nmodel:\n  checkpoint: /disk/weights\n"
    )
    (settings,), _, _, _ = run()
    assert settings.model.checkpoint == "/disk/weights"


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("tracker_idd=x", "tracker_id"),
        ("model.checkpont=x", "model.checkpoint"),
        ("+model.checkpont=x", "model.checkpoint"),
        ("++promt=x", "prompt"),
        ("checkpoint=x", "model.checkpoint"),
        ("szie=3", "model.size"),
        ("parts.0.prest=flat", "parts.0.preset"),
        ("trackr=deep", "tracker"),
        ("model=nanno", "nano"),
        ("tracker=depe", "deep"),
        ("fault=usr", "user"),
        ("parts.1.preset=hily", "hilly"),
        ("--hlep", "--help"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_right_one(refused, override, nearest):
    assert f"did you mean {nearest}?" in refused(override)
    assert f"did you mean {nearest}?" in refused("-m", "title=a,b", override)


KEYS = (
    "tracker_id",
    "tracker",
    "tracker.stay",
    "tracker.find_above",
    "model.box_threshold",
    "first_box",
    "model.dtype",
    "mask_head.dtype",
    "recipe.name",
)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("start", None),
        ("box", None),
        ("first", None),
        ("gpu", None),
        ("model.name", None),
        ("tracker.find", "tracker.find_above"),
        ("trackr.stay", "tracker.stay"),
        ("tracker.stya", "tracker.stay"),
        ("dtype", "model.dtype"),
        ("dtyp", "model.dtype"),
        ("trackerid", "tracker_id"),
    ],
)
def test_a_name_that_is_not_near_is_not_suggested(wrong, nearest):
    hint = f"; did you mean {nearest}?" if nearest else ""
    assert did_you_mean(wrong, KEYS) == hint
    assert did_you_mean(wrong, ["cpu", *KEYS]) == hint


def test_a_key_of_another_option_is_unknown(refused):
    assert "tracker.depth: no such key" in refused("tracker=plain", "tracker.depth=3")
    assert "tracker.depth" in refused("-m", "tracker=plain,deep", "tracker.depth=3")


@pytest.mark.parametrize(
    "override", ["status=many", "status=1.5", "status=null", "model.size=0", "model.size=10", "betas=[a,b]"]
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_key(refused, override):
    name, _, value = override.partition("=")
    assert name in refused(override)
    assert name in refused("-m", f"{name}=1,{value}")


@pytest.mark.parametrize(
    ("arguments", "culprit", "mend"),
    [
        (["betas=0.5"], "betas=0.5", "betas=[0.5]"),
        (["betas=0.5,0.6"], "betas=0.5,0.6", "betas=[0.5,0.6]"),
        (["-m", "betas=[0.5,0.6],0.7"], "betas=0.7", "betas=[0.7]"),
    ],
)
def test_a_list_without_brackets_is_told_how_lists_are_written(refused, arguments, culprit, mend):
    assert refused(*arguments) == f"error: {culprit}: is a list; write '{mend}'\n"


@pytest.mark.parametrize("override", ["betas=[0.5,0.6]", "betas= [0.5, 0.6]", "betas=${oc.create:[0.5,0.6]}"])
def test_a_list_in_brackets_or_from_elsewhere_is_taken(run, override):
    (settings,), status, _, _ = run(override)
    assert (status, settings.betas) == (0, (0.5, 0.6))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("prompt", "not of the form key=value"),
        ("status=1,2", "add -m"),
        ("status=[1", "cannot be read"),
        ("model=null", "no such option"),
        ("out=${tracker_idd}", "tracker_idd"),
        ("out=${", "out"),
        ("tracker=???", "tracker"),
        ("~model.size", "model.size"),
        ("hydra.verbos=1", "hydra.verbos"),
    ],
)
def test_a_mistake_is_one_line(refused, override, words):
    assert words in refused(override)


def test_a_needed_key_is_asked_for(refused, folder):
    (folder / "tiny.yaml").write_text(YAML.replace("  - tracker: plain\n", ""))
    assert "tracker: this key is required" in refused()


def test_a_fault_in_a_yaml_file_names_the_file(refused, folder):
    (folder / "model" / "nano.yaml").write_text("siez: 3\n")
    assert "model/nano" in refused()


def test_the_last_of_many_jobs_is_checked_before_the_first_runs(refused):
    assert "model.size=99" in refused("-m", "model.size=1,2,99")


def test_what_a_dataclass_refuses_is_refused_before_the_first_job_runs(refused):
    assert "model.size=4: needs a checkpoint" in refused("-m", "model.size=3,4")


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_hydras_grammar_reads_quoted_text_back(text):
    if not QUOTED.fullmatch(text):
        override = quote_text(f"title={text}", optional=False, multirun=False)
        assert OverridesParser.create().parse_override(override).value() == text


@pytest.mark.parametrize(
    "text",
    [
        "the man's hat, (left) a=b: [c] {d} #e $f",
        "C:\\new\\",
        "a \\' b \\\\",
        "'hello' and 'bye'",
        'say "yes"',
        " 1,2 ",
        "~+ -m\n",
        "",
    ],
)
def test_free_text_arrives_as_it_was_written(run, text):
    (given_settings,), _, _, _ = run(f"title={text}")
    assert given_settings.title == text


def test_quotes_of_hydra_are_left_alone(run):
    (settings,), _, _, _ = run("prompt='a cup'")
    assert settings.prompt == "a cup"


def test_null_is_no_text_only_where_the_key_may_be_null(run):
    (settings,), _, _, _ = run("prompt=null", "title=null")
    assert (settings.prompt, settings.title) == (None, "null")


def test_a_text_may_refer_to_another_key(run):
    (settings,), _, _, _ = run("title=of ${tracker_id}", "tracker_id=x")
    assert settings.title == "of x"


def test_a_multirun_sweeps_texts_and_quotes_what_is_no_list():
    sweep = quote_text("prompt=a,b", optional=True, multirun=True)
    assert sweep == "prompt=a,b"
    assert quote_text("prompt=it's", optional=True, multirun=True) == r"prompt='it\'s'"


def test_every_job_of_a_multirun_has_its_own_folder(run):
    seen, status, _, _ = run("-m", "model=nano,huge", "title=it's", "out=sweep")
    assert status == 0
    assert [(one.out, one.model.size, one.title) for one in seen] == [
        ("sweep/0", 3, "it's"),
        ("sweep/1", 8, "it's"),
    ]
    sizes = [OmegaConf.load(f"sweep/{job}/resolved.yaml").model.size for job in (0, 1)]
    assert sizes == [3, 8]


def test_the_folder_holds_the_configuration_and_the_versions(run):
    run("tracker_id=mine")
    folder = Path("results/mine")
    assert sorted(path.name for path in folder.iterdir()) == [
        "overrides.yaml",
        "resolved.yaml",
        "versions.json",
    ]
    assert OmegaConf.load(folder / "resolved.yaml").out == "results/mine"
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "transformers", "git_revision", "git_dirty"} <= versions.keys()


def test_a_folder_that_cannot_be_written_is_one_line(run):
    Path("file").write_text("x")
    seen, status, out, err = run("out=file/below")
    assert (seen, status, out) == ([], 1, "")
    assert err == "error: file/below: cannot be written (Not a directory); choose another out=\n"


def test_a_record_that_cannot_be_written_is_one_line(run):
    Path("there", "versions.json").mkdir(parents=True)
    seen, status, out, err = run("out=there")
    assert (seen, status, out) == ([], 1, "")
    assert (
        err == "error: out=there: cannot be written (Is a directory); free space or choose another folder\n"
    )


def test_only_the_first_process_of_a_distributed_run_writes_the_record(run, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run("out=there")
    assert list(Path("there").iterdir()) == []


def test_status_of_main_is_the_status_of_the_command(run):
    assert run("status=4")[1] == 4
    assert run("-m", "status=0,3,0")[1] == 3


def test_a_users_mistake_in_main_is_one_line(run):
    _, status, _, err = run("fault=user")
    assert (status, err) == (1, "error: clip.mp4: no such video\n")


def test_an_error_of_the_system_that_users_can_correct_is_one_line(run):
    _, status, _, err = run("fault=long_name")
    assert (status, err) == (1, f"error: {'n' * 300}: cannot be used (File name too long); correct that\n")


def test_a_bug_shows_its_traceback_and_other_jobs_go_on(run):
    seen, status, _, err = run("-m", "fault=bug,none")
    assert (len(seen), status) == (2, 1)
    assert "Traceback" in err
    assert err.rstrip().endswith("ZeroDivisionError: a bug")
    assert "HYDRA_FULL_ERROR" not in err


def test_an_interrupt_is_one_line(run):
    _, status, _, err = run("fault=interrupt")
    assert (status, err) == (130, "interrupted\n")


def test_help_tells_of_every_key_choice_and_bound(run):
    seen, status, out, _ = run("--help", "model=huge")
    assert (seen, status) == ([], 0)
    assert tiny_command.DOC in out
    for expected in (
        r"model=huge +huge, nano\. who answers",
        r"experiment=null +wide\. a named set of changes",
        r"model\.size=8 +int from 1 to 9\. how large",
        r"prompt=null +str or null\. what to follow",
        r"fault=none +str: none, user, bug, interrupt, long_name\. what goes wrong",
        r"parts\.1\.preset=hilly +str: flat, hilly\. which world",
        r"tracker\.every=1 +int\. how often",
    ):
        assert re.search(expected, out), expected
    assert max(map(len, out.splitlines())) <= 110
    assert list(Path().iterdir()) == []


def test_help_answers_where_a_key_is_needed(run, folder):
    (folder / "tiny.yaml").write_text(YAML.replace("  - tracker: plain\n", ""))
    assert "tracker=(required)" in run("--help")[2]


def test_help_refuses_a_misspelt_key(refused):
    assert "did you mean prompt?" in refused("--help", "promt=x")


def test_hydras_own_flags_go_on_working(run):
    seen, status, out, _ = run("--cfg", "job", "model=huge")
    assert (seen, status) == ([], 0)
    assert OmegaConf.create(out).model.size == 8


def test_the_process_ends_with_the_status(folder):
    """A whole process, since Hydra drops what a job returns and catches what it raises."""

    def status(*arguments):
        command = [sys.executable, tiny_command.__file__, str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, env={"PYTHONPATH": str(ROOT)}, check=False
        ).returncode

    assert [status("status=4"), status("fault=user"), status("fault=interrupt")] == [4, 1, 130]


def test_what_libraries_log_is_not_shown(folder):
    """A whole process: here pytest takes the log."""
    command = [sys.executable, tiny_command.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_is_fast_and_imports_nothing_heavy(command):
    program = (
        "import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module({command!r}, run_name='__main__')\n"
        "except SystemExit as end: status = end.code\n"
        f"print('heavy:', sorted({HEAVY!r} & sys.modules.keys())); sys.exit(status)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_SECONDS


def test_refused_settings_leave_the_record_of_their_folder(folder, capfd):
    @contextmanager
    def hold(settings):
        if settings.status == 4:
            raise UserError(f"{settings.out}: other settings")
        yield

    def run(*arguments):
        return run_command("tiny", tiny_command.main, tiny_command.DOC, [*arguments, "out=x"], folder, hold)

    assert run("status=0") == 0
    held = {path.name: path.read_text() for path in Path("x").iterdir()}
    assert run("status=4") == 1 and capfd.readouterr().err == "error: x: other settings\n"
    assert {path.name: path.read_text() for path in Path("x").iterdir()} == held


def test_a_misspelt_key_inside_a_list_is_named_with_its_list(refused):
    assert refused("parts=[{prest: hilly}]") == (
        "error: parts=[{prest: hilly}]: prest: no such key; did you mean preset?\n"
    )
