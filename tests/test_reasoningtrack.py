"""`task=import_reasoningtrack`: that system's records, made up and real."""

import json
from pathlib import Path
from typing import Any

import pytest

from configs.app import run_command
from configs.errors import UserError
from data_prep.__main__ import main
from data_prep.contract.descriptions import parts_of
from data_prep.exchange.chat import IMAGE
from data_prep.exchange.reasoningtrack import DATA_OF, Roots, read_records, record_of, write_records

GOOD = "<think>It stays.\n</think><d>no</d>  \n<answer>the dog</answer>"


def row(output: str = GOOD, folder: str = "sampled_data_fromLaSOT", **changes: Any) -> dict[str, Any]:
    images = [f"/your_root_path/{folder}/sample0001/img{which}.jpg" for which in (1, 2)]
    plain = {
        "instruction": "Follow it.",
        "input": "<image><image>the dog",
        "output": output,
        "images": images,
    }
    return {**plain, **changes}


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False))
    return path


@pytest.mark.parametrize(
    ("output", "parts"),
    [
        (GOOD, ("It stays.", False, "the dog")),
        ("<think>a</think>\n\n<d>yes</d><answer>b</answer>\n", ("a", True, "b")),
        (
            "<think>Then <d>yes</d> goes behind </think>, so <d>yes</d>.</think><d>no</d><answer>b</answer>",
            ("Then <d>yes</d> goes behind </think>, so <d>yes</d>.", False, "b"),
        ),
    ],
)
def test_the_decision_is_the_one_behind_the_thought(output: str, parts: tuple[str, bool, str]) -> None:
    assert parts_of(output) == parts


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"output": GOOD.removesuffix("</answer>")}, "0 </answer> behind <d>"),
        ({"output": GOOD + "</answer>"}, "2 </answer> behind <d>"),
        ({"output": GOOD + " so"}, "text outside <answer>"),
        ({"output": GOOD.replace("<d>no</d>", "")}, "no <d>yes</d> or <d>no</d>"),
        ({"output": GOOD.replace("<d>no</d>", "<d>maybe</d>")}, "no <d>yes</d> or <d>no</d>"),
        ({"output": GOOD.replace("</think>", "")}, "does not begin with a thought"),
        ({"output": GOOD.replace("<think>", "")}, "does not begin with a thought"),
        ({"output": GOOD.replace("the dog", " ")}, "its answer is empty"),
        ({"output": 3}, "no text 'output'"),
        ({"input": "<image>the dog"}, "2 images and 1 <image>"),
        ({"input": "<image>the dog<image>"}, "2 images and 2 <image>"),
        ({"output": GOOD.replace("It", IMAGE)}, "2 images and 3 <image>"),
        ({"input": "<image><image> "}, "its description is empty"),
        ({"images": ["a.jpg"]}, "has 1 images"),
        ({"images": "a.jpg"}, "not a list of paths"),
    ],
)
def test_a_record_that_does_not_parse_says_why(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        record_of(0, row(**changes))


def test_a_row_that_is_none_says_so() -> None:
    with pytest.raises(UserError, match="has no text 'instruction'"):
        record_of(0, ["instruction"])


def test_roots_are_put_in_by_data_set(tmp_path: Path) -> None:
    rows = [row(folder=folder) for folder in (*DATA_OF, "own")]
    here = row(images=["/here/own/sample0001/img1.jpg", "/here/own/sample0001/img2.jpg"])
    imported = read_records(write(tmp_path / "r.json", [*rows, here]), Roots({"lasot": "/L", "own": "/O/p/"}))
    first = [record.images[0] for record in imported.records]
    stands_in = "/your_root_path/{}/sample0001/img1.jpg"
    for folder, image in zip(DATA_OF, first, strict=False):
        mapped = "/L/sampled_data_fromLaSOT/sample0001/img1.jpg"
        assert image == (mapped if folder == "sampled_data_fromLaSOT" else stands_in.format(folder))
    assert first[-2:] == ["/O/p/own/sample0001/img1.jpg", "/here/own/sample0001/img1.jpg"]


def test_a_path_never_leaves_its_root(tmp_path: Path) -> None:
    rows = [row(), row(folder="sampled_data_fromLaSOT/../../etc")]
    imported = read_records(write(tmp_path / "r.json", rows), Roots({"lasot": "/L"}))
    ((number, reason),) = imported.left_out
    assert number == 1 and "leaves its folder" in reason and len(imported.records) == 1


def test_pictures_that_are_not_there_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "OTB_RLsamples" / "sample0001"
    folder.mkdir(parents=True)
    (folder / "img1.jpg").write_bytes(b"")
    source = write(tmp_path / "r.json", [row(folder="OTB_RLsamples")])
    imported = read_records(source, Roots({"otb99": str(tmp_path)}))
    assert imported.missing == (str(folder / "img2.jpg"),)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_are_written_with_their_texts_unchanged(tmp_path: Path) -> None:
    rows = [row(input="<image><image> the dög  ", instruction="Follow\nit.")]
    imported = read_records(write(tmp_path / "r.json", rows), Roots({"lasot": "/L"}))
    images = [image.replace("/your_root_path", "/L") for image in rows[0]["images"]]
    write_records(tmp_path / "a", imported.records, "llamafactory_alpaca")
    assert lines_of(tmp_path / "a" / "reasoningtrack.jsonl") == [{**rows[0], "images": images}]
    info = json.loads((tmp_path / "a" / "dataset_info.json").read_text())
    assert info["reasoningtrack"]["file_name"] == "reasoningtrack.jsonl"
    write_records(tmp_path / "s", imported.records, "swift")
    (swift,) = lines_of(tmp_path / "s" / "reasoningtrack.jsonl")
    texts = [message["content"] for message in swift["messages"]]
    assert texts == ["Follow\nit.\n<image><image> the dög  ", GOOD] and "objects" not in swift
    assert lines_of(tmp_path / "a" / "records.jsonl") == [
        {
            "number": 0,
            "data": "lasot",
            "sample": "sample0001",
            "images": images,
            "instruction": "Follow\nit.",
            "description": " the dög  ",
            "thought": "It stays.",
            "changes": False,
            "answer": "the dog",
        }
    ]


def run(*arguments: str) -> int:
    return run_command("data_prep", main, "", ("task=import_reasoningtrack", *arguments))


def test_the_command_counts_and_names_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "r.json", [row(), row("no tags"), row()])
    assert run("source=r.json", "out=o", "root_map={lasot:/L}", "format=llamafactory_sharegpt") == 0
    told = capsys.readouterr().out
    assert "left out: record 1: does not begin with a thought" in told
    assert "missing: 4 images, the first /L/sampled_data_fromLaSOT/sample0001/img1.jpg" in told
    assert "o/reasoningtrack.jsonl, o/dataset_info.json (2, 1 left out)" in told
    assert [line["number"] for line in lines_of(tmp_path / "o" / "records.jsonl")] == [0, 2]
    assert run("source=r.json", "out=o", "root_map.lasot=/a b/c,d") == 0
    assert "the first /a b/c,d/sampled_data_fromLaSOT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a file of records"),
        (("source=none.json",), "none.json: no such file"),
        (("source=text.json",), "text.json: not JSON"),
        (("source=dict.json",), "dict.json: not a list of records"),
        (("source=bad.json",), "bad.json: none of 2 records parses; record 0 does not begin with a thought"),
        (("source=good.json", "root_map={lasto:/L}"), "no data set is named lasto; did you mean lasot?"),
        (("source=good.json", "format=vptracker"), "ReasoningTrack's records hold no boxes"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.json").write_text("<think>")
    for name, rows in {"dict": {}, "bad": [row("x"), row("y")], "good": [row()]}.items():
        write(tmp_path / f"{name}.json", rows)
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


REAL = {"got-10k": "got10k", "lasot": "lasot", "otb": "otb99", "tnl2k": "tnl2k", "tnllt": "tnllt"}


@pytest.mark.parametrize(("file", "data"), REAL.items())
def test_the_published_records_load(shared_data: Path, file: str, data: str) -> None:
    """All but one of the 150, which lacks its `</answer>`; two have other decisions in their thoughts."""
    source = shared_data / "reasoningtrack" / f"sft_{file}_30.json"
    imported = read_records(source, Roots({data: "/data/samples"}))
    broken = ((28, "has 0 </answer> behind <d>, not one"),) if data == "tnllt" else ()
    assert imported.left_out == broken and len(imported.records) == 30 - len(broken)
    for record in imported.records:
        assert all(image.startswith("/data/samples/") for image in record.images)
        same = " ".join(record.answer.split()) == " ".join(record.description.split())
        assert record.changes != same
