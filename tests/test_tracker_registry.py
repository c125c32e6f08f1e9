"""A tracker is one file that registers itself, in the package or outside, as an option of `tracker=`."""

import dataclasses

import pytest

from configs.app import FOLDER
from configs.code_identity import modules_of
from configs.command_line import read_command_line
from configs.compose import as_settings, composer
from configs.errors import UserError
from configs.schema import key
from data_prep.contract.contract import BUILT_IN, Contract
from infer.config import InferSettings
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from infer.trackers.registry import TRACKERS, build_tracker, register_tracker
from infer.trackers.requests import Report, State, Track, Tracker
from tests.registries import forget_later
from tests.scripted import ScriptedWorld, drive, frame

CONTRACT = BUILT_IN["short"]


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    forget_later(monkeypatch, TRACKERS)


@dataclasses.dataclass(frozen=True)
class NowhereConfig:
    """The target is never there."""

    confidence: float = key(0.25, "confidence of every report")


def nowhere_tracker(config: NowhereConfig, contract: Contract) -> Tracker:
    def start(expression, frame, box_xyxy=None) -> Track:
        while True:
            yield Report(State.SEARCH, confidence=config.confidence)

    return start


def settings_of(*arguments: str) -> InferSettings:
    with composer("infer", FOLDER) as composing:
        _, (config,) = composing.jobs(read_command_line(list(arguments)))
        return as_settings(config)


def test_the_trackers_of_the_package_are_found() -> None:
    assert {"referral", "per_frame", "vptracker"} <= TRACKERS.keys()
    assert settings_of("tracker=vptracker").tracker == PerFrameConfig(repeat_last=True)


@pytest.mark.usefixtures("own_registry")
def test_a_tracker_that_is_registered_later_is_an_option_with_keys() -> None:
    with pytest.raises(UserError, match="no such option of tracker"):
        settings_of("tracker=nowhere")
    register_tracker(nowhere=NowhereConfig())(nowhere_tracker)
    assert settings_of("tracker=nowhere", "tracker.confidence=0.5").tracker == NowhereConfig(0.5)
    reports = drive(build_tracker(NowhereConfig(0.5), CONTRACT), ScriptedWorld([], []), [frame()] * 3)
    assert [report.confidence for report in reports] == [0.5] * 3


@pytest.mark.usefixtures("own_registry")
def test_two_trackers_cannot_have_one_name_but_a_file_may_be_imported_again() -> None:
    register_tracker(nowhere=NowhereConfig())(nowhere_tracker)
    register_tracker(nowhere=NowhereConfig(0.75))(nowhere_tracker)
    assert TRACKERS["nowhere"] == NowhereConfig(0.75)
    with pytest.raises(
        ValueError, match=r"tracker=referral is registered already by .*referral\.ReferralConfig, and now by"
    ):
        register_tracker(referral=NowhereConfig())(nowhere_tracker)
    with pytest.raises(TypeError, match="one dataclass"):
        register_tracker(one=NowhereConfig(), two=PerFrameConfig())(nowhere_tracker)
    with pytest.raises(TypeError, match="one dataclass"):
        register_tracker(nowhere={"confidence": 0.5})(nowhere_tracker)


def test_settings_without_a_tracker_are_refused() -> None:
    with pytest.raises(UserError, match="no tracker is registered for NowhereConfig"):
        build_tracker(NowhereConfig(), CONTRACT)


def test_the_code_of_one_tracker_is_not_that_of_another() -> None:
    assert "infer.trackers.per_frame" not in modules_of(("infer.trackers.referral",))


RENAMED = {
    "find_above": "activation_threshold",
    "sure_above": "min_object_score",
    "verify_every": "verify_interval",
    "lean": "logit_bias",
    "trust": "logit_scale",
    "stay": "stay_probability",
    "agree_iou": "min_agreement_iou",
    "move_above": "min_box_confidence",
    "search_pause": "max_search_interval",
    "wake_change": "min_frame_change",
    "area_jump": "max_area_ratio",
}


def test_an_old_key_is_answered_with_its_new_name() -> None:
    assert set(RENAMED.values()) <= {field.name for field in dataclasses.fields(ReferralConfig)}
    with composer("infer", FOLDER) as composing:
        for tracker, old, new in (
            *(("referral", *pair) for pair in RENAMED.items()),
            ("per_frame", "visible_above", "activation_threshold"),
        ):
            line = read_command_line([f"tracker={tracker}", f"tracker.{old}=1"])
            with pytest.raises(UserError, match=rf"tracker\.{old}: has a new name; write tracker\.{new}="):
                composing.jobs(line)
