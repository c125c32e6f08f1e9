"""The detector of SAM 3 as the grounder, against transformers' own post-processing of the whole detector."""

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam3Model, Sam3Processor, Sam3VideoConfig, Sam3VideoModel

from configs.errors import UserError
from data_prep.geometry import Box
from infer.config import InferSettings
from infer.runs.checks import check_settings
from infer.runs.run import run
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from models.calibration import Calibration, find_calibration
from models.commands.doctor import doctor
from models.config import GROUNDERS, NANO, Sam3DetectorConfig
from models.grounder.registry import check_grounder, load_grounder
from models.grounder.sam3_detector import Sam3Detector, choose
from models.interfaces import Answer, Question
from models.mask_head.config import MASK_HEADS
from tests.tiny_sam3 import save_sam3
from train.calibrate import Answers, calibrate
from train.sft.config import CALIBRATION_PAIRS, CalibrateSettings, PairSource

CPU = torch.device("cpu")
PHRASE, OTHER_PHRASE = "the red ball", "left thing"
LONG = "the red ball on the left of some other remarkable things"  # more tokens than the text encoder reads


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 120, (height, width, 3), dtype=np.uint8)
    image[height // 4 : height // 2, width // 3 : width // 2] += 130
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small detector, and its tokenizer and image processor."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("weights") / "sam3"
    save_sam3(path)
    return path


@pytest.fixture(scope="module")
def library(folder: Path) -> tuple[Sam3Model, Sam3Processor]:
    """The same checkpoint as transformers loads it, with masks."""
    return Sam3Model.from_pretrained(folder).eval(), Sam3Processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Sam3Detector:
    detector = load_grounder(Sam3DetectorConfig(str(folder), box_threshold=0.0), CPU)
    assert isinstance(detector, Sam3Detector)
    return detector


@pytest.fixture
def detector(loaded: Sam3Detector) -> Sam3Detector:
    """The loaded detector as if it had not been asked before."""
    return Sam3Detector(loaded.model, loaded.processor, loaded.config)


@torch.inference_mode()
def detections(
    library: tuple[Sam3Model, Sam3Processor], image: np.ndarray, phrase: str, tokens: Any = None
) -> dict[str, Any]:
    """All detections of transformers itself: scores, boxes, masks. `tokens` replace those of the phrase."""
    model, processor = library
    inputs = {**processor(images=image, text=phrase, return_tensors="pt"), **(tokens or {})}
    names = ("pixel_values", "input_ids", "attention_mask")
    outputs = model(**{name: inputs[name] for name in names})
    (found,) = processor.post_process_instance_segmentation(
        outputs, threshold=-1.0, target_sizes=[image.shape[:2]]
    )
    return dict(found)


# ---- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(90, 60), (50, 120)])
def test_an_answer_is_the_best_detection_of_the_library(
    detector: Sam3Detector, library: tuple[Sam3Model, Sam3Processor], size: tuple[int, int]
) -> None:
    """Also of frames that are no squares: boxes are in pixels of the frame."""
    image = picture(*size)
    questions = [Question(image, text) for text in (PHRASE, f" {OTHER_PHRASE}. ", PHRASE.upper())]
    answers = detector.locate(questions)
    for question, answer in zip(questions, answers, strict=True):
        theirs = detections(library, image, question.expression.strip(" ."))
        best = int(theirs["scores"].argmax())
        assert answer.visible == pytest.approx(float(theirs["scores"][best]), abs=1e-6)
        assert answer.box_xyxy == pytest.approx(theirs["boxes"][best].tolist(), abs=1e-3)
        assert answer.visible < answer.box_confidence < 1  # without the presence score
    assert answers[0] != answers[1] and answers[0] == answers[2]


def test_a_batch_over_frames_is_answered_as_its_questions_alone(detector: Sam3Detector) -> None:
    images = picture(90, 60), picture(64, 64, seed=1)
    questions = [Question(image, text) for image in images for text in (PHRASE, OTHER_PHRASE, "ball")]
    detector.batch = 4
    together = detector.locate(questions)
    assert detector.statistics.batches == 2
    for question, answer in zip(questions, together, strict=True):
        (alone,) = detector.locate([question])
        assert alone.visible == pytest.approx(answer.visible, abs=1e-6)
        assert alone.box_xyxy == pytest.approx(answer.box_xyxy, abs=1e-3)


def test_a_region_is_answered_as_the_image_that_it_is(detector: Sam3Detector) -> None:
    image = picture(90, 60)
    (answer,) = detector.locate([Question(image, PHRASE, region_xyxy=(20, 10, 80, 50))])
    (expected,) = detector.locate([Question(image[10:50, 20:80].copy(), PHRASE)])
    assert answer.visible == pytest.approx(expected.visible, abs=1e-6)
    assert answer.box_xyxy is not None and expected.box_xyxy is not None
    x1, y1, x2, y2 = expected.box_xyxy
    assert answer.box_xyxy == pytest.approx((x1 + 20, y1 + 10, x2 + 20, y2 + 10), abs=1e-3)


def test_a_frame_is_encoded_once(detector: Sam3Detector) -> None:
    calls: list[int] = []
    handle = detector.model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    frame, next_frame = picture(90, 60), picture(90, 60, seed=1)
    try:
        # Several expressions, the confirming question of a tracker, and another frame.
        detector.locate([Question(frame, PHRASE), Question(frame, OTHER_PHRASE)])
        detector.locate([Question(frame, PHRASE, visual_prompt_xyxy=(1, 2, 30, 40))])
        assert len(calls) == 1
        detector.locate([Question(next_frame, PHRASE)])
        assert len(calls) == 2 and len(detector._frames) == 1, "only the last frame is kept"
    finally:
        handle.remove()
    assert (detector.statistics.questions, detector.statistics.vision_encodings) == (4, 2)


@pytest.mark.parametrize(
    ("last_box", "ratio", "chosen"),
    [
        (None, 0.8, 0),  # without a last box the highest score
        ((50.0, 50.0, 60.0, 60.0), 0.8, 1),  # of similar scores the nearest one
        ((30.0, 30.0, 38.0, 38.0), 0.8, 1),  # also without an overlap
        ((50.0, 50.0, 60.0, 60.0), 1.0, 0),
        ((80.0, 80.0, 90.0, 90.0), 0.8, 1),  # the one that is there has too low a score
        ((80.0, 80.0, 90.0, 90.0), 0.1, 2),
    ],
)
def test_of_similar_scores_the_detection_near_the_last_box_is_the_answer(
    last_box: Box | None, ratio: float, chosen: int
) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [51, 51, 61, 61], [80, 80, 90, 90]])
    assert choose(torch.tensor([0.9, 0.8, 0.3]), boxes, last_box, ratio) == chosen


def test_the_last_box_is_in_pixels_of_the_frame(
    detector: Sam3Detector, library: tuple[Sam3Model, Sam3Processor]
) -> None:
    image = picture(90, 60)
    boxes = detections(library, image, PHRASE)["boxes"]
    wanted = tuple(boxes[int(boxes[:, 0].argmax())].tolist())  # the one furthest to the right
    detector.config = dataclasses.replace(detector.config, min_score_ratio=0.0)
    question = Question(image, PHRASE)
    near, best = detector.locate([dataclasses.replace(question, visual_prompt_xyxy=wanted), question])
    assert near.box_xyxy == pytest.approx(wanted, abs=1e-3) and near.visible < best.visible


def test_a_box_of_a_low_score_is_left_out(detector: Sam3Detector) -> None:
    question = Question(picture(90, 60), PHRASE)
    (answer,) = detector.locate([question])
    for threshold, has_box in ((answer.visible, True), (answer.visible + 1e-4, False)):
        detector.config = dataclasses.replace(detector.config, box_threshold=threshold)
        (other,) = detector.locate([question])
        assert (other.box_xyxy is not None) == has_box and other.visible == answer.visible


def test_boxes_are_float32_in_half_precision(detector: Sam3Detector) -> None:
    question = Question(picture(1920, 1080), PHRASE)
    half = Sam3Detector(detector.model, detector.processor, detector.config, torch.bfloat16)
    assert half.identity()["dtype"] == "torch.bfloat16"
    (full_answer,), (answer,) = detector.locate([question]), half.locate([question])
    assert answer.visible != full_answer.visible == pytest.approx(answer.visible, abs=0.02)
    assert answer.box_xyxy is not None
    share = torch.tensor(answer.box_xyxy) / torch.tensor([1920, 1080, 1920, 1080])
    assert not torch.equal(share.bfloat16().float(), share)


# ---- expressions ---------------------------------------------------------------------------------


def test_a_long_expression_is_cut_with_one_warning(
    detector: Sam3Detector, library: tuple[Sam3Model, Sam3Processor]
) -> None:
    image = picture(90, 60)
    with pytest.warns(UserWarning, match=r"'the red .* tokens, and SAM 3 reads 32"):
        detector.check_expression(LONG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (answer,) = detector.locate([Question(image, LONG)])
    # The end token is kept, as in Meta's code.
    tokens = library[1].tokenizer(LONG, truncation=True, max_length=32, return_tensors="pt")
    assert tokens.input_ids.shape == (1, 32)
    assert tokens.input_ids[0, -1] == library[1].tokenizer.eos_token_id
    theirs = detections(library, image, PHRASE, tokens)
    assert answer.visible == pytest.approx(float(theirs["scores"].max()), abs=1e-6)


def test_a_control_token_in_an_expression_is_refused(detector: Sam3Detector) -> None:
    with pytest.raises(UserError, match=r"<\|endoftext\|> steers the model"):
        detector.check_expression("a <|endoftext|>")
    detector.check_expression(PHRASE)


def test_a_target_without_a_name_is_asked_for_with_a_warning(detector: Sam3Detector) -> None:
    """As a target that is given by its box alone. An empty expression of a workspace is never asked."""
    image = picture(90, 60)
    detector.check_expression("")
    with pytest.warns(UserWarning, match="the prompt names no target"):
        unnamed = detector.locate([Question(image, " . ")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert detector.locate([Question(image, "the target")]) == unnamed


# ---- faults --------------------------------------------------------------------------------------


def test_nan_is_an_error_that_names_the_checkpoint(detector: Sam3Detector, folder: Path) -> None:
    bias = detector.model.detr_decoder.presence_head.layer3.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(torch.nan)
    try:
        with pytest.raises(UserError, match=rf"model\.checkpoint={folder}: in float32 its scores and boxes"):
            detector.locate([Question(picture(90, 60), PHRASE)])
    finally:
        with torch.no_grad():
            bias.copy_(before)


def test_a_batch_that_does_not_fit_is_halved(detector: Sam3Detector) -> None:
    largest = 2

    def fail(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        if len(inputs["attention_mask"]) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    questions = [Question(picture(90, 60), text) for text in (PHRASE, OTHER_PHRASE, "ball", "red")]
    expected = detector.locate(questions)
    handle = detector.model.register_forward_pre_hook(fail, with_kwargs=True)
    try:
        with pytest.warns(UserWarning, match=r"4 questions at a time do not fit into memory.*model\.batch=2"):
            answers = detector.locate(questions)
        assert [each.visible for each in answers] == pytest.approx([each.visible for each in expected])
        largest = 0
        with pytest.raises(UserError, match="memory does not suffice for a single question; take a smaller"):
            detector.locate(questions[:1])
    finally:
        handle.remove()


# ---- checkpoints ---------------------------------------------------------------------------------


def test_the_detector_is_read_from_a_whole_sam3(
    folder: Path, tmp_path: Path, library: tuple[Sam3Model, Sam3Processor]
) -> None:
    """facebook/sam3 holds the detector and the tracker, under prefixes."""
    tracker = {"memory_attention_num_layers": 1, "num_maskmem": 2}
    whole = Sam3VideoModel(
        Sam3VideoConfig(detector_config=library[0].config.to_dict(), tracker_config=tracker)
    )
    whole.detector_model.load_state_dict(library[0].state_dict())
    whole.save_pretrained(tmp_path)
    library[1].save_pretrained(tmp_path)
    config = Sam3DetectorConfig(str(tmp_path), box_threshold=0.0)
    check_grounder(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # weights of the tracker are no unused weights
        other = load_grounder(config, CPU)
    question = Question(picture(90, 60), PHRASE)
    (answer,) = other.locate([question])
    detector = Sam3Detector.load(dataclasses.replace(config, checkpoint=str(folder)), CPU)
    (wanted,) = detector.locate([question])
    # The last digits depend on where in memory the weights lie, which decides about the kernels.
    assert answer.visible == pytest.approx(wanted.visible, abs=1e-6)
    assert answer.box_xyxy == pytest.approx(wanted.box_xyxy, abs=1e-3)
    assert answer.box_confidence == pytest.approx(wanted.box_confidence, abs=1e-6)


def _without_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()


def _changed(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A function that changes a settings file of a checkpoint."""

    def apply(copy: Path) -> None:
        settings = json.loads((copy / name).read_text())
        change(settings)
        (copy / name).write_text(json.dumps(settings))

    return apply


def _without_a_weight(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["detr_decoder.presence_head.layer3.bias"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})


def _pickled(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")


BROKEN = {
    "tracker": (
        _changed("config.json", lambda s: s.update(model_type="sam3_tracker_video")),
        "holds SAM 3's tracker without its detector",
    ),
    "other": (_changed("config.json", lambda s: s.update(model_type="qwen3_vl")), "holds a 'qwen3_vl' model"),
    "code": (
        _changed("config.json", lambda s: s.update(auto_map={"AutoModel": "mine.Mine"})),
        "asks for code by auto_map",
    ),
    "part": (
        _changed("config.json", lambda s: s["vision_config"].update(model_type="timm_backbone")),
        "has a part of type 'timm_backbone', which is not built here",
    ),
    "tokenizer": (_without_tokenizer, "holds no tokenizer"),
    "pickled": (_pickled, "holds pickled weights only"),
}
BROKEN_WHEN_LOADED = {
    "weight": (_without_a_weight, "1 weights are missing, the first is detr_decoder.presence_head"),
    "size": (
        _changed("processor_config.json", lambda s: s["image_processor"]["size"].update(height=28, width=28)),
        "the processor makes images of 28x28, the model takes 56x56",
    ),
    "vocabulary": (
        _changed("config.json", lambda s: s["text_config"].update(vocab_size=9)),
        "the shapes of the weights do not agree|its tokenizer has",
    ),
}


@pytest.mark.parametrize("fault", [*BROKEN, *BROKEN_WHEN_LOADED])
def test_a_broken_checkpoint_is_refused_in_one_line(fault: str, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    change, message = {**BROKEN, **BROKEN_WHEN_LOADED}[fault]
    change(copy)
    config = Sam3DetectorConfig(str(copy))
    if fault in BROKEN_WHEN_LOADED:
        check_grounder(config)
    with pytest.raises(UserError, match=message) as one:
        load_grounder(config, CPU) if fault in BROKEN_WHEN_LOADED else check_grounder(config)
    assert str(one.value).startswith(f"model.checkpoint={copy}") and "\n" not in str(one.value)


def test_a_single_file_is_refused(folder: Path) -> None:
    """As Meta's own `sam3.pt`."""
    with pytest.raises(UserError, match="is a single file, and model=sam3 reads folders"):
        check_grounder(Sam3DetectorConfig(str(folder / "model.safetensors")))


def test_a_hub_id_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read at import
    check_grounder(GROUNDERS["sam3"])
    with pytest.raises(UserError, match=r"model\.checkpoint=facebook/sam3: .*download") as one:
        load_grounder(GROUNDERS["sam3"], CPU)
    assert "\n" not in str(one.value)


def test_a_multimodal_llm_does_not_read_sam3(folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds a 'sam3' model; .*take model=sam3 for it"):
        check_grounder(dataclasses.replace(NANO, checkpoint=str(folder)))


# ---- commands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three frames."""
    from PIL import Image

    path = tmp_path_factory.mktemp("video")
    for number in range(3):
        Image.fromarray(picture(96, 64, seed=number)).save(path / f"{number:08d}.png")
    return path


@pytest.mark.parametrize("tracker", [PerFrameConfig(0.1), ReferralConfig(activation_threshold=0.1)])
def test_a_video_is_tracked(folder: Path, video: Path, tmp_path: Path, tracker: Any) -> None:
    settings = InferSettings(
        video=str(video),
        prompt=f"{PHRASE};{OTHER_PHRASE}",
        model=Sam3DetectorConfig(str(folder)),
        tracker=tracker,
        device="cpu",
        out=str(tmp_path / "out"),
        overlay=False,
    )
    check_settings(settings)
    assert run(settings) == 0
    tracks = json.loads((tmp_path / "out" / "tracks.json").read_text())["tracks"]
    assert [len(track["boxes_xyxy"]) for track in tracks] == [3, 3]
    assert any(box is not None for track in tracks for box in track["boxes_xyxy"])
    seconds = json.loads((tmp_path / "out" / "summary.json").read_text())["seconds_by_part"]
    assert all(seconds[part] > 0 for part in ("preprocess", "vision", "detect"))
    fingerprint = json.loads((tmp_path / "out" / "masks" / "fingerprint.json").read_text())
    assert fingerprint["grounder_settings"] == {"min_score_ratio": 0.8}
    assert fingerprint["contract"]["wording"] == "phrase"


def test_the_doctor_examines_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(Sam3DetectorConfig(str(folder)), MASK_HEADS["nano"], tmp_path, CPU) == 0
    said = capsys.readouterr().out
    for text in ("min_score_ratio 0.8", "M parameters, float32", "whole question", "calibration  none"):
        assert text in said
    assert "note:  grounder: the target of an easy question is not found" in said


def test_thresholds_are_fitted_to_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its questions have neither a template nor a rectangle, and images of its own size."""
    copy = tmp_path / "sam3"
    shutil.copytree(folder, copy)
    asked: list[Question] = []
    locate = Sam3Detector.locate

    def recorded(self: Sam3Detector, questions: Sequence[Question]) -> list[Answer]:
        asked.extend(questions)
        return locate(self, questions)

    fitted: list[Answers] = []

    def fit(answers: Answers) -> Calibration:
        fitted.append(answers)
        return Calibration(activation_threshold=0.25)

    monkeypatch.setattr(Sam3Detector, "locate", recorded)
    monkeypatch.setattr("train.calibrate.fit", fit)  # random weights tell nothing that could be fitted
    settings = CalibrateSettings(PairSource(split="val", videos=1, pairs=CALIBRATION_PAIRS), pairs=4)
    calibrate(settings, Sam3DetectorConfig(str(copy)), tmp_path / "out", CPU)
    assert len(asked) == 4 and all(0 < value < 1 for value in fitted[0].visible)
    assert {question.image.shape for question in asked} == {(56, 56, 3)}
    assert not any(question.marked or question.template is not None for question in asked)
    assert find_calibration(Sam3DetectorConfig(str(copy))).activation_threshold == 0.25
