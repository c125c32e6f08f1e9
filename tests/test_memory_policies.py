"""Memory policies: what each keeps, that memories stay values of bounded size, and how they are set."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import Sam2VideoModel

from configs.app import FOLDER
from configs.command_line import read_command_line
from configs.compose import as_settings, composer
from configs.errors import UserError
from infer.config import InferSettings
from models.interfaces import MaskResult
from models.mask_head import sam2_forward
from models.mask_head.config import MASK_HEADS, MaskHeadConfig, Sam2MetaConfig
from models.mask_head.memory_bank import FrameMemory, MemoryBank, MemoryLimits
from models.mask_head.memory_map import MemoryMap
from models.mask_head.memory_policies.box_motion import BoxMotion
from models.mask_head.memory_policies.distractor_aware import DistractorAware, History
from models.mask_head.memory_policies.plain import Gated, Plain
from models.mask_head.memory_policies.policy import WRITTEN, Candidates, Decision, MemoryPolicy, Write
from models.mask_head.memory_policies.registry import (
    MEMORY_POLICIES,
    memory_policy,
    memory_policy_of,
    register_memory_policy,
)
from models.mask_head.memory_policies.samurai import Motion, Samurai
from models.mask_head.registry import check_mask_head, load_mask_head, register_mask_head
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_model import build_model, build_processor, nano_config
from tests.registries import forget_later

CPU = torch.device("cpu")
SIDE = 64
SIZE = (90, 60)  # width, height of the frames
BOX, OTHER_BOX = (20.0, 11.0, 55.5, 40.0), (50.0, 20.0, 85.0, 55.0)
DOCS = Path(__file__).parents[1] / "docs" / "inference.md"
# Settings with which the random weights below make every kind of decision.
LOOSE: dict[str, MemoryPolicy] = {
    "gated": Gated(min_object_score=0.0, min_iou=0.564),
    "distractor_aware": DistractorAware(
        interval=3, min_iou=0.0, max_area_change=9.0, max_agreement_iou=1.0, anchor_interval=1
    ),
    "samurai": Samurai(motion_weight=0.9, stable_frames=2, min_stable_iou=0.0, min_iou=0.564),
}


# ---- with a small model --------------------------------------------------------------------------


def shaken_model() -> Sam2VideoModel:
    """A small model with several masks of a target, and predicted IoUs around one half."""
    torch.manual_seed(3)
    config = nano_config(SIDE)
    config.mask_decoder_config.num_multimask_outputs = 3
    config.mask_decoder_config.dynamic_multimask_via_stability = True
    config.multimask_output_in_sam = True
    config.num_maskmem, config.max_object_pointers_in_encoder = 4, 6  # so that frames are removed early
    model = build_model(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    return model


@pytest.fixture(scope="module")
def head() -> MaskHead:
    torch.set_num_threads(1)
    return MaskHead(shaken_model(), build_processor(nano_config(SIDE)))


@pytest.fixture(scope="module")
def features(head: MaskHead) -> list[Any]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 120, (14, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for time, picture in enumerate(pictures):
        picture[12 + time % 20 : 36 + time % 20, 20 + time % 30 : 50 + time % 30] += 130
    return [head.encode(picture) for picture in pictures]


@pytest.fixture(params=LOOSE)
def policy(request: pytest.FixtureRequest, head: MaskHead) -> Iterator[MemoryPolicy]:
    """The mask head has this policy in the test."""
    head.memory_policy = LOOSE[request.param]
    yield head.memory_policy
    head.memory_policy = Plain()


def run(head: MaskHead, features: list[Any], boxes: list[Any]) -> list[list[MaskResult]]:
    """The results of every frame and target, the boxes on the first frame."""
    results = [head.segment(features[0], boxes, [None] * len(boxes))]
    for each in features[1:]:
        results.append(head.propagate([result.memory for result in results[-1]], each))
    return results


def check_same(one: MaskResult, two: MaskResult, absolute: float) -> None:
    assert np.array_equal(one.mask, two.mask)
    assert one.object_score == pytest.approx(two.object_score, abs=absolute)
    assert one.iou == pytest.approx(two.iou, abs=absolute)
    assert [time for time, _ in one.memory.recent_frames] == [time for time, _ in two.memory.recent_frames]


def test_every_kind_of_decision_is_made(head: MaskHead, features: list[Any], policy: MemoryPolicy) -> None:
    """What the tests below compare is not what a plain memory gives."""
    results = [result for (result,) in run(head, features, [BOX])]
    banks = [result.memory for result in results]
    steps = {(after.clock - before.clock) for before, after in itertools.pairwise(banks)}
    assert steps == {0, 1}, "some frames are kept and some are not"
    anchors = len(banks[-1].conditioning_frames) - 1
    assert anchors == (3 if isinstance(policy, DistractorAware) else 0)
    head.memory_policy = Plain()
    plain = [result for (result,) in run(head, features, [BOX])]
    assert any(one.object_score != two.object_score for one, two in zip(results, plain, strict=True))


def test_targets_together_have_what_each_has_alone(
    head: MaskHead, features: list[Any], policy: MemoryPolicy
) -> None:
    del policy
    together = run(head, features[:6], [BOX, OTHER_BOX])
    for number, box in enumerate((BOX, OTHER_BOX)):
        for both, (alone,) in zip(together, run(head, features[:6], [box]), strict=True):
            check_same(both[number], alone, absolute=1e-4)


def test_what_is_removed_changes_no_bit(
    head: MaskHead, features: list[Any], policy: MemoryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    del policy
    monkeypatch.setattr(sam2_forward, "CPU_OPERATION_DEVICES", ())
    pruned = run(head, features, [BOX])
    monkeypatch.setattr(MemoryLimits, "of", lambda config: MemoryLimits(1000, 1000))
    for (one,), (two,) in zip(pruned, run(head, features, [BOX]), strict=True):
        assert np.array_equal(one.mask, two.mask)
        assert (one.object_score, one.iou) == (two.object_score, two.iou)


def test_a_memory_is_a_value(head: MaskHead, features: list[Any], policy: MemoryPolicy) -> None:
    del policy
    results = [result for (result,) in run(head, features[:8], [BOX])]
    before = [(bank.clock, bank.policy_state, bank.recent_frames) for bank in (r.memory for r in results)]
    for time in (2, 5, 6):
        (again,) = head.propagate([results[time].memory], features[time + 1])
        check_same(again, results[time + 1], absolute=0.0)
    assert before == [
        (bank.clock, bank.policy_state, bank.recent_frames) for bank in (r.memory for r in results)
    ]


def test_without_a_threshold_a_gated_memory_is_plain(head: MaskHead, features: list[Any]) -> None:
    plain = run(head, features[:6], [BOX])
    head.memory_policy = Gated(min_object_score=0.0, min_iou=0.0)
    gated = run(head, features[:6], [BOX])
    head.memory_policy = Plain()
    for (one,), (two,) in zip(plain, gated, strict=True):
        check_same(one, two, absolute=0.0)


@dataclasses.dataclass(frozen=True)
class Always(MemoryPolicy):
    """Chooses the mask with this index."""

    index: int
    chooses_masks: ClassVar[bool] = True

    def decide(self, state: Any, candidates: Candidates) -> Decision:
        del state, candidates
        return Decision(Write.RECENT, chosen=self.index)


@torch.inference_mode()
def test_the_chosen_mask_is_the_result_and_is_remembered(head: MaskHead, features: list[Any]) -> None:
    (started,) = head.segment(features[0], [BOX], [None])
    coarse = head.memory_attention(features[1].vision, [started.memory])
    decoded = head.mask_decoder(features[1].vision, coarse, None)
    other = (int(decoded.ious.argmax()) + 1) % 3
    (plain,) = head.propagate([started.memory], features[1])
    head.memory_policy = Always(other)
    (chosen,) = head.propagate([started.memory], features[1])
    head.memory_policy = Plain()
    assert chosen.iou == pytest.approx(decoded.ious[0, other].item())
    assert not np.array_equal(chosen.mask, plain.mask)
    memories = [dict(result.memory.recent_frames)[1] for result in (plain, chosen)]
    assert not torch.equal(memories[0].pointer, memories[1].pointer)
    assert not torch.equal(memories[0].features, memories[1].features)


# ---- decisions -----------------------------------------------------------------------------------


def candidates(
    *masks: tuple[slice, slice], ious: tuple[float, ...] = (0.9, 0.6, 0.5), score: float = 0.9
) -> Candidates:
    """Masks of 40×40 pixels with these rows and columns set."""
    found = np.zeros((len(masks), 40, 40), bool)
    for mask, place in zip(found, masks, strict=True):
        mask[place] = True
    return Candidates(score > 0.5, score, np.array(ious[: len(masks)]), found)


def square(left: int, top: int = 10, side: int = 8) -> tuple[slice, slice]:
    return slice(top, top + side), slice(left, left + side)


ALONE = candidates(square(10), square(10), square(10))
BESIDE = candidates(square(10), square(26), square(10))  # one alternative is a look-alike
ABSENT = candidates(square(10), square(26), square(10), score=0.1)


def decisions(policy: MemoryPolicy, frames: list[Candidates]) -> list[Decision]:
    found: list[Decision] = []
    for frame in frames:
        found.append(policy.decide(found[-1].state if found else None, frame))
    return found


def writes(policy: MemoryPolicy, frames: list[Candidates]) -> str:
    """The first letters of what is written: Recent, rePlace, Anchor, Nothing."""
    letters = {Write.RECENT: "R", Write.REPLACE: "P", Write.ANCHOR: "A", Write.NOTHING: "N"}
    return "".join(letters[each.write] for each in decisions(policy, frames))


def test_a_gated_memory_needs_a_present_target_and_a_good_mask() -> None:
    poor = candidates(square(10), ious=(0.4,))
    unsure = candidates(square(10), score=0.6)
    assert writes(Gated(), [ALONE, ABSENT, poor, unsure]) == "RNNR"
    assert writes(Gated(min_object_score=0.7, min_iou=0.3), [ALONE, ABSENT, poor, unsure]) == "RNRN"


def test_a_recent_frame_of_a_few_stays() -> None:
    """Every fifth frame stays; the newest one takes the place of one that does not."""
    assert writes(DistractorAware(), [ALONE] * 12) == "RPPPPRPPPPRP"
    # Absent frames are not written, and the frame after them stays where the fifth is over.
    assert writes(DistractorAware(), [ALONE] * 2 + [ABSENT] * 4 + [ALONE] * 3) == "RPNNNNPRP"


def test_an_anchor_is_a_reliable_frame_with_a_look_alike() -> None:
    policy = DistractorAware()
    assert writes(policy, [ALONE, BESIDE, ALONE]) == "RAP"
    assert writes(policy, [BESIDE, BESIDE]) == "RA", "the first frame has no usual area"
    unsure = dataclasses.replace(BESIDE, ious=np.array([0.8, 0.7, 0.6]))
    assert writes(policy, [ALONE, unsure]) == "RP"
    grown = candidates(square(10, side=14), square(26), square(10))
    assert writes(policy, [ALONE] * 3 + [grown]) == "RPPP"
    overlapping = candidates(square(10), square(12), square(10))
    assert writes(policy, [ALONE, overlapping]) == "RP", "the box around both is hardly larger"
    assert writes(DistractorAware(max_agreement_iou=0.85), [ALONE, overlapping]) == "RA"


def test_anchors_keep_their_distance() -> None:
    assert writes(DistractorAware(interval=1), [BESIDE] * 15) == "RA" + "RRRRRA" * 2 + "R"
    assert writes(DistractorAware(interval=1, anchor_interval=1), [BESIDE] * 6) == "RARARA"


def test_only_the_largest_part_of_an_alternative_competes() -> None:
    """A few pixels far away are no look-alike."""
    assert ALONE.masks is not None
    masks = ALONE.masks.copy()
    masks[1, 10:18, 10:20] = True  # the target and a little more
    masks[1, 38, 38] = True
    assert writes(DistractorAware(), [ALONE, dataclasses.replace(ALONE, masks=masks)]) == "RP"


def moving(time: int, speed: int = 1) -> tuple[slice, slice]:
    return square(2 + speed * time)


def test_the_mask_is_where_the_target_is_expected() -> None:
    """A look-alike with a slightly higher predicted IoU does not win once the motion is known."""
    frames = [candidates(moving(time), square(2, 28), ious=(0.8, 0.6)) for time in range(20)]
    lured = candidates(moving(20), square(2, 28), ious=(0.8, 0.85))
    assert decisions(Samurai(), [*frames, lured])[-1].chosen == 0
    assert decisions(Samurai(motion_weight=0.0), [*frames, lured])[-1].chosen == 1
    assert decisions(Samurai(), [*frames[:10], lured])[-1].chosen == 1, "followed for 10 frames only"
    sure = candidates(moving(20), square(2, 28), ious=(0.5, 0.95))
    assert decisions(Samurai(), [*frames, sure])[-1].chosen == 1


def test_a_target_that_is_no_longer_followed_starts_anew() -> None:
    frames = [candidates(moving(time), ious=(0.8,)) for time in range(5)]
    states = [each.state for each in decisions(Samurai(), [*frames, candidates(moving(5), ious=(0.2,))])]
    assert [state.stable_frames for state in states] == [1, 2, 3, 4, 5, 0]
    # Without a mask the filter goes on.
    absent = dataclasses.replace(frames[0], is_present=False, object_score=0.1)
    kept, gone = (each.state for each in decisions(Samurai(), [*frames, absent])[-2:])
    assert gone.stable_frames == kept.stable_frames
    assert gone.filter.box_xyxy == kept.filter.predicted().box_xyxy


def test_a_frame_with_a_low_score_is_only_the_newest() -> None:
    good, poor = (candidates(square(10), ious=(value,)) for value in (0.8, 0.4))
    doubted = candidates(square(10), ious=(0.8,), score=0.3)
    assert writes(Samurai(), [good, poor, poor, doubted, good, good]) == "RRPPPR"
    far = candidates(square(30, 30), ious=(0.8,))
    frames = [good] * 16 + [far, good]
    assert writes(Samurai(), frames)[-2:] == "RP", "far from the predicted box"


def test_the_filter_is_kalmans() -> None:
    """The textbook's form with H and an inverse, and a box that moves evenly is predicted."""
    motion = BoxMotion.start((10.0, 20.0, 30.0, 60.0))
    assert motion.box_xyxy == pytest.approx((10.0, 20.0, 30.0, 60.0))
    for time in range(1, 40):
        box = (10.0 + 3 * time, 20.0 - time, 30.0 + 3 * time, 60.0 - time)
        predicted = motion.predicted()
        motion = predicted.updated(box)
        observed = np.eye(4, 8)
        noise = np.diag(np.array([h := predicted.mean[3] / 20, h, 0.1, h]) ** 2)
        spread = np.linalg.inv(observed @ predicted.covariance @ observed.T + noise)
        gain = predicted.covariance @ observed.T @ spread
        measured = np.array([20.0 + 3 * time, 40.0 - time, 0.5, 40.0])
        assert motion.mean == pytest.approx(predicted.mean + gain @ (measured - predicted.mean[:4]))
        assert motion.covariance == pytest.approx((np.eye(8) - gain @ observed) @ predicted.covariance)
    assert motion.predicted().box_xyxy == pytest.approx((130.0, -20.0, 150.0, 20.0), abs=0.5)


# ---- the memory bank -----------------------------------------------------------------------------


def frame_memory(time: int) -> FrameMemory:
    return FrameMemory(torch.full((1, 1, 4), time), MemoryMap.of(torch.full((9, 1, 2), time)))


def bank() -> MemoryBank:
    return MemoryBank.start(MemoryLimits(6, 15), torch.zeros(9, 1, 2), frame_memory(0))


def held(bank: MemoryBank) -> dict[str, list[tuple[int, int]]]:
    """Clock readings, and the frames that the memories are of."""
    return {
        name: [(time, int(each.pointer[0, 0, 0])) for time, each in getattr(bank, f"{name}_frames")]
        for name in ("conditioning", "recent")
    }


def written(bank: MemoryBank, letters: str) -> MemoryBank:
    kinds = {"R": Write.RECENT, "P": Write.REPLACE, "A": Write.ANCHOR, "N": Write.NOTHING}
    for time, letter in enumerate(letters, 1):
        bank = bank.with_decision(Decision(kinds[letter]), frame_memory(time))
    return bank


def test_kept_frames_are_consecutive_for_the_model() -> None:
    found = held(written(bank(), "RPPRNNR"))
    assert found == {"conditioning": [(0, 0)], "recent": [(1, 3), (2, 4), (3, 7)]}
    after = written(bank(), "RRNNNN")
    assert after.clock == 2, "the last frame that was written is the one before the next"


def test_an_anchor_lets_recent_frames_be_as_old_as_they_were() -> None:
    after = written(bank(), "RRA")
    assert held(after) == {"conditioning": [(0, 0), (3, 3)], "recent": [(2, 1), (3, 2)]}
    assert after.clock == 3
    many = written(bank(), "RAAAAA")
    assert [frame for _, frame in held(many)["conditioning"]] == [0, 4, 5, 6], "the first one and the newest"


def test_a_box_ends_the_state_of_a_policy() -> None:
    state = Motion(stable_frames=7)
    before = bank().with_decision(Decision(Write.RECENT, state), frame_memory(1))
    assert before.policy_state is state and before.skip_frame().policy_state is state
    assert before.with_conditioning_frame(frame_memory(2)).policy_state is None


@pytest.mark.parametrize("name", MEMORY_POLICIES)
def test_a_memory_does_not_grow_with_the_video(name: str) -> None:
    """Over 1,000 frames in which the target leaves and look-alikes come and go."""
    policy, memory = memory_policy(name, {}), bank()
    rng = np.random.default_rng(0)
    most: list[int] = []
    for time in range(1, 1001):
        frame = [ALONE, BESIDE, ABSENT][rng.choice(3, p=[0.5, 0.3, 0.2])]
        frame = dataclasses.replace(frame, ious=rng.uniform(0.3, 1.0, 3))
        decision = policy.decide(memory.policy_state, frame) if policy.decides else WRITTEN
        memory = memory.with_decision(decision, frame_memory(time))
        most.append(len(memory.conditioning_frames) + len(memory.recent_frames))
        state = memory.policy_state
        assert len(memory.maps) <= 4 + 6
        assert not isinstance(state, History) or len(state.areas) <= 10
    assert max(most) <= 4 + 15
    assert memory.conditioning_frames[0][0] == 0


# ---- settings ------------------------------------------------------------------------------------


def nano(**settings: Any) -> MaskHeadConfig:
    config: MaskHeadConfig = dataclasses.replace(MASK_HEADS["nano"], **settings)
    return config


def test_the_policy_and_its_numbers_are_part_of_the_identity() -> None:
    plain = load_mask_head(nano(crop="none"), CPU).identity()
    gated = load_mask_head(
        nano(memory="gated", memory_settings={"min_iou": 0.6}, crop="small"), CPU
    ).identity()
    numbers = {"policy": "gated", "min_object_score": 0.5, "min_iou": 0.6}
    assert gated == {**plain, "memory": numbers, "crop": "small"}
    assert "memory" not in plain, "results of earlier versions are kept"


def test_settings_come_from_the_command_line() -> None:
    with composer("infer", FOLDER) as composing:
        names = ("memory=samurai", "memory_settings.motion_weight=0.3", "memory_settings.stable_frames=4")
        (config,) = composing.jobs(read_command_line([f"mask_head.{name}" for name in names]))[1]
    settings = as_settings(config)
    assert isinstance(settings, InferSettings)
    policy = memory_policy_of(settings.mask_head)
    assert policy == Samurai(motion_weight=0.3, stable_frames=4)
    assert isinstance(policy, Samurai) and isinstance(policy.stable_frames, int)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gatd", {}, "mask_head.memory=gatd: must be one of"),
        ("gated", {"min_iuo": 0.5}, "mask_head.memory=gated does not know min_iuo.*did you mean min_iou"),
        ("plain", {"min_iou": 0.5}, "plain does not know min_iou; it has no settings"),
        ("gated", {"min_iou": 1.5}, "min_iou=1.5 must be at least 0.0 and at most 1.0"),
        ("gated", {"min_iou": float("nan")}, "min_iou=nan must be"),
        ("samurai", {"stable_frames": 1.5}, "stable_frames=1.5 must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_mask_head(nano(memory=name, memory_settings=settings))


def test_metas_code_refuses_a_policy_that_chooses_masks() -> None:
    with pytest.raises(UserError, match=r"mask_head.memory=samurai: Meta's code .* task=convert"):
        check_mask_head(Sam2MetaConfig("facebook/sam2.1-hiera-tiny", memory="samurai"))


def test_a_mask_head_without_policies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True)
    class OtherConfig(MaskHeadConfig):
        pass

    forget_later(monkeypatch, MASK_HEADS)
    register_mask_head(no_memory=OtherConfig("none"))(lambda config, device: object())  # type: ignore[arg-type, return-value]
    load_mask_head(OtherConfig("none"), CPU)
    with pytest.raises(UserError, match=r"mask_head.memory=gated: this mask head has no memory policies"):
        load_mask_head(OtherConfig("none", memory="gated"), CPU)


def test_a_policy_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_later(monkeypatch, MEMORY_POLICIES)

    @register_memory_policy("never")
    @dataclasses.dataclass(frozen=True)
    class Never(MemoryPolicy):
        def decide(self, state: Any, candidates: Candidates) -> Decision:
            del state, candidates
            return Decision(Write.NOTHING)

    found = load_mask_head(nano(memory="never", crop="none"), CPU)
    assert isinstance(found, MaskHead) and isinstance(found.memory_policy, Never)
    picture = np.zeros((60, 90, 3), np.uint8)
    (result,) = found.segment(found.encode(picture), [BOX], [None])
    assert found.propagate([result.memory], found.encode(picture))[0].memory.recent_frames == ()


def test_every_setting_is_in_the_docs() -> None:
    text = DOCS.read_text()
    for name, policy in MEMORY_POLICIES.items():
        assert f"`{name}`" in text
        for setting in dataclasses.fields(policy):
            shown = re.findall(rf"`{setting.name}` \(([\d.]+)", text)
            assert any(float(value) == setting.default for value in shown), f"{name}: {setting.name}"
            assert setting.metadata["doc"]
