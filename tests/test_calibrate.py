"""Thresholds are fitted to a checkpoint, written beside its contract, and used by the trackers."""

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from evaluation.calibration import calibration_error
from infer.config import InferSettings
from infer.engine.session import open_session
from infer.runs.checks import check_settings
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from infer.trackers.registry import build_tracker, thresholds_of, with_calibration
from infer.trackers.requests import State
from models.calibration import (
    CALIBRATION_FILE,
    NEUTRAL,
    Calibration,
    find_calibration,
    read_calibration,
    write_calibration,
)
from models.config import GROUNDERS, SHIPPED, GrounderConfig
from models.identity import checkpoint_identity
from models.mask_head.config import MaskHeadConfig
from tests.scripted import ScriptedWorld, drive, frame, seen
from tests.tiny_models import save_mask_head
from train.calibrate import Answers, calibrate, figures_of, fit, lowest_confidence
from train.sft.config import CALIBRATION_PAIRS, CalibrateSettings, PairSource

FITTED = Calibration(0.8, 0.7, 0.3, -2.0, 0.65)


def overclaiming(scale: float = 0.5, bias: float = -2.0, count: int = 6000) -> Answers:
    """Answers whose calibrated log-odds of presence are `scale * (log-odds + bias)`.

    Boxes of confidence c are right with probability c, and boxes of absent targets never.
    """
    rng = np.random.default_rng(0)
    true_log_odds = rng.normal(0.0, 2.0, count)
    present = rng.random(count) < 1 / (1 + np.exp(-true_log_odds))
    claimed = 1 / (1 + np.exp(-(true_log_odds / scale - bias)))
    confidence = rng.random(count)
    iou = np.where(present & (rng.random(count) < confidence), 0.8, 0.1)
    return Answers(claimed, confidence, present, iou)


# ---- the fit ---------------------------------------------------------------------------------------


def test_a_model_that_claims_too_much_is_corrected() -> None:
    answers = overclaiming()
    assert np.mean(answers.visible >= 0.5) > 0.65, "half of the targets are there"
    fitted = fit(answers)
    assert fitted.logit_scale == pytest.approx(0.5, abs=0.03)
    assert fitted.logit_bias == pytest.approx(-2.0, abs=0.2)
    assert fitted.visible_threshold == pytest.approx(1 / (1 + np.exp(-2.0)), abs=0.03)
    # Boxes down to confidence c are right in (1 + c) / 2 of the cases.
    assert fitted.min_box_confidence == pytest.approx(0.6, abs=0.05)
    before, after = figures_of(answers, NEUTRAL), figures_of(answers, fitted)
    assert after.log_loss < before.log_loss - 0.1 and after.ece < 0.03 < before.ece
    assert after.balanced_accuracy > before.balanced_accuracy + 0.03


def test_calibration_error_of_known_predictions() -> None:
    half, happened = np.array([0.9, 0.9, 0.2, 0.2]), np.array([1.0, 0.0, 0.4, 0.0])
    assert calibration_error(half, happened) == pytest.approx(0.5 * 0.4)
    assert calibration_error(half, happened, np.array([0.5, 0.0, 0.5, 0.0])) == pytest.approx(0.5 * 0.3)
    assert calibration_error(np.ones(3), np.ones(3)) == 0 and np.isnan(calibration_error(half[:0], half[:0]))


def test_tracking_starts_where_right_detections_outweigh_wrong_ones() -> None:
    answers = overclaiming()
    sure = replace(answers, iou=np.where(answers.present, 0.9, 0.0))
    fitted = fit(sure)
    # A wrong detection costs two right ones, so presence must have a probability of 2/3: log-odds of log 2.
    expected = 1 / (1 + np.exp(-(np.log(2) / 0.5 + 2.0)))
    assert fitted.activation_threshold == pytest.approx(expected, abs=0.02)
    gains = [
        figures_of(sure, replace(fitted, activation_threshold=threshold)).activation_gain
        for threshold in (0.5, fitted.activation_threshold, 0.999)
    ]
    assert gains[1] == max(gains)


def test_visible_and_absent_targets_count_equally() -> None:
    answers = overclaiming()
    # The share of absent targets is a choice of whoever made the data, and says nothing about the model.
    chosen = np.concatenate([np.arange(len(answers.present)), *[np.flatnonzero(~answers.present)] * 3])
    fields = {name: values[chosen] for name, values in vars(answers).items()}
    assert fit(Answers(**fields)).logit_bias == pytest.approx(fit(answers).logit_bias, abs=1e-3)


def test_classes_that_a_threshold_separates_do_not_make_the_scale_grow() -> None:
    visible = np.array([0.9, 0.95, 0.97, 0.99] * 10 + [0.999, 0.9995] * 20)
    present = np.array([False] * 40 + [True] * 40)
    fitted = fit(Answers(visible, np.full(80, 0.9), present, present * 0.9))
    assert fitted.logit_scale == 1.0 and -8 < fitted.logit_bias < -5
    assert 0.99 < fitted.activation_threshold < 0.999 and 0.99 < fitted.visible_threshold < 0.9995


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (Answers(*(np.full(30, value) for value in (0.9, 0.9, True, 0.9))), "30 .* show their target and 0 "),
        (replace(overclaiming(), visible=np.full(6000, 0.9)), "do not tell visible from absent targets"),
        (replace(overclaiming(), visible=1 - overclaiming().visible), "do not tell visible from absent"),
    ],
)
def test_answers_that_cannot_be_fitted_are_refused_in_one_line(answers: Answers, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fit(answers)
    assert "\n" not in str(caught.value)


def test_boxes_that_are_never_right_are_never_relied_on() -> None:
    assert lowest_confidence(np.array([0.9, 0.8, 0.7]), np.zeros(3)) == 1.0
    assert lowest_confidence(np.zeros(0), np.zeros(0)) == NEUTRAL.min_box_confidence
    equal = np.full(10, 0.6)  # which of them is right cannot be told from the confidence
    assert lowest_confidence(equal, np.array([1.0] * 5 + [0.0] * 5)) == 1.0


# ---- the file --------------------------------------------------------------------------------------


def test_a_calibration_is_found_in_the_folder_or_where_the_key_says(tmp_path: Path) -> None:
    config = GrounderConfig(str(tmp_path))
    assert find_calibration(config) == NEUTRAL and find_calibration(GrounderConfig("owner/name")) == NEUTRAL
    write_calibration(tmp_path / CALIBRATION_FILE, FITTED)
    assert find_calibration(config) == FITTED
    write_calibration(tmp_path / "other.json", replace(FITTED, logit_bias=1.0))
    assert find_calibration(replace(config, calibration=str(tmp_path / "other.json"))).logit_bias == 1.0
    with pytest.raises(UserError, match=r"gone.json: no such file; fit it with .*task=calibrate"):
        find_calibration(replace(config, calibration=str(tmp_path / "gone.json")))


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"logit_bias": NaN}', '{"logit_scale": -1}', '{"activation_threshold": "0.5"}',
     '{"visible_threshold": true}', '{"threshold": 0.5}', '{"fitted_on": 3}', "[" * 50_000,
     '{"logit_bias": 1e9}'],
)  # fmt: skip
def test_a_damaged_calibration_is_named_before_models_are_loaded(tmp_path: Path, text: str) -> None:
    path = tmp_path / CALIBRATION_FILE
    path.write_text(text)
    with pytest.raises(UserError, match=r"calibration.json: not a calibration \(") as caught:
        check_settings(InferSettings(model=replace(GROUNDERS["nano"], calibration=str(path))))
    assert "\n" not in str(caught.value)


def test_the_identity_of_weights_does_not_depend_on_their_calibration(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text("{}")
    before = checkpoint_identity(str(tmp_path))
    write_calibration(tmp_path / CALIBRATION_FILE, FITTED)
    assert checkpoint_identity(str(tmp_path)) == before


# ---- the trackers ----------------------------------------------------------------------------------


def test_keys_that_are_null_take_the_calibration_and_others_do_not() -> None:
    config = with_calibration(ReferralConfig(logit_bias=0.1), FITTED)
    numbers = {name: getattr(config, name) for name in ("activation_threshold", "logit_scale", "logit_bias")}
    assert numbers == {"activation_threshold": 0.8, "logit_scale": 0.3, "logit_bias": 0.1}
    assert config.min_box_confidence == 0.65 and config.min_object_score == ReferralConfig().min_object_score
    # Trackers without a memory decide about each frame by itself.
    assert with_calibration(PerFrameConfig(repeat_last=True), FITTED) == PerFrameConfig(0.7, True)
    assert with_calibration(PerFrameConfig(0.2), FITTED) == PerFrameConfig(0.2)
    assert thresholds_of(ReferralConfig()) == NEUTRAL


def test_the_shipped_checkpoint_keeps_its_thresholds() -> None:
    config = with_calibration(ReferralConfig(), find_calibration(GROUNDERS["nano"]))
    assert config == ReferralConfig(
        0.813393, logit_scale=0.795681, logit_bias=0.054322, min_box_confidence=0.326157
    )
    assert with_calibration(PerFrameConfig(), find_calibration(GROUNDERS["nano"])) == PerFrameConfig(0.486423)


def test_a_tracker_decides_by_the_calibration() -> None:
    here = (8, 8, 24, 24)

    class Claiming(ScriptedWorld):
        def reply(self, index, request):  # type: ignore[no-untyped-def]
            answer = super().reply(index, request)
            return seen(here, visible=0.75) if hasattr(answer, "visible") else answer

    for calibration, state in (
        (NEUTRAL, State.TRACK),
        (replace(FITTED, visible_threshold=0.9), State.SEARCH),
    ):
        for settings in (ReferralConfig(confirm=False), PerFrameConfig()):
            tracker = build_tracker(with_calibration(settings, calibration), BUILT_IN["short"])
            assert drive(tracker, Claiming([here] * 2, [here] * 2), [frame()])[0].state is state


# ---- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped checkpoint without its calibration."""
    folder = tmp_path_factory.mktemp("checkpoint") / "nano"
    shutil.copytree(SHIPPED / "nano_grounder", folder, ignore=shutil.ignore_patterns(CALIBRATION_FILE))
    return folder


@pytest.fixture(scope="module")
def settings() -> CalibrateSettings:
    return CalibrateSettings(PairSource(split="val", videos=4, pairs=CALIBRATION_PAIRS), pairs=56)


def test_a_calibration_is_fitted_and_used_by_the_next_run(
    checkpoint: Path,
    settings: CalibrateSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = GrounderConfig(str(checkpoint))
    identity = checkpoint_identity(str(checkpoint))
    calibrate(settings, model, tmp_path / "run", torch.device("cpu"))
    printed = capsys.readouterr().out
    assert "before" in printed and "log_loss" in printed and f"in {checkpoint}/calibration.json" in printed
    fitted = read_calibration(checkpoint / CALIBRATION_FILE)
    about = fitted.fitted_on
    assert about["pairs"] == 56 and about["data"] == "other_look val" and about["checkpoint"] == identity
    assert about["after"]["log_loss"] < about["before"]["log_loss"]
    # The next run of inference uses it, and its results are identified by the numbers.
    infer = InferSettings(
        model=model,
        mask_head=MaskHeadConfig(str(save_mask_head(tmp_path / "mask_head"))),
        tracker=ReferralConfig(logit_scale=0.25),
        device="cpu",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker = open_session(infer).fingerprint["tracker"]
    assert tracker["logit_scale"] == 0.25 and tracker["logit_bias"] == fitted.logit_bias
    assert tracker["activation_threshold"] == fitted.activation_threshold
    # A calibration that exists is not replaced, unless that is asked for.
    model = replace(model, calibration=str(checkpoint / CALIBRATION_FILE))
    other = replace(FITTED, fitted_on={"checkpoint": "0" * 16})
    write_calibration(checkpoint / CALIBRATION_FILE, other)
    with pytest.warns(UserWarning, match="was fitted to other weights; fit it again"):
        open_session(replace(infer, model=model))
    (checkpoint / CALIBRATION_FILE).rename(checkpoint / "away")
    with pytest.warns(UserWarning, match="has no calibration.json, so the tracker takes neutral thresholds"):
        open_session(infer)
    given = with_calibration(infer.tracker, NEUTRAL)
    with warnings.catch_warnings():  # a tracker whose keys are all given takes no number of a calibration
        warnings.simplefilter("error")
        open_session(replace(infer, tracker=given))
    (checkpoint / "away").rename(checkpoint / CALIBRATION_FILE)
    monkeypatch.setattr("train.calibrate.fit", lambda _: replace(fitted, fitted_on={}))
    calibrate(replace(settings, pairs=4), model, tmp_path / "run", torch.device("cpu"))
    assert read_calibration(checkpoint / CALIBRATION_FILE) == other
    written = json.loads((tmp_path / "run" / CALIBRATION_FILE).read_text())
    assert {name: written[name] for name in fitted.values()} == fitted.values()
    assert f"use it by model.calibration={tmp_path / 'run' / CALIBRATION_FILE}" in capsys.readouterr().out


def test_too_few_pairs_write_nothing(
    checkpoint: Path, settings: CalibrateSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_arguments: object) -> Sequence[object]:
        return []

    monkeypatch.setattr("train.calibrate.evaluate_pairs", none)
    monkeypatch.setattr("train.calibrate.pair_plan", none)
    before = (checkpoint / CALIBRATION_FILE).read_bytes()
    with pytest.raises(UserError, match="20 of each are needed"):
        calibrate(
            replace(settings, overwrite=True), GrounderConfig(str(checkpoint)), tmp_path, torch.device("cpu")
        )
    assert (checkpoint / CALIBRATION_FILE).read_bytes() == before and not (
        tmp_path / CALIBRATION_FILE
    ).exists()
