"""SAM 2, EdgeTAM and the tracker of SAM 3 at published configurations against transformers' own streaming.

Image sizes, and the width and depth of SAM 3's image encoder, are reduced so that a CPU is fast enough; every
other number is the published one. Weights are random.
"""

import copy
import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    PreTrainedConfig,
    Sam2ImageProcessor,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
    Sam3ImageProcessor,
    Sam3TrackerVideoProcessor,
    Sam3VideoConfig,
    Sam3VideoModel,
)
from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel, Sam2MultiScaleAttention

from benchmarks import mask_heads
from configs.errors import UserError
from models.interfaces import MaskResult
from models.kernels.sam2 import apply_fast_kernels
from models.mask_head import memory_attention, sam2_forward
from models.mask_head.checkpoint_checks import check_mask_head_folder
from models.mask_head.checkpoints import SHARED_CODE
from models.mask_head.config import MASK_HEADS, EdgeTamConfig, MaskHeadConfig, Sam3TrackerConfig
from models.mask_head.edgetam import EdgeTam, published_edgetam_config
from models.mask_head.memory_bank import FrameMemory, MemoryBank
from models.mask_head.memory_encoder import encode_memory
from models.mask_head.memory_policies.distractor_aware import DistractorAware
from models.mask_head.memory_policies.policy import MemoryPolicy
from models.mask_head.memory_policies.samurai import Samurai
from models.mask_head.registry import check_mask_head, load_mask_head
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_model import build_model, nano_config, published_config
from models.mask_head.sam3_tracker import Sam3Tracker, published_sam3_tracker_config

CPU = torch.device("cpu")
SIZE = (90, 60)  # width, height of the frames
BOX, OTHER_BOX = (20.0, 11.0, 55.5, 40.0), (50.0, 20.0, 85.0, 55.0)
Boxes = tuple[tuple[float, float, float, float], ...]

needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None,
    reason="timm, which has EdgeTAM's image encoder, is not installed",
)


def sam2_head() -> MaskHead:
    config = published_config("sam2_1_tiny", image_size=128)
    return with_random_weights(MaskHead, config, Sam2ImageProcessor, 128)


def edgetam_head() -> MaskHead:
    config = published_edgetam_config(256)
    # The perceiver divides the map of 16×16 positions into 8×8 windows of 2×2, and makes a token of each. (As
    # published, a map of 64×64 is divided into 16×16 windows.)
    config.perceiver_resampler_num_latents_2d, config.memory_attention_rope_k_sizes = 64, [8, 8]
    return with_random_weights(EdgeTam, config, Sam2ImageProcessor, 256)


def sam3_head() -> MaskHead:
    config = published_sam3_tracker_config()
    backbone = config.vision_config.backbone_config
    # 16×16 tokens in windows of 8×8. One block attends to windows, the other to the whole image.
    backbone.hidden_size, backbone.intermediate_size, backbone.num_attention_heads = 128, 256, 2
    backbone.num_hidden_layers, backbone.global_attn_indexes, backbone.window_size = 2, [1], 8
    config.image_size = 224
    return with_random_weights(Sam3Tracker, config, Sam3ImageProcessor, 224)


def with_random_weights(kind: type[MaskHead], config: Any, processor_class: Any, side: int) -> MaskHead:
    """A mask head whose weights are shaken, so that no zero of the initialisation hides a mistake."""
    torch.manual_seed(5)
    model = kind.architecture.model_class(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(
            model.shared_image_embedding.positional_embedding
        )
        # It believes that the targets are present, so that masks are not empty.
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    mask_side = model.prompt_encoder.mask_input_size[0]
    processor = processor_class(
        size={"height": side, "width": side}, mask_size={"height": mask_side, "width": mask_side}
    )
    return kind(model, processor)


HEADS: Mapping[str, Callable[[], MaskHead]] = {
    "sam2_1_tiny": sam2_head,
    "edgetam": edgetam_head,
    "sam3_tracker": sam3_head,
}


@pytest.fixture(scope="module", params=[
    "sam2_1_tiny", pytest.param("edgetam", marks=needs_timm), "sam3_tracker",
])  # fmt: skip
def head(request: pytest.FixtureRequest) -> MaskHead:
    torch.set_num_threads(1)
    return HEADS[request.param]()


def frames(count: int) -> list[np.ndarray]:
    """A bright square that wanders over noise, uint8."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 120, (count, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for time, picture in enumerate(pictures):
        picture[12 + 2 * time : 36 + 2 * time, 20 + 3 * time : 50 + 3 * time] += 130
    return list(pictures)


@dataclass
class LibraryFrame:
    """What transformers returns for a frame: masks (N, height, width), and object scores (N,)."""

    masks: np.ndarray
    scores: list[float]


class LibrarySession:
    """Several targets tracked by transformers itself, frame by frame, in one session."""

    def __init__(self, head: MaskHead) -> None:
        self.model = head.model
        processor = Sam3TrackerVideoProcessor if isinstance(head, Sam3Tracker) else Sam2VideoProcessor
        size = dict(head.processor.size)
        self.processor = processor(head.processor, Sam2VideoVideoProcessor(size=size))
        self.session = self.processor.init_video_session(inference_device="cpu", dtype=torch.float32)

    def step(self, time: int, frame: np.ndarray, boxes: Boxes | None) -> LibraryFrame:
        """Masks and object scores of a frame. `boxes`, one for each target, make it a conditioning frame."""
        inputs = self.processor(images=frame, return_tensors="pt")
        if boxes is not None:
            self.processor.add_inputs_to_inference_session(
                self.session,
                time,
                list(range(len(boxes))),
                input_boxes=[[list(box) for box in boxes]],
                original_size=frame.shape[:2],
            )
        out = self.model(inference_session=self.session, frame=inputs["pixel_values"][0], frame_idx=time)
        masks = self.processor.post_process_masks([out.pred_masks], [list(frame.shape[:2])])[0]
        return LibraryFrame(masks[:, 0].numpy(), out.object_score_logits.flatten().sigmoid().tolist())

    def frame_memory(self, time: int, number: int) -> Mapping[str, torch.Tensor]:
        outputs = self.session.output_dict_per_obj[number]
        return {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}[time]


def newest(memory: MemoryBank) -> FrameMemory:
    return max((*memory.conditioning_frames, *memory.recent_frames), key=lambda entry: entry[0])[1]


# Two targets with a box each on frames 0 and 2. The first one is also the only target of a session of one.
BOXES: Mapping[int, Boxes] = {0: (BOX, OTHER_BOX), 2: (OTHER_BOX, BOX)}


@pytest.fixture(scope="module")
def features(head: MaskHead) -> list[Any]:
    return [head.encode(frame) for frame in frames(5)]


@pytest.fixture(scope="module")
def found(head: MaskHead, features: list[Any]) -> list[list[Any]]:
    """The results of every frame and target; the targets are propagated one by one."""
    results: list[list[Any]] = []
    for time, each in enumerate(features[:4]):
        memories = [result.memory for result in results[-1]] if results else [None, None]
        results.append(
            [
                head.segment(each, [box], [memory])[0]
                for box, memory in zip(BOXES[time], memories, strict=True)
            ]
            if time in BOXES
            else [head.propagate([memory], each)[0] for memory in memories]
        )
    return results


def test_one_target_is_that_of_the_library(head: MaskHead, found: list[list[Any]]) -> None:
    """Masks are equal, and scores and memories up to rounding.

    The library resizes all masks of a prompt before it selects one. Here the selected one alone is resized,
    and the two kernels of torch differ in the last bit.
    """
    library = LibrarySession(head)
    for time, frame in enumerate(frames(4)):
        boxes = BOXES[time][:1] if time in BOXES else None
        theirs, ours = library.step(time, frame, boxes), found[time][0]
        assert ours.mask is not None, "a comparison of empty masks would prove little"
        assert np.array_equal(theirs.masks[0], ours.mask)
        assert theirs.scores == pytest.approx([ours.object_score], abs=1e-6)
        memory, kept = library.frame_memory(time, 0), newest(ours.memory)
        assert kept.features is not None
        # Maps are in bfloat16, of which a rounded value may be the next one: 2^-8 of it.
        assert torch.allclose(
            memory["maskmem_features"].float(), kept.features.float(), rtol=2**-7, atol=1e-5
        )
        assert torch.allclose(memory["object_pointer"], kept.pointer, atol=1e-6)


def test_the_position_of_a_map_is_that_of_the_library(head: MaskHead, features: list[Any]) -> None:
    vision = features[0].vision
    with torch.inference_mode():
        image = sam2_forward.add_no_memory_embedding(head.model, vision)
        decoded = sam2_forward.decode_masks(head.model, vision, image, None)
        _, position = encode_memory(head.model, vision, decoded, had_box=True)
    assert torch.equal(head.memory_encoder.position, position)


def test_fast_kernels_change_no_bit_of_the_features(head: MaskHead, features: list[Any]) -> None:
    quick = copy.deepcopy(head)
    names = quick.model.state_dict().keys()
    apply_fast_kernels(quick.model)
    assert quick.model.state_dict().keys() == names
    # No module of these classes is left, which subclasses have replaced.
    assert not {type(each) for each in quick.model.modules()} & {Sam2MultiScaleAttention, Sam2HieraDetModel}
    tables = [
        each.build_sine_position_embedding
        for each in quick.model.modules()
        if hasattr(each, "build_sine_position_embedding")
    ]
    for picture, expected in list(zip(frames(5), features, strict=True))[:2]:  # the second from kept tables
        found = quick.encode(picture).vision
        for ours, theirs in zip(
            (*found.levels, *found.positions),
            (*expected.vision.levels, *expected.vision.positions),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
    assert tables and sum(table.cache_info().hits for table in tables) > 0, (
        "the second frame uses kept tables"
    )


def test_fast_kernels_notice_that_weights_are_loaded_again() -> None:
    first, second = (build_model(nano_config(64)) for _ in range(2))
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = sam2_forward.encode_images(second, pixels).levels
    apply_fast_kernels(first)
    with torch.inference_mode():
        sam2_forward.encode_images(first, pixels)
    first.load_state_dict(second.state_dict())
    with torch.inference_mode():
        found = sam2_forward.encode_images(first, pixels).levels
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_two_targets_are_those_of_a_session_of_two(head: MaskHead, found: list[list[Any]]) -> None:
    """The library encodes the memories of both targets in one batch, whose sums may round differently."""
    library = LibrarySession(head)
    for time, frame in enumerate(frames(4)):
        theirs = library.step(time, frame, BOXES.get(time))
        assert theirs.scores == pytest.approx([result.object_score for result in found[time]], abs=1e-5)
        for mask, result in zip(theirs.masks, found[time], strict=True):
            assert result.mask is not None and (mask != result.mask).mean() < 1e-3


def test_a_memory_is_a_value(head: MaskHead, features: list[Any], found: list[list[Any]]) -> None:
    memory = found[0][0].memory
    head.segment(features[1], [OTHER_BOX], [memory])
    (again,) = head.propagate([memory], features[1])
    assert again.object_score == found[1][0].object_score
    assert np.array_equal(again.mask, found[1][0].mask)
    assert memory.clock == 0 and memory.recent_frames == ()


# ---- targets together ----------------------------------------------------------------------------

# The frame at which each of seven targets begins. The first one gets a further box at frame 3. The second and
# the fourth one are not propagated at frame 2: the clock of the second goes on, the other one stands still.
STARTS = (0, 0, 1, 1, 0, 3, 2)
NOT_PROPAGATED = ((1, 2), (3, 2))


def boxes_from(box: tuple[float, ...], right: float, down: float) -> list[tuple[float, float, float, float]]:
    """A box for each target: each is that of the target before, moved by so many pixels."""
    shifts = [(number * right, number * down) for number in range(len(STARTS))]
    return [(box[0] + x, box[1] + y, box[2] + x, box[3] + y) for x, y in shifts]


def track(
    head: MaskHead, features: list[Any], numbers: Sequence[int], boxes: Sequence[tuple[float, ...]]
) -> dict[tuple[int, int], MaskResult]:
    """The results of the targets of these numbers, by number and frame, all targets of a frame together."""
    memories: dict[int, MemoryBank] = {}
    results: dict[tuple[int, int], MaskResult] = {}
    for time, each in enumerate(features):
        boxed = [number for number in numbers if STARTS[number] == time or (number, time) == (0, 3)]
        propagated = [
            number for number in memories if number not in boxed and (number, time) not in NOT_PROPAGATED
        ]
        found = []
        if boxed:
            chosen = [boxes[number] for number in boxed]
            found += head.segment(each, chosen, [memories.get(number) for number in boxed])
        if propagated:
            found += head.propagate([memories[number] for number in propagated], each)
        if time == 2 and 1 in memories:
            memories[1] = memories[1].skip_frame()
        for number, result in zip([*boxed, *propagated], found, strict=True):
            memories[number], results[number, time] = result.memory, result
    return results


def check_together(
    head: MaskHead, features: list[Any], sets: Sequence[Sequence[int]], boxes: Sequence[tuple[float, ...]]
) -> dict[tuple[int, int], MaskResult]:
    """The targets of each set have together the masks that each has alone. Returns those of the last set."""
    alone: dict[tuple[int, int], MaskResult] = {}
    for number in sets[-1]:
        alone |= track(head, features, [number], boxes)
    for numbers in sets:
        together = track(head, features, numbers, boxes)
        assert together.keys() == {key for key in alone if key[0] in numbers}
        for key, result in together.items():
            expected = alone[key]
            assert np.array_equal(result.mask, expected.mask), key
            assert result.object_score == pytest.approx(expected.object_score, abs=1e-5), key
            assert result.iou == pytest.approx(expected.iou, abs=1e-5), key
            pointers = (newest(each.memory).pointer for each in (result, expected))
            assert torch.allclose(*pointers, atol=1e-5), key
    return together


def divide_as_on(device: str, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Divide targets into batches of memory attention as on a device; the sizes of batches are collected.

    On a CPU, targets of SAM 2 and SAM 3 are not divided into batches.
    """
    if device != "cpu":
        monkeypatch.setattr(sam2_forward, "CPU_OPERATION_DEVICES", ())
    groups, sizes = memory_attention._groups, set()

    def groups_on(shapes: Sequence[tuple[int, ...]], _: torch.device) -> list[list[int]]:
        found = groups(shapes, torch.device(device))
        sizes.update(map(len, found))
        return found

    monkeypatch.setattr(memory_attention, "_groups", groups_on)
    return sizes


def test_targets_of_different_ages_have_the_masks_that_they_have_alone(
    head: MaskHead, features: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = divide_as_on("cuda", monkeypatch)
    results = check_together(head, features, [(0, 1, 3)], boxes_from(BOX, 3, 1))
    assert sizes == {1, 2} and all(result.mask is not None for result in results.values())
    pointers = [newest(result.memory).pointer for (_, time), result in results.items() if time == 4]
    assert not any(torch.allclose(*pair, atol=5e-5) for pair in combinations(pointers, 2)), "they must differ"


@pytest.mark.parametrize(
    "policy",
    [
        DistractorAware(interval=2, min_iou=0.0, max_area_change=9.0, max_agreement_iou=1.0),
        Samurai(motion_weight=0.9, stable_frames=1, min_stable_iou=0.0, min_iou=0.9),
    ],
    ids=lambda policy: policy.name,
)
def test_a_memory_policy_decides_of_each_target_alone(
    head: MaskHead, features: list[Any], policy: MemoryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "memory_policy", policy)
    results = check_together(head, features[:4], [(0, 4)], boxes_from(BOX, 3, 1))
    if isinstance(policy, DistractorAware):
        assert len(results[4, 3].memory.conditioning_frames) == 2, "a propagated frame is an anchor"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_targets_of_which_some_are_absent_have_the_masks_that_they_have_alone(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shipped weights, on frames from which the squares of some targets vanish.

    The computation is on the CPU. `device` is that for which the targets are divided into batches.
    """
    sizes = divide_as_on(device, monkeypatch)
    head = MaskHead.load(str(Path(__file__).parents[1] / "models" / "weights" / "nano_mask_head"), CPU)
    picture = np.random.default_rng(0).integers(0, 120, (180, 320, 3), dtype=np.uint8)
    boxes = boxes_from((10, 18, 45, 40), right=40, down=18)
    features = []
    for time in range(5):
        shown = picture.copy()
        for number, (left, top, right, bottom) in enumerate(boxes):
            if number not in (0, 2) or time != 3:
                shown[int(top) : int(bottom), int(left) + time : int(right) + time] += 130
        features.append(head.encode(shown))
    results = check_together(head, features, [(5, 2, 0), range(7)], boxes)
    absent = {key for key, result in results.items() if result.mask is None}
    assert (0, 3) in absent and not {(0, 2), (0, 4)} & absent, "the first one is absent for one frame"
    assert 0 < len(absent) < len(results) / 2
    assert sizes == {"cpu": set(), "cuda": {1, 2, 3}}[device]


# ---- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sam2", pytest.param("edgetam", marks=needs_timm), "sam3_tracker"])
def stored(request: pytest.FixtureRequest) -> MaskHead:
    """A mask head of each kind that is saved; SAM 2 is the small one."""
    if request.param == "sam2":
        return with_random_weights(MaskHead, nano_config(64), Sam2ImageProcessor, 64)
    return HEADS[request.param]()


@pytest.fixture(scope="module")
def folder(stored: MaskHead, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mask_head"
    stored.model.save_pretrained(path)
    stored.processor.save_pretrained(path)
    return path


def settings_of(stored: MaskHead, checkpoint: Path) -> MaskHeadConfig:
    kinds = {MaskHead: MaskHeadConfig, EdgeTam: EdgeTamConfig, Sam3Tracker: Sam3TrackerConfig}
    return kinds[type(stored)](str(checkpoint))


def test_a_saved_mask_head_loads_through_its_option(stored: MaskHead, folder: Path) -> None:
    config = settings_of(stored, folder)
    check_mask_head(config)
    loaded = load_mask_head(config, CPU)
    assert type(loaded) is type(stored)
    saved, read = stored.model.state_dict(), loaded.model.state_dict()
    assert saved.keys() == read.keys() and all(torch.equal(saved[name], read[name]) for name in saved)
    assert loaded.identity()["dtype"] == "torch.float32" and len(loaded.identity()["checkpoint"]) == 16


def test_weights_of_one_position_code_get_the_other(stored: MaskHead, folder: Path, tmp_path: Path) -> None:
    """Transformers 4.57 saves the tied matrix once."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    # A tracker of SAM 3 is saved with a prefix, as in the checkpoint of the whole model.
    code = weights.pop(next(name for name in weights if name.endswith(SHARED_CODE)))
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    loaded = type(stored).load(str(copy), CPU)
    assert torch.equal(loaded.model.prompt_encoder.shared_embedding.positional_embedding, code)


def test_another_type_of_model_is_refused_and_its_option_named(stored: MaskHead, folder: Path) -> None:
    for other in (MaskHeadConfig, EdgeTamConfig, Sam3TrackerConfig):
        config = other(str(folder))
        if type(config) is type(settings_of(stored, folder)):
            continue
        with pytest.raises(
            UserError, match=r"mask_head.checkpoint=.*holds a '\w+' model.*take mask_head="
        ) as one:
            check_mask_head(config)
        named = str(one.value).split("take mask_head=")[1].split()[0]
        assert type(MASK_HEADS[named]) is type(settings_of(stored, folder)) and "\n" not in str(one.value)


def test_half_precision_runs(stored: MaskHead, folder: Path) -> None:
    half = type(stored).load(str(folder), CPU, torch.bfloat16)
    assert half.identity()["dtype"] == "torch.bfloat16" and half.model.no_memory_embedding.dtype == half.dtype
    scores = []
    for head in (stored, half):
        features = head.encode(frames(1)[0])
        (first,) = head.segment(features, [BOX], [None])
        scores.append(head.propagate([first.memory], features)[0].object_score)
    assert scores[0] != scores[1] == pytest.approx(scores[0], abs=0.02)


# ---- one checkpoint of a whole SAM 3 -------------------------------------------------------------


def test_the_tracker_is_read_from_a_whole_sam3(tmp_path: Path) -> None:
    """facebook/sam3 holds detector and tracker, whose image encoder is stored with the detector."""
    tracker = sam3_head()
    vision = tracker.model.config.vision_config.to_dict()
    one_layer = {"num_layers": 1, "intermediate_size": 64}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 16,
            "vocab_size": 99,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "model_type": "clip_text_model",
        },
        "geometry_encoder_config": one_layer,
        "detr_encoder_config": one_layer,
        "detr_decoder_config": one_layer,
    }
    torch.manual_seed(0)
    whole = Sam3VideoModel(
        Sam3VideoConfig(detector_config=detector, tracker_config=tracker.model.config.to_dict())
    )
    whole.save_pretrained(tmp_path)
    tracker.processor.save_pretrained(tmp_path)
    config = Sam3TrackerConfig(str(tmp_path))
    check_mask_head(config)
    loaded = load_mask_head(config, CPU)
    weights = dict(loaded.model.named_parameters())
    for name, weight in whole.tracker_model.named_parameters():
        assert torch.equal(weights[name], weight), name
    for name, weight in whole.detector_model.vision_encoder.backbone.named_parameters():
        assert torch.equal(weights[f"vision_encoder.backbone.{name}"], weight), name
    for name, weight in whole.tracker_neck.named_parameters():
        assert torch.equal(weights[f"vision_encoder.neck.{name}"], weight), name
    assert loaded.segment(loaded.encode(frames(1)[0]), [BOX], [None])[0].iou > 0


# ---- timm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "hf-hub:somebody/model"}, "is timm's 'hf-hub:somebody/model'"),
        ({"architecture": "repvit_m1/../../x"}, r"only repvit_\* is built"),
        ({"model_args": {"checkpoint_path": "/x.pth"}}, "passes checkpoint_path to timm"),
        ({"model_type": None, "model_args": {"checkpoint_path": "/x.pth"}}, "passes checkpoint_path to timm"),
        ({"model_type": "timm_backbone"}, "a part of type 'timm_backbone', which is not built"),
    ],
)
@pytest.mark.parametrize("model_type", ["edgetam_video", "sam2_video", "sam3_tracker_video"])
def test_timm_reads_no_files_that_a_checkpoint_names(
    changes: dict[str, Any], message: str, model_type: str, tmp_path: Path
) -> None:
    """Of any mask head: transformers builds a part of whatever type the settings name."""
    backbone = {"model_type": "timm_wrapper", "architecture": "repvit_m1", "model_args": {"in_chans": 3}}
    settings = {"model_type": model_type, "vision_config": {"backbone_config": backbone}}
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")

    def check() -> None:
        (tmp_path / "config.json").write_text(json.dumps(settings))
        check_mask_head_folder(str(tmp_path), (model_type,))

    check()
    backbone.update(changes)
    with pytest.raises(UserError, match=message):
        check()


def test_the_settings_of_a_hub_id_are_checked_before_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"model_type": "sam2_video", "vision_config": {"model_type": "timm_backbone"}}
    monkeypatch.setattr(PreTrainedConfig, "get_config_dict", lambda *_: (settings, {}))
    with pytest.raises(UserError, match=r"owner/name: its config\.json has a part of type 'timm_backbone'"):
        MaskHead.load("owner/name", CPU)


def test_edgetam_without_timm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.mask_head.checkpoint_checks.find_spec", lambda _name: None)
    for run in (lambda: check_mask_head(MASK_HEADS["edgetam"]), lambda: EdgeTam.load("a/b", CPU)):
        with pytest.raises(UserError, match="mask_head=edgetam: its image encoder needs timm"):
            run()


def test_the_benchmark_compares_targets_together_with_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--shape", "nano", "--image-size", "64", "--device", "cpu"]
    assert mask_heads.main([*shape, "--targets", "1,3", "--frames", "1"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    times = report["shapes"]["nano"]
    assert all(
        times[part] > 0 for part in ("encode", "segment", "propagate 1", "propagate 3", "one by one 3")
    )
    assert report["ours"] == pytest.approx(times["encode"] + times["propagate 3"], abs=0.01)
    assert report["theirs"] == pytest.approx(times["encode"] + times["one by one 3"], abs=0.01)
    assert report["ratio"] == pytest.approx(report["theirs"] / report["ours"], abs=0.01)
    one = times["encode"] + times["propagate 1"]
    assert report["cost_ratio"] == pytest.approx(report["ours"] / one, abs=0.01)


def test_the_benchmark_knows_the_published_sizes_by_short_names() -> None:
    assert mask_heads.parse(["--shape", "large", "edgetam"]).shape == ["sam2_1_large", "edgetam"]
    assert mask_heads.parse(["--targets", "1,4"]).targets == [1, 4]
    assert mask_heads.parse(["--frame-size", "640x360"]).frame_size == (640, 360)


def test_the_run_on_a_gpu_names_shapes_of_the_benchmark() -> None:
    script = (Path(mask_heads.__file__).parent / "gpu.sh").read_text()
    shapes = re.findall(r"\bhead=(\w+)", script)
    assert len(shapes) == 2
    for shape in shapes:
        assert mask_heads.parse(["--shape", shape]).shape == [shape]
