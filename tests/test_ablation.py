"""The table of a sweep: what runs were told apart by, who finished, and what seeds do."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.errors import UserError
from evaluation.report.ablation import ablation_figure, run_ablation
from evaluation.report.ablation_runs import read_runs
from evaluation.report.ablation_settings import read_settings
from evaluation.report.ablation_table import ablation_of, format_setting


def make_run(
    folder: Path, settings: dict[str, Any], files: dict[str, Any], overrides: list[str] | None = None
) -> None:
    """A run as this project's commands leave it."""
    folder.mkdir(parents=True)
    (folder / "resolved.yaml").write_text(yaml.safe_dump({**settings, "out": str(folder)}))
    if overrides is not None:
        (folder / "overrides.yaml").write_text(yaml.safe_dump([*overrides, f"out='{folder}'"]))
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def scores(value: float, name: str = "mine") -> dict[str, Any]:
    return {"scores.json": {name: {"success": value, "precision": value / 2}}}


def table(folder: Path, name: str = "ablation") -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def panels(runs: Path) -> list[Any]:
    return list(ablation_figure(ablation_of(read_runs(runs, runs / "none")[0])).axes)


def test_hydras_own_folders_are_read(tmp_path: Path):
    """As Hydra 1.3 writes them: `.hydra/config.yaml` and `.hydra/overrides.yaml` in folders of numbers."""
    for job, rate in enumerate((0.1, 0.01, 0.001)):
        folder = tmp_path / str(job) / ".hydra"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"model:\n  lr: {rate}\n  name: ${{oc.env:NOWHERE}}\nseed: 0\n")
        (folder / "overrides.yaml").write_text(f"- model.lr={rate}\n- +extra='a,b'\n")
        lines = [json.dumps({"step": step, "loss": step * rate}) + "\n" for step in (2, 1)]
        (folder.parent / "metrics.jsonl").write_text("".join(lines))
    run_ablation(tmp_path, tmp_path / "out")
    found = table(tmp_path / "out")
    assert [(row["run"], row["model.lr"], row["loss"]) for row in found] == [
        ("0", "0.1", "0.1"), ("1", "0.01", "0.01"), ("2", "0.001", "0.001"),
    ]  # fmt: skip
    assert set(found[0]) == {"runs", "run", "model.lr", "loss"}


def test_folders_named_by_overrides_may_lie_deeper(tmp_path: Path):
    for model in ("a/b", "c"):
        make_run(tmp_path / f"model={model}", {"model": model}, scores(1.0))
    found, strange = read_runs(tmp_path, tmp_path / "out")
    assert [run.name for run in found] == ["model=a/b", "model=c"] and strange == []


def test_a_chosen_group_is_one_key(tmp_path: Path):
    for model, width in (("nano", 8), ("huge", 64)):
        settings = {"model": {"name": model, "width": width, "depth": width // 4}, "seed": 1}
        make_run(tmp_path / model, settings, scores(width), [f"model={model}", "seed=1"])
    run_ablation(tmp_path, tmp_path / "out")
    assert [(row["run"], row["model"]) for row in table(tmp_path / "out")] == [
        ("huge", "huge"),
        ("nano", "nano"),
    ]
    assert set(table(tmp_path / "out")[0]) == {"runs", "run", "model", "success", "precision"}


def test_without_overrides_the_settings_that_differ_are_the_keys(tmp_path: Path):
    stages = [{"steps": 4, "presets": ["a", "b"]}]
    make_run(
        tmp_path / "0", {"recipe": {"stages": stages, "log": f"{tmp_path}/0/x"}, "fast": True}, scores(1)
    )
    stages = [{"steps": 5, "presets": ["a", "b"]}]
    make_run(tmp_path / "1", {"recipe": {"stages": stages, "log": f"{tmp_path}/1/x"}}, scores(2))
    run_ablation(tmp_path, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [(row["recipe.stages.0.steps"], row["fast"]) for row in rows] == [("4", "true"), ("5", "–")]
    assert len(rows[0]) == 1 + 1 + 2 + 2  # how many finished, the run, two keys, two figures


def test_unfinished_runs_are_named_with_their_settings_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = {"recipe": {"stages": [{"steps": 10}, {"steps": 20}]}}
    make_run(tmp_path / "9", {"lr": 1}, scores(1))
    make_run(tmp_path / "10", {"lr": 2}, {})
    make_run(tmp_path / "11", {"lr": 3}, {"summary.json": {"tracks": 8, "failed": [{}, {}]}})
    make_run(tmp_path / "12", {"lr": 4, **recipe}, {"metrics.jsonl": '{"step": 12, "loss": 1}\n'})
    make_run(tmp_path / "13", {"lr": 5, **recipe}, {"metrics.jsonl": '{"step": 30, "loss": 1}\n{"st'})
    make_run(tmp_path / "14", {"lr": 6, **recipe}, {"metrics.jsonl": '{"step": 30, "loss": 1}\n'})
    (tmp_path / "plots").mkdir()
    run_ablation(tmp_path, tmp_path / "out")
    assert [row["run"] for row in table(tmp_path / "out")] == ["9", "14"]
    said = capsys.readouterr().out
    for words in (
        "unfinished: 10 (lr=2", "no scores.json", "unfinished: 11", "2 of 8 tracks failed",
        "stopped at step 12 of 30", "ends amid a line", "plots: holds no run", "2 of 6 finished",
    ):  # fmt: skip
        assert words in said
    assert said.index("unfinished: 10 ") < said.index("unfinished: 11 ")


def test_the_folder_of_the_table_is_no_run_of_the_sweep(tmp_path: Path):
    make_run(tmp_path / "0", {"lr": 1}, scores(1))
    make_run(tmp_path / "ablation", {"task": "ablation"}, {})
    run_ablation(tmp_path, tmp_path / "ablation")
    assert table(tmp_path / "ablation")[0]["runs"] == "1 of 1 finished"


def test_the_training_data_that_runs_share_is_no_run(tmp_path: Path):
    make_run(tmp_path / "0", {"lr": 1}, scores(1))
    (tmp_path / "worlds" / "other_look-train-8" / "sequences").mkdir(parents=True)
    found, strange = read_runs(tmp_path, tmp_path / "out")
    assert [run.name for run in found] == ["0"] and strange == []


def test_means_and_deviations_over_seeds(tmp_path: Path):
    values = {(5, 0): 10.0, (5, 1): 14.0, (7, 0): 30.0}
    for job, ((every, seed), value) in enumerate(values.items()):
        make_run(tmp_path / str(job), {"every": every, "recipe": {"seed": seed}}, scores(value))
    run_ablation(tmp_path, tmp_path / "out")
    first, second = table(tmp_path / "out", "ablation_seeds")
    assert (first["every"], first["success"], first["runs"]) == ("5", "12.0", "2.0")
    assert float(first["success_std"]) == pytest.approx(8**0.5)
    assert (second["success"], second["success_std"]) == ("30.0", "")


def test_a_number_is_drawn_as_a_line_a_tracker_and_words_as_bars(tmp_path: Path):
    for every in (1, 10, 100):
        both = {"scores.json": {"a": {"success": every}, "b": {"success": 2 * every}}}
        make_run(tmp_path / "numbers" / str(every), {"every": every}, both)
        make_run(tmp_path / "words" / str(every), {"how": f"x{every}"}, scores(every))
    (axes,) = panels(tmp_path / "numbers")
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"] == [[1, 10, 100]] * 2
    assert axes.get_xscale() == "log"
    first, _ = panels(tmp_path / "words")
    assert [bar.get_width() for bar in first.patches] == [1.0, 10.0, 100.0]
    assert [text.get_text() for text in first.get_yticklabels()] == ["how=x1", "how=x10", "how=x100"]


def test_figures_of_a_summary_and_of_metrics(tmp_path: Path):
    summary = {"tracks": 3, "failed": [], "referral_accuracy": 0.5, "absent_recall": None, "seconds": 3}
    make_run(tmp_path / "0", {"lr": 1}, {"summary.json": summary})
    rows = (
        '{"step": 1, "loss": 5, "lr": 1e-3}\n{"step": 2, "loss": 4, "lr": 1e-4}\n{"step": 2, "iou": 0.75}\n'
    )
    make_run(tmp_path / "1", {"lr": 2}, {"metrics.jsonl": rows})
    one, two = read_runs(tmp_path, tmp_path / "out")[0]
    assert one.metrics == {"": {"referral_accuracy": 0.5}}
    assert list(two.metrics[""].items()) == [("iou", 0.75), ("loss", 4.0), ("lr", 1e-4)]


def test_broken_files_are_named_with_their_line(tmp_path: Path):
    def refused(name: str, files: dict[str, Any], match: str) -> None:
        make_run(tmp_path / name / "0", {"lr": 1}, files)
        with pytest.raises(UserError, match=match):
            run_ablation(tmp_path / name, tmp_path / "out")

    refused("a", {"scores.json": "{"}, r"a/0/scores\.json: no JSON")
    refused("deep", {"scores.json": "[" * 100_000}, r"deep/0/scores\.json: no JSON \(nested too deep\)")
    refused("failed", {"summary.json": '{"failed": 3}'}, r"summary\.json: failed must be a list")
    refused("b", {"scores.json": {"mine": 3}}, r"b/0/scores\.json: must hold metrics by tracker")
    refused("c", {"metrics.jsonl": '{"a": 1}\nx\n'}, r"metrics\.jsonl, line 2: no JSON")
    refused("d", {"resolved.yaml": "a: [1"}, r"d/0/resolved\.yaml: cannot be read")
    refused("e", {"overrides.yaml": "[a, 'b=(']"}, r"e/0/overrides\.yaml: .* is not an override")
    refused("f", {"scores.json": {}}, "have no metrics")
    refused("g", {}, "none of 1 runs finished; unfinished: 0")


def test_a_folder_without_runs_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        run_ablation(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="holds no run"):
        run_ablation(tmp_path, tmp_path / "out")


def test_the_name_of_a_run_that_is_not_utf8_is_refused(tmp_path: Path):
    make_run(tmp_path / os.fsdecode(b"b\xe9"), {"seed": 1}, scores(1))
    with pytest.raises(UserError, match=r"b\\xe9: the name is not UTF-8; rename it"):
        run_ablation(tmp_path, tmp_path / "out")


def test_settings_are_told_as_a_command_line_has_them(tmp_path: Path):
    make_run(tmp_path / "0", {"a": {"b": [1, 2]}, "c": None, "d": 1e-5, "e": ""}, {}, ["~gone", "g@h=nano"])
    settings = read_settings(tmp_path / "0")
    told = {key: format_setting(settings.value(key)) for key in ("a.b", "c", "d", "e", "g@h", "missing")}
    assert told == {"a.b": "[1, 2]", "c": "null", "d": "1e-05", "e": "''", "g@h": "–", "missing": "–"}
    assert settings.overrides["gone"] == ""


@pytest.mark.parametrize("column", ["eval_set", "judged"])  # today's, and that of earlier versions
def test_evaluation_sets_keep_their_names_and_the_first_leads(tmp_path: Path, column: str):
    def lines(*titles: str) -> str:
        rows: list[dict[str, Any]] = [{"step": 4, "loss": 0.5}]
        rows += [{"step": 4, column: title, "iou": 0.1 * n} for n, title in enumerate(titles, 1)]
        return "".join(json.dumps(row) + "\n" for row in rows)

    recipe = {"recipe": {"pairs": 70, "batch": 16}}
    make_run(tmp_path / "two" / "0", recipe, {"metrics.jsonl": lines("new test", "old test")})
    make_run(tmp_path / "one" / "0", recipe, {"metrics.jsonl": lines("new test")})
    (two,), (one,) = (read_runs(tmp_path / name, tmp_path / "out")[0] for name in ("two", "one"))
    assert list(two.metrics[""].items()) == [("iou new test", 0.1), ("iou old test", 0.2), ("loss", 0.5)]
    assert list(one.metrics[""].items()) == [("iou", 0.1), ("loss", 0.5)]
    make_run(tmp_path / "cut" / "0", {"recipe": {"pairs": 160, "batch": 16}}, {"metrics.jsonl": lines("a")})
    (cut,) = read_runs(tmp_path / "cut", tmp_path / "out")[0]
    assert cut.unfinished == "stopped at step 4 of 10"


def test_runs_of_earlier_versions_are_compared_by_the_present_names(tmp_path: Path):
    for name, key, every in (("old", "judge", 5), ("new", "evaluate", 10)):
        recipe = {"recipe": {f"{key}_every": every, key: [{"split": "test"}]}}
        files = {
            "metrics.jsonl": json.dumps({"step": 1, "waited" if name == "old" else "data_wait": 0.1}) + "\n"
        }
        make_run(tmp_path / name, recipe, files, [f"recipe.{key}_every={every}"])
    run_ablation(tmp_path, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [(row["recipe.evaluate_every"], row["data_wait"]) for row in rows] == [("10", "0.1"), ("5", "0.1")]
