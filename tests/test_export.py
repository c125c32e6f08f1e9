"""`task=export`: pairs as the records of ms-swift, LLaMA-Factory and VPTracker."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from qwen_vl_utils import smart_resize

from configs.app import run_command
from configs.errors import UserError
from data_prep.__main__ import main
from data_prep.config import COORDINATES
from data_prep.contract.chat import answer_of, answer_text
from data_prep.contract.contract import BUILT_IN, read_contract
from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.contract.images import budgeted
from data_prep.contract.wordings import COORDINATES as MEANINGS
from data_prep.contract.wordings import VPTRACKER_TOKENS
from data_prep.exchange import export as export_module
from data_prep.exchange import export_formats
from data_prep.exchange.chat import IMAGE, question_text
from data_prep.exchange.export import ABOUT, RECORDS, export
from data_prep.exchange.exporter import ExportPlan, counted, plain_expression, safe
from data_prep.exchange.llamafactory import INFO
from data_prep.geometry import Box, Size, iou, rescale, xywh_to_xyxy
from data_prep.index.build import build_index, index_path
from data_prep.index.store import Index
from data_prep.readers.tnllt import TNLLT
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import Pair
from data_prep.sampling.settings import PairSettings
from data_prep.video.images import ORIENTATION_TAG, read_image
from tests.test_published_contracts import VPTRACKER_MARKED, VPTRACKER_QUESTION

JSON = ANSWER_FORMATS["json"]
SIZES: dict[str, Size] = {"wide": (192, 108), "tall": (70, 160)}
CONTRACT = safe(BUILT_IN["short"])
WHITE = 200
NUMBERS = range(3, 43)


def write_video(root: Path, name: str, size: Size, words: str = "") -> None:
    """A video of six frames in which a white box moves over dark green; it is absent from the fourth."""
    (root / name / "imgs").mkdir(parents=True)
    boxes, flags = [], []
    for frame in range(6):
        picture = np.full((size[1], size[0], 3), (20, 60, 20), np.uint8)
        x, y, width, height = 8 + 4 * frame, 10 + 5 * frame, size[0] // 4, size[1] // 5
        if frame != 3:
            picture[y : y + height, x : x + width] = 255
        boxes.append(f"{x},{y},{width},{height}")
        flags.append(str(int(frame != 3)))
        Image.fromarray(picture).save(root / name / "imgs" / f"{frame + 1:05d}.png")
    (root / name / "groundtruth.txt").write_text("\n".join(boxes))
    (root / name / "absent_label.txt").write_text("\n".join(flags))
    (root / name / "language.txt").write_text(words or f"the {name} box")


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for name, size in SIZES.items():
        write_video(folder / "data", name, size)
    build_index(TNLLT, folder / "data", "all", folder, workers=1)
    return folder


def plan_of(indexes: Path, out: Path, form: str, coordinates: str = "resized", **changes: Any) -> ExportPlan:
    pairs = PairPlan((index_path(indexes, "tnllt", "all"),), PairSettings(prompt_scale_to=3.0), seed=5)
    plan = ExportPlan(pairs, form, CONTRACT, coordinates, False, out.resolve())
    return dataclasses.replace(plan, **changes)


def rows_of(plan: ExportPlan, numbers: range = NUMBERS, workers: int = 1) -> list[dict[str, Any]]:
    path, count, left_out = export(plan, numbers, workers)
    assert count == len(numbers) and not left_out
    return [json.loads(line) for line in path.read_text().splitlines()]


def pairs_of(plan: ExportPlan, numbers: range = NUMBERS) -> list[Pair]:
    return list(plan.pairs.sampler().pairs(numbers))


def texts_of(row: dict[str, Any]) -> tuple[str, str]:
    """Question and answer of a row, as its trainer puts them together."""
    if "messages" in row:
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        return user["content"], assistant["content"]
    return "\n".join(filter(None, (row["instruction"], row["input"]))), row["output"]


def said_box(answer: str) -> Box | None:
    """The box of an answer by the contract, None for one that says that the target is absent."""
    if answer == '{"visible": false}':
        return None
    start = JSON.start + JSON.forced_prefix
    assert answer.startswith(start) and answer.endswith("]}")
    return JSON.parse(answer[len(start) :])


def white_box(picture: np.ndarray) -> Box:
    """Where the target is in a written picture; the drawn rectangle is red."""
    rows, columns = np.nonzero(picture.min(axis=2) > WHITE)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def red_pixels(row: dict[str, Any]) -> int:
    picture = read_image(Path(row["images"][1])).astype(int)
    return int(((picture[..., 0] > 150) & (picture[..., 1:].max(axis=2) < 110)).sum())


def test_a_pair_says_how_its_rectangle_looks(indexes: Path, tmp_path: Path) -> None:
    def rows(name: str, **looks: Any) -> list[dict[str, Any]]:
        plan = plan_of(indexes, tmp_path / name, "vptracker" if name == "vptracker" else "swift", "frame")
        settings = dataclasses.replace(plan.pairs.settings, **looks)
        return rows_of(dataclasses.replace(plan, pairs=dataclasses.replace(plan.pairs, settings=settings)))

    thin, thick = rows("thin"), rows("thick", prompt_width_from=3.0, prompt_width_to=3.0)
    assert sum(map(red_pixels, thick)) > 1.8 * sum(map(red_pixels, thin)) > 0
    assert sum(map(red_pixels, rows("blue", prompt_colours=["blue"]))) == 0
    looks = rows("vptracker", prompt_colours=["blue"], prompt_width_from=2.0, prompt_width_to=2.0)
    assert {(row["visual_prompt"]["color"], row["visual_prompt"]["width"]) for row in looks} == {("blue", 6)}
    assert all("within the blue rectangular bounding box" in texts_of(row)[0] for row in looks)


def test_a_size_that_trainers_resize_again_is_refused() -> None:
    with pytest.raises(UserError, match="search size of 1400x1400 is one that trainers resize"):
        safe(dataclasses.replace(BUILT_IN["short"], search_size=(1400, 1400)))
    with pytest.raises(UserError, match=r"search size of 192x192 .* give one of 65536 to"):
        safe(dataclasses.replace(BUILT_IN["instruct3"], search_size=(192, 192)))
    with pytest.raises(UserError, match="side_multiple of 16 is no model's; give one of 28, 32"):
        safe(dataclasses.replace(BUILT_IN["instruct"], side_multiple=16))


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_the_contract_beside_the_records_says_what_they_count(
    indexes: Path, tmp_path: Path, coordinates: str
) -> None:
    """A format without one leaves none, not even that of the records that were there before."""
    rows_of(plan_of(indexes, tmp_path, "swift"), range(2))
    rows_of(plan_of(indexes, tmp_path, "swift", coordinates), range(2))
    contract = read_contract(tmp_path)
    assert contract is not None and contract.coordinates == coordinates
    rows_of(plan_of(indexes, tmp_path, "vptracker", "frame"), range(2))
    assert read_contract(tmp_path) is None


def test_the_command_offers_what_there_is() -> None:
    assert set(COORDINATES) == set(MEANINGS) and set(export_formats()) == {"swift", "vptracker", *INFO}


@pytest.mark.parametrize("form", [form for form in export_formats() if form != "vptracker"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_boxes_are_where_the_targets_are(indexes: Path, tmp_path: Path, form: str, coordinates: str) -> None:
    """Found by the truth's own box, and in the pixels of the picture that was written."""
    plan = plan_of(indexes, tmp_path, form, coordinates)
    rows, kinds = rows_of(plan), set()
    for row, pair in zip(rows, pairs_of(plan), strict=True):
        question, answer = texts_of(row)
        assert question.count(IMAGE) == 2 == len(row["images"]) and IMAGE not in answer
        assert f"find {pair.expression} like" in question
        box = said_box(answer)
        kinds.add(box is not None)
        assert (box is None) == (not pair.visible)
        if box is None or pair.search_xywh is None:
            continue
        picture = read_image(plan.out / row["images"][1])
        written, frame = (picture.shape[1], picture.shape[0]), SIZES[pair.sequence]
        basis = {"resized": written, "frame": frame, "thousand": (1000, 1000)}[coordinates]
        back, true = rescale(box, basis, frame), xywh_to_xyxy(pair.search_xywh)
        assert np.allclose(back, true, atol=0.51 * max(frame[0] / basis[0], 1) + 0.01)
        assert (
            iou(rescale(box, basis, written), white_box(picture)) > 0.8
        )  # its edge may lie under the drawn line
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("name", "template", "least"), [("instruct", (224, 224), 3136), ("instruct3", (256, 256), 65536)]
)
def test_pictures_need_no_resize_by_any_trainer(
    indexes: Path, tmp_path: Path, name: str, template: Size, least: int
) -> None:
    """`least` is the smallest picture that the family's published processor leaves as it is."""
    plan = plan_of(indexes, tmp_path, "swift", BUILT_IN[name].coordinates, contract=safe(BUILT_IN[name]))
    for row, pair in zip(rows_of(plan, range(4)), pairs_of(plan, range(4)), strict=True):
        sizes = [read_image(Path(image)).shape[1::-1] for image in row["images"]]
        contract = plan.contract
        limits = contract.min_pixels, contract.max_pixels
        wanted = budgeted(SIZES[pair.sequence], *limits, contract.side_multiple)
        assert sizes == [template, wanted], "as this project's own tracker shows them"
        for width, height in sizes:
            theirs = smart_resize(height, width, contract.side_multiple, least, 768 * 768)
            assert theirs == (height, width)
    assert plan.contract.max_pixels == 768 * 768 < BUILT_IN[name].max_pixels
    assert safe(dataclasses.replace(BUILT_IN[name], template_pixels=1)).template_pixels == least
    assert read_contract(plan.out) == plan.contract, "it goes beside the weights that are trained with it"


def test_the_rectangle_is_drawn_and_the_template_holds_the_target(indexes: Path, tmp_path: Path) -> None:
    plan = plan_of(indexes, tmp_path, "swift")
    for row, pair in zip(rows_of(plan), pairs_of(plan), strict=True):
        template, search = (read_image(Path(image)).astype(int) for image in row["images"])
        middle = template.shape[0] // 2
        assert template[middle, middle].min() > WHITE and template[1, 1].max() < WHITE
        rows, columns = np.nonzero((search[..., 0] > 180) & (search[..., 1] < 90))
        to = search.shape[1], search.shape[0]
        drawn = rescale(pair.visual_prompt_xyxy, SIZES[pair.sequence], to)
        found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert np.allclose(found, drawn, atol=6)


def test_swift_is_told_whose_pixels_its_boxes_are(indexes: Path, tmp_path: Path) -> None:
    plan = plan_of(indexes, tmp_path, "swift", "thousand")
    for row, pair in zip(rows_of(plan), pairs_of(plan), strict=True):
        assert all(Path(image).is_absolute() for image in row["images"])
        known = row["objects"]
        if not pair.visible:
            assert known == {"ref": [], "bbox": [], "bbox_type": "real", "image_id": []}
            continue
        assert (known["ref"], known["image_id"], known["bbox_type"]) == ([pair.expression], [1], "real")
        assert iou(tuple(known["bbox"][0]), white_box(read_image(Path(row["images"][1])))) > 0.8


def test_swift_may_fill_the_boxes_in_itself(indexes: Path, tmp_path: Path) -> None:
    plan = plan_of(indexes, tmp_path, "swift", contract=safe(BUILT_IN["instruct"]), fill=True)
    for row in rows_of(plan, range(12)):
        boxes, (question, answer) = row["objects"]["bbox"], texts_of(row)
        wanted = '{"visible": true, "bbox_2d": <bbox>}' if boxes else '{"visible": false}'
        assert answer == wanted and "<bbox>" not in question
    told = json.loads((plan.out / ABOUT).read_text())["trainer"]
    assert told == {"QWENVL_BBOX_FORMAT": "new", "--norm_bbox": "none"}


@pytest.mark.parametrize("form", INFO)
def test_llamafactory_finds_every_column_and_picture(indexes: Path, tmp_path: Path, form: str) -> None:
    plan = plan_of(indexes, tmp_path, form)
    rows = rows_of(plan)
    info = json.loads((plan.out / "dataset_info.json").read_text())["refertrack"]
    assert (plan.out / info["file_name"]).name == RECORDS
    assert set(info["columns"].values()) == set(rows[0]) and info["columns"]["images"] == "images"
    assert form == "llamafactory_alpaca" or info["tags"]["system_tag"] == "system"
    assert all((plan.out / image).is_file() for row in rows for image in row["images"])


def test_all_trainers_are_asked_the_same(indexes: Path, tmp_path: Path) -> None:
    forms = ("swift", *INFO)
    swift, *others = (
        [texts_of(row) for row in rows_of(plan_of(indexes, tmp_path / form, form))] for form in forms
    )
    assert all(other == swift for other in others)


@pytest.mark.parametrize("coordinates", ["frame", "thousand"])
def test_vptrackers_records_point_at_whole_frames(indexes: Path, tmp_path: Path, coordinates: str) -> None:
    plan = plan_of(indexes, tmp_path, "vptracker", coordinates)
    for row, pair in zip(rows_of(plan), pairs_of(plan), strict=True):
        question, answer = texts_of(row)
        assert row["images"] == [pair.template, pair.search] and set(row) == {
            "messages",
            "images",
            "visual_prompt",
        }
        assert (
            all(question.count(token) == 1 for token in VPTRACKER_TOKENS)
            and f"<ref> {pair.expression} </ref>" in question
        )
        asked = (VPTRACKER_QUESTION + VPTRACKER_MARKED).replace("the red cup", pair.expression)
        assert question == asked, "as its published records ask"
        said = json.loads(answer.removeprefix("```json\n").removesuffix("\n```"))
        visible = "yes" if pair.visible else "no"
        assert answer == f'```json\n{{\n  "visible": "{visible}",\n "bbox": {said["bbox"]}\n}}\n```'
        drawn, (width, height) = row["visual_prompt"], SIZES[pair.sequence]
        assert drawn["enable"] is True and drawn["phase"] == "train" and 2 <= drawn["scale"] <= 8
        assert drawn["template_bbox"] == [round(side) for side in xywh_to_xyxy(pair.template_xywh)]
        left, top, right, bottom = drawn["search_bbox"]
        assert 0 <= left < right <= width and 0 <= top < bottom <= height, "one of no area tells of absence"
        if pair.search_xywh is None:
            assert said["bbox"] == [0, 0, 0, 0]
            continue
        assert drawn["search_bbox"] == [round(side) for side in xywh_to_xyxy(pair.search_xywh)]
        basis = SIZES[pair.sequence] if coordinates == "frame" else (1000, 1000)
        assert iou(rescale(tuple(said["bbox"]), basis, (width, height)), (left, top, right, bottom)) > 0.9
    assert not (plan.out / "images").exists()


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_numbers_give_the_same_files(
    indexes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any first pair, in parts of any size, and on two processes."""
    form = "llamafactory_sharegpt"
    whole = plan_of(indexes, tmp_path / "whole", form)
    rows = rows_of(whole)
    assert rows_of(plan_of(indexes, tmp_path / "tail", form), NUMBERS[25:]) == rows[25:]
    assert rows_of(plan_of(indexes, tmp_path / "two", form), workers=2) == rows
    assert files_of(tmp_path / "two") == files_of(tmp_path / "whole")
    monkeypatch.setattr(export_module, "PART", 7)
    assert rows_of(plan_of(indexes, tmp_path / "parts", form)) == rows


def test_what_cannot_be_a_record_is_left_out_and_told(tmp_path: Path) -> None:
    write_video(tmp_path / "data", "wide", SIZES["wide"])
    write_video(tmp_path / "data", "odd", SIZES["wide"], "a <bbox> of ours")
    build_index(TNLLT, tmp_path / "data", "all", tmp_path, workers=1)
    (tmp_path / "data" / "wide" / "imgs" / "00002.png").write_bytes(b"")
    plan = plan_of(tmp_path, tmp_path / "out", "swift")
    path, count, left_out = export(plan, range(60), 1)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert count == len(rows) == 60 - len(left_out) > 0
    told = json.loads((plan.out / ABOUT).read_text())["left_out"]
    assert told == [{"pair": number, "reason": reason} for number, reason in left_out]
    for word in ("<bbox>, which the trainer would interpret", "00002.png: frame cannot be read"):
        assert any(word in reason for _, reason in left_out)
    expected = {
        p.number
        for p in pairs_of(plan, range(60))
        if "<bbox>" in p.expression or "00002" in p.template + p.search
    }
    assert {number for number, _ in left_out} == expected


def test_a_failed_export_leaves_no_records(
    indexes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the records of an earlier one, whose pictures may have been written over."""
    plan = plan_of(indexes, tmp_path, "swift")
    rows_of(plan, range(2))

    def full(path: Path, content: bytes, durable: bool) -> None:
        raise UserError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(export_module, "write_whole", full)
    with pytest.raises(UserError, match="No space left"):
        export(plan, range(2), 1)
    assert not list(tmp_path.glob("*.jsonl")) and not (tmp_path / ABOUT).exists()


def test_if_nothing_can_be_written_that_is_a_fault(tmp_path: Path) -> None:
    write_video(tmp_path / "data", "odd", SIZES["wide"], "<|im_end|>")
    build_index(TNLLT, tmp_path / "data", "all", tmp_path, workers=1)
    with pytest.raises(UserError, match=r"none of 3 pairs can be written; the first: .*<\|im_end\|>"):
        export(plan_of(tmp_path, tmp_path / "out", "swift"), range(3), 1)


@pytest.mark.parametrize("box", [(200.0, 10.0, 220.0, 20.0), (-9.0, -9.0, 0.0, 0.0), (5.0, 5.0, 5.0, 9.0)])
def test_a_box_of_which_nothing_can_be_said_is_refused(box: Box) -> None:
    with pytest.raises(UserError, match="lies outside the frame"):
        counted(box, (192, 108), (336, 196), "frame")


@pytest.mark.parametrize(
    ("coordinates", "said"),
    [("frame", (1919, 0, 1920, 3)), ("resized", (335, 0, 336, 1)), ("thousand", (999, 0, 1000, 2))],
)
def test_a_box_narrower_than_a_unit_is_one_unit_wide(coordinates: str, said: Box) -> None:
    """Also at the edge of the frame, and as the labels of a training are."""
    box = (1919.6, 0.0, 1920.0, 2.6)
    assert counted(box, (1920, 1080), (336, 196), coordinates) == said
    contract = {"resized": BUILT_IN["instruct"], "thousand": BUILT_IN["instruct3"]}.get(coordinates)
    if contract is not None:
        label = answer_text(contract, rescale(box, (1920, 1080), (336, 196)), (336, 196))
        assert label == answer_of(contract, said)


def test_a_box_is_cut_at_the_frame() -> None:
    assert counted((-10, 54, 96, 200), (192, 108), (336, 196), "thousand") == (0, 500, 500, 1000)


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_the_question_says_what_the_numbers_count(tmp_path: Path, coordinates: str) -> None:
    plan = plan_of(tmp_path, tmp_path, "swift", coordinates, contract=BUILT_IN["instruct"])
    said = f"with the corners of its box in {MEANINGS[coordinates]}, or"
    assert said in question_text(plan, "the dog")
    assert MEANINGS["resized"] == "pixels of the search image", "as the tracker asks"


def test_angle_brackets_that_steer_nothing_are_words() -> None:
    assert plain_expression("the <big> dog, a<b") == "the <big> dog, a<b"


RUN = ("task=export", "data=[tnllt]", "split=all", "workers=1", "n=5", "contract=short", "out=drawn")


def test_the_command_writes_and_tells(
    indexes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (*RUN, f"indexes={indexes}", "format=swift", "seed=5")
    assert run_command("data_prep", main, "", arguments) == 0
    assert "drawn/refertrack.jsonl (5, 0 left out; in" in capsys.readouterr().out
    assert len((tmp_path / "drawn" / RECORDS).read_text().splitlines()) == 5
    assert json.loads((tmp_path / "drawn" / ABOUT).read_text())["coordinates"] == "resized"


def test_the_command_counts_what_the_contract_counts(
    indexes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for form in ("swift", "vptracker"):
        arguments = (*RUN, f"indexes={indexes}", f"format={form}", "contract=instruct3")
        assert run_command("data_prep", main, "", arguments) == 0
        assert json.loads((tmp_path / "drawn" / ABOUT).read_text())["coordinates"] == "thousand"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give the format of the records, format=llamafactory_alpaca|"),
        (("format=swift", "data=[]"), "task=export: name data sets that were indexed"),
        (("format=swift", "data=[tnl2k]"), "tnl2k-all.arrow: no such index"),
        (("format=swift", "contract=long"), "contract=long: give instruct, instruct3, short, qwen"),
        (("format=vptracker",), "give coordinates=frame or thousand"),
        (("format=llamafactory_alpaca", "fill=true"), "only ms-swift fills boxes in"),
        (("format=swift", "fill=true"), "give contract=instruct"),
        (
            ("format=swift", "fill=true", "contract=instruct", "coordinates=frame"),
            "ms-swift fills boxes in resized or",
        ),
        (("format=swfit",), "did you mean swift?"),
    ],
)
def test_a_mistake_is_one_line(
    indexes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command("data_prep", main, "", (*RUN, f"indexes={indexes}", *arguments)) == 1
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("form", ["swift", *INFO, "vptracker"])
def test_records_show_what_their_pairs_show(indexes: Path, tmp_path: Path, form: str) -> None:
    plan = plan_of(indexes, tmp_path, form, "frame" if form == "vptracker" else "resized")
    told = dataclasses.replace(plan.pairs.settings, template=0.5, marked=0.5)
    plan = dataclasses.replace(plan, pairs=dataclasses.replace(plan.pairs, settings=told))
    pairs = [pair for pair in pairs_of(plan) if form != "vptracker" or pair.templated]
    path, _, left_out = export(plan, NUMBERS, 1)  # those of VPTracker always have a template
    assert len(left_out) == len(NUMBERS) - len(pairs)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, pair in zip(rows, pairs, strict=True):
        question, _ = texts_of(row)
        assert len(row["images"]) == question.count(IMAGE) == 1 + pair.templated
        assert ("rectang" in question or " near" in question) == pair.marked
    assert 0 < sum(pair.marked for pair in pairs) < len(pairs)


def test_frames_that_are_stored_turned(tmp_path: Path) -> None:
    """Sizes and boxes are of the upright picture; VPTracker's trainer would read it as stored."""
    write_video(tmp_path / "data", "wide", SIZES["wide"])
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    for path in (tmp_path / "data" / "wide" / "imgs").iterdir():
        stored = np.rot90(np.array(Image.open(path)))
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    build_index(TNLLT, tmp_path / "data", "all", tmp_path, workers=1)
    assert Index(index_path(tmp_path, "tnllt", "all")).sizes.tolist() == [list(SIZES["wide"])]
    plan = plan_of(tmp_path, tmp_path / "swift", "swift", "resized")
    for pair, row in zip(pairs_of(plan), rows_of(plan), strict=True):
        if pair.search_xywh is None:
            continue
        said = said_box(texts_of(row)[1])
        assert said is not None and iou(said, white_box(read_image(Path(row["images"][1])))) > 0.8
    with pytest.raises(
        UserError, match=r"none of 40 .* stored rotated \(EXIF orientation 6\); save it upright"
    ):
        export(plan_of(tmp_path, tmp_path / "vp", "vptracker", "frame"), NUMBERS, 1)
