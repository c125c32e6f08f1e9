"""The mask head against transformers' own streaming, its memory as a value, and its checkpoints."""

import dataclasses
import json
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import Sam2VideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

from configs.errors import UserError
from models.interfaces import MaskResult
from models.mask_head import sam2, sam2_forward, target_attention
from models.mask_head.config import MASK_HEADS
from models.mask_head.memory_bank import FrameMemory, MemoryBank, MemoryLimits
from models.mask_head.memory_encoder import MapSource, MemoryEncoder
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_model import (
    PUBLISHED,
    build_model,
    build_processor,
    nano_config,
    published_config,
    save_sam2,
)

SIDE = 64
SIZE = (90, 60)  # width, height of the frames
BOX = (20.0, 11.0, 55.5, 40.0)
OTHER_BOX = (50.0, 20.0, 85.0, 55.0)


def make_model(score_bias: float = 3.0, masks: int = 0) -> Sam2VideoModel:
    """A small model with all weights shaken, so that no learned zero hides a mistake.

    `score_bias` makes it believe the target present (or absent); with `masks` it has SAM 2's
    several masks a prompt and picks among them.
    """
    torch.manual_seed(3)
    config = nano_config(SIDE)
    config.mask_decoder_config.num_multimask_outputs = masks
    config.mask_decoder_config.dynamic_multimask_via_stability = masks > 0
    config.multimask_output_in_sam = masks > 0
    return shaken(build_model(config), score_bias)


def shaken(model: Sam2VideoModel, score_bias: float) -> Sam2VideoModel:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(score_bias)
    return model


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def head() -> MaskHead:
    model = make_model()
    return MaskHead(model, build_processor(nano_config(SIDE)))


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """A bright square that wanders over noise, uint8."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 120, (count, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for time, picture in enumerate(pictures):
        picture[12 + time % 20 : 36 + time % 20, 20 + time % 30 : 50 + time % 30] += 130
    return list(pictures)


class LibraryTrack:
    """One target tracked by transformers itself, frame by frame, nothing ever dropped."""

    def __init__(self, head: MaskHead) -> None:
        size = {"height": SIDE, "width": SIDE}
        self.model = head.model
        self.processor = Sam2VideoProcessor(
            image_processor=head.processor, video_processor=Sam2VideoVideoProcessor(size=size)
        )
        self.session = self.processor.init_video_session(inference_device="cpu", dtype=torch.float32)

    def step(self, time: int, frame: np.ndarray, box: tuple[float, ...] | None) -> tuple[np.ndarray, float]:
        """The mask and the object score of one frame, with or without a box."""
        inputs = self.processor(images=frame, return_tensors="pt")
        if box is not None:
            self.processor.add_inputs_to_inference_session(
                self.session,
                time,
                1,
                input_boxes=[[list(box)]],
                original_size=inputs["original_sizes"][0],
            )
        pixels = inputs["pixel_values"][0]
        out = self.model(inference_session=self.session, frame=pixels, frame_idx=time)
        masks = self.processor.post_process_masks([out.pred_masks], [list(frame.shape[:2])])
        return masks[0][0, 0].numpy(), float(out.object_score_logits.sigmoid())

    def frame_memory(self, time: int) -> dict[str, torch.Tensor]:
        """What the library remembers of a frame."""
        outputs = self.session.output_dict_per_obj[0]
        return {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}[time]


def newest(memory: MemoryBank) -> FrameMemory:
    return max((*memory.conditioning_frames, *memory.recent_frames), key=lambda entry: entry[0])[1]


@pytest.fixture
def library_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the operations of the library, as on a GPU."""
    monkeypatch.setattr(sam2_forward, "CPU_OPERATION_DEVICES", ())


def check_against_library(
    head: MaskHead, boxes: dict[int, tuple[float, float, float, float]], count: int, is_exact: bool = True
) -> None:
    """Track with boxes at the given frames; everything must be equal to the last bit.

    Otherwise masks must be equal, and numbers up to rounding. The maps are in bfloat16, of which a rounded
    value may be the next one: 2^-8 of it.
    """
    absolute = 0.0 if is_exact else 1e-5
    library, memory = LibraryTrack(head), None
    for time, frame in enumerate(frames(count)):
        mask, score = library.step(time, frame, boxes.get(time))
        features = head.encode(frame)
        if time in boxes:
            (result,) = head.segment(features, [boxes[time]], [memory])
        else:
            assert memory is not None
            (result,) = head.propagate([memory], features)
        memory = result.memory
        theirs, ours = library.frame_memory(time), newest(memory)
        assert ours.features is not None
        step = 0.0 if is_exact else 2**-7
        maps = theirs["maskmem_features"].float(), ours.features.float()
        assert torch.allclose(*maps, rtol=step, atol=absolute), f"memory map of frame {time}"
        pointers = theirs["object_pointer"], ours.pointer
        assert torch.allclose(*pointers, rtol=0, atol=absolute), f"object pointer of frame {time}"
        assert abs(result.object_score - score) <= absolute
        assert np.array_equal(mask, np.zeros_like(mask) if result.mask is None else result.mask)


@pytest.mark.usefixtures("library_kernels")
def test_streaming_is_transformers_own_although_old_frames_are_dropped(head: MaskHead) -> None:
    check_against_library(head, {0: BOX}, 28)


@pytest.mark.usefixtures("library_kernels")
def test_streaming_is_transformers_own_with_a_second_box_on_the_way(head: MaskHead) -> None:
    check_against_library(head, {0: BOX, 4: OTHER_BOX, 9: BOX}, 14)


def several_masks() -> MaskHead:
    several = MaskHead(make_model(masks=3), build_processor(nano_config(SIDE)))
    assert several.model.mask_decoder.num_mask_tokens == 4
    return several


@pytest.mark.usefixtures("library_kernels")
def test_streaming_is_transformers_own_where_it_chooses_among_masks() -> None:
    check_against_library(several_masks(), {0: BOX}, 10)


@pytest.mark.usefixtures("library_kernels")
def test_streaming_is_transformers_own_while_the_target_is_absent() -> None:
    blind = MaskHead(make_model(score_bias=-3.0), build_processor(nano_config(SIDE)))
    check_against_library(blind, {0: BOX}, 4)


def test_fewer_operations_change_no_mask(head: MaskHead) -> None:
    check_against_library(head, {0: BOX, 4: OTHER_BOX, 9: BOX}, 28, is_exact=False)


def test_fewer_operations_change_no_mask_where_one_of_several_is_chosen() -> None:
    # In this model a map that is rounded to the next bfloat16 changes later frames by more than 1e-5.
    check_against_library(several_masks(), {0: BOX, 2: OTHER_BOX}, 5, is_exact=False)


def test_fewer_operations_change_no_mask_of_absent_targets_or_with_several_heads() -> None:
    config = nano_config(SIDE)
    config.memory_attention_num_attention_heads = 2
    config.memory_attention_num_layers = 3
    model = shaken(build_model(config), score_bias=-3.0)
    check_against_library(MaskHead(model, build_processor(config)), {0: BOX}, 4, is_exact=False)


def run(
    head: MaskHead, pictures: list[np.ndarray], box: tuple[float, float, float, float]
) -> list[MaskResult]:
    """Results of every frame, the box on the first."""
    results = head.segment(head.encode(pictures[0]), [box], [None])
    for picture in pictures[1:]:
        results += head.propagate([results[-1].memory], head.encode(picture))
    return results


def same(first: MaskResult, second: MaskResult) -> bool:
    """Equal to the last bit, in result and in memory."""
    one, two = newest(first.memory), newest(second.memory)
    assert one.features is not None and two.features is not None
    return (
        np.array_equal(first.mask, second.mask)
        and (first.object_score, first.iou) == (second.object_score, second.iou)
        and torch.equal(one.features, two.features)
        and torch.equal(one.pointer, two.pointer)
    )


def test_only_what_can_still_be_read_is_kept(head: MaskHead, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = run(head, frames(28), BOX)
    monkeypatch.setattr(MemoryLimits, "of", lambda config: MemoryLimits(1000, 1000))
    whole = run(head, frames(28), BOX)
    assert len(whole[-1].memory.recent_frames) == 27
    assert all(same(one, two) for one, two in zip(pruned, whole, strict=True))


def test_one_frame_less_would_be_too_little(head: MaskHead, monkeypatch: pytest.MonkeyPatch) -> None:
    right = run(head, frames(20), BOX)
    for limits in (MemoryLimits(6, 14), MemoryLimits(5, 15)):
        monkeypatch.setattr(MemoryLimits, "of", lambda config, limits=limits: limits)
        if limits.spatial == 5:
            with pytest.raises(AttributeError):  # the library reads a map that was dropped
                run(head, frames(20), BOX)
        else:
            short = run(head, frames(20), BOX)
            assert not all(same(one, two) for one, two in zip(right, short, strict=True))


def tensors(memory: MemoryBank) -> list[torch.Tensor]:
    frame_memories = [
        frame_memory for _, frame_memory in (*memory.conditioning_frames, *memory.recent_frames)
    ]
    parts = [memory.position, *(frame_memory.pointer for frame_memory in frame_memories)]
    return parts + [
        frame_memory.features for frame_memory in frame_memories if frame_memory.features is not None
    ]


def test_a_memory_does_not_grow_with_the_video(head: MaskHead) -> None:
    def held(memory: MemoryBank) -> int:
        storages = {part.untyped_storage().data_ptr(): part.untyped_storage() for part in tensors(memory)}
        return sum(storage.nbytes() for storage in storages.values())

    results = run(head, frames(60), BOX)
    assert held(results[59].memory) == held(results[20].memory) == held(results[40].memory)
    assert held(results[20].memory) > held(results[2].memory)


def test_many_boxes_do_not_grow_a_memory_and_the_first_stays(head: MaskHead) -> None:
    pictures = frames(9)
    memory = head.segment(head.encode(pictures[0]), [BOX], [None])[0].memory
    for picture in pictures[1:]:
        memory = head.segment(head.encode(picture), [OTHER_BOX], [memory])[0].memory
    assert [time for time, _ in memory.conditioning_frames] == [0, 6, 7, 8]


def pending(memory: MemoryBank) -> list[int]:
    """The clock readings of the frames whose maps are not encoded."""
    frame_memories = (*memory.conditioning_frames, *memory.recent_frames)
    return [time for time, each in frame_memories if each.memory_map and not each.memory_map.is_encoded]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of maps of each call of the memory encoder."""
    counts: list[int] = []

    def counted(self: MemoryEncoder, sources: Sequence[MapSource]) -> list[torch.Tensor]:
        counts.append(len(sources))
        return encode(self, sources)

    encode = MemoryEncoder._encode
    monkeypatch.setattr(MemoryEncoder, "_encode", counted)
    return counts


def test_maps_are_encoded_together_when_they_are_needed(head: MaskHead, encoded: list[int]) -> None:
    pictures, boxes = frames(4), [BOX, OTHER_BOX, BOX]
    first = head.segment(head.encode(pictures[0]), boxes, [None] * 3)
    assert not encoded, "no frame has attended to a memory"
    memories = [result.memory for result in first]
    features = head.encode(pictures[1])
    second = head.propagate(memories, features)
    assert encoded == [3]
    # Of the two memories of this frame the next one attends to one only.
    third = head.segment(features, [BOX], [memories[0]])
    kept = [third[0].memory, second[1].memory, memories[2]]
    head.propagate(kept, head.encode(pictures[2]))
    assert encoded == [3, 2]
    head.propagate(kept, head.encode(pictures[3]))
    assert encoded == [3, 2], "a map is encoded once"


def test_a_memory_holds_the_features_of_one_frame_at_most(head: MaskHead) -> None:
    pictures = frames(6)
    memory, levels = None, []
    for index, picture in enumerate(pictures):
        features = head.encode(picture)
        levels.append(weakref.ref(features.vision.levels[-1]))
        if memory is None or index == 3:
            memory = head.segment(features, [BOX], [memory])[0].memory
        else:
            memory = head.propagate([memory], features)[0].memory
        del features
        assert pending(memory) == [memory.clock]
        assert [level() is not None for level in levels] == [False] * index + [True]
    assert newest(memory).features is not None and pending(memory) == []
    assert levels[-1]() is None, "an encoded map no longer holds the features of its frame"


def test_keys_of_a_map_are_kept_where_maps_are_small(head: MaskHead, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = frames(4)
    kept = run(head, pictures, BOX)
    assert all(each.keys is not None for each in kept[-2].memory.maps), "frame 3 has attended to them"
    monkeypatch.setattr(target_attention, "MOST_KEPT", 0)
    again = run(head, pictures, BOX)
    assert all(each.keys is None for each in again[-2].memory.maps)
    assert all(same(one, two) for one, two in zip(kept, again, strict=True))


def test_queries_may_attend_in_several_blocks(head: MaskHead, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(head, frames(3), BOX)[-1]
    monkeypatch.setattr(target_attention, "AT_ONCE", 1)
    monkeypatch.setattr(target_attention, "FEWEST_QUERIES", 3)
    blocks = run(head, frames(3), BOX)[-1]
    assert np.array_equal(whole.mask, blocks.mask)
    assert torch.allclose(newest(whole.memory).pointer, newest(blocks.memory).pointer, atol=1e-5)


def test_flops_of_a_propagation_are_counted_with_its_memory(head: MaskHead) -> None:
    def flops(count: int) -> int:
        with FlopCounterMode(display=False) as counter:
            run(head, frames(count), BOX)
        return counter.get_total_flops()

    second, third, fourth = (flops(count + 1) - flops(count) for count in (1, 2, 3))
    assert second < third < fourth, "each frame attends to one more map"


def test_a_memory_is_a_value(head: MaskHead) -> None:
    pictures = frames(6)
    memory = run(head, pictures[:4], BOX)[-1].memory
    before = [part.clone() for part in tensors(memory)]
    features = head.encode(pictures[4])
    (first,) = head.propagate([memory], features)
    head.propagate([first.memory], head.encode(pictures[5]))
    head.segment(features, [OTHER_BOX], [memory])
    assert same(head.propagate([memory], features)[0], first)
    assert memory.clock == 3 and len(memory.recent_frames) == 3
    assert all(torch.equal(one, two) for one, two in zip(before, tensors(memory), strict=True))


def test_a_track_has_its_own_clock(head: MaskHead) -> None:
    pictures = frames(12)
    (late,) = head.segment(head.encode(pictures[8]), [BOX], [None])
    (alone,) = MaskHead(head.model, head.processor).segment(head.encode(pictures[8]), [BOX], [None])
    for picture in pictures[9:]:
        (late,) = head.propagate([late.memory], head.encode(picture))
        (alone,) = head.propagate([alone.memory], head.encode(picture))
        assert same(late, alone)
    assert late.memory.clock == 3


def test_features_serve_all_tracks_of_a_frame(head: MaskHead) -> None:
    pictures = frames(4)
    apart = [run(head, pictures, BOX), run(head, pictures, OTHER_BOX)]
    first = head.encode(pictures[0])
    shared = head.segment(first, [BOX, OTHER_BOX], [None, None])
    for time, picture in enumerate(pictures[1:], start=1):
        features = head.encode(picture)
        shared = head.propagate([result.memory for result in shared], features)
        for one, track in zip(shared, apart, strict=True):
            assert np.array_equal(one.mask, track[time].mask)
            assert (one.object_score, one.iou) == pytest.approx(
                (track[time].object_score, track[time].iou), abs=1e-5
            )
    assert not same(shared[0], shared[1])


def test_targets_beyond_one_batch_are_processed_in_several(
    head: MaskHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam2, "MOST_TARGETS", 2)
    pictures, boxes = frames(2), [BOX, OTHER_BOX, BOX, OTHER_BOX, BOX]
    first = head.segment(head.encode(pictures[0]), boxes, [None] * 5)
    second = head.propagate([result.memory for result in first], head.encode(pictures[1]))
    for results in (first, second):
        assert len(results) == 5
        assert same(results[0], results[2]) and same(results[1], results[3])
        assert results[4].object_score == pytest.approx(results[0].object_score, abs=1e-5)
        assert not same(results[0], results[1])


def test_a_target_of_a_batch_keeps_no_tensor_of_the_others(head: MaskHead) -> None:
    pictures = frames(3)
    alone = run(head, pictures, BOX)[-1].memory
    results = head.segment(head.encode(pictures[0]), [BOX, OTHER_BOX, BOX], [None] * 3)
    for picture in pictures[1:]:
        results = head.propagate([result.memory for result in results], head.encode(picture))
    sizes, sizes_alone = (
        [part.untyped_storage().nbytes() for part in tensors(memory)[1:]]
        for memory in (results[0].memory, alone)
    )
    assert sizes == sizes_alone


def test_a_skipped_frame_moves_the_clock_alone(head: MaskHead) -> None:
    pictures = frames(4)
    memory = run(head, pictures[:2], BOX)[-1].memory
    features = head.encode(pictures[2])
    written, skipped = head.propagate([memory], features)[0].memory, memory.skip_frame()
    assert skipped.clock == written.clock == 2
    assert [time for time, _ in written.recent_frames] == [1, 2]
    assert [time for time, _ in skipped.recent_frames] == [1]
    later = head.encode(pictures[3])
    (gap,) = head.propagate([skipped], later)
    (still,) = head.propagate([memory], later)
    assert gap.object_score != still.object_score, "one frame back and two frames back must differ"


def test_an_absent_target_has_no_mask() -> None:
    blind = MaskHead(make_model(score_bias=-8.0), build_processor(nano_config(SIDE)))
    results = run(blind, frames(2), BOX)
    assert [result.mask for result in results] == [None, None]
    assert all(result.object_score < 0.01 for result in results)


def test_a_present_target_has_a_mask_of_the_frame(head: MaskHead) -> None:
    result = run(head, frames(2), BOX)[-1]
    assert result.mask is not None
    assert result.mask.dtype == bool and result.mask.shape == (SIZE[1], SIZE[0])
    assert 0.5 < result.object_score < 1 and 0 < result.iou < 1


def test_boxes_are_in_pixels_of_the_frame(head: MaskHead) -> None:
    frame = frames(1)[0]
    wide = np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1)
    (small,) = head.segment(head.encode(frame), [BOX], [None])
    twice = (BOX[0] * 2, BOX[1] * 2, BOX[2] * 2, BOX[3] * 2)
    (large,) = head.segment(head.encode(wide), [twice], [None])
    assert large.mask is not None and small.mask is not None
    assert large.mask.shape == (SIZE[1] * 2, SIZE[0] * 2)
    agreement = (large.mask[::2, ::2] == small.mask).mean()
    assert agreement > 0.97, "the same picture at twice the size has the same mask"


# ---- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(head: MaskHead, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mask_head"
    save_sam2(path, head.model, head.processor)
    return path


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Callable[[str, dict[str, object]], Path]:
    """Copies the checkpoint and changes keys of one of its json files."""

    def change(name: str, changes: dict[str, object]) -> Path:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        settings = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps({**settings, **changes}))
        return copy

    return change


CPU = torch.device("cpu")


def test_a_saved_mask_head_loads_as_it_was(
    head: MaskHead, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = MaskHead.load(str(folder), CPU, torch.float32)
    assert not loaded.model.training
    saved, read = head.model.state_dict(), loaded.model.state_dict()
    assert saved.keys() == read.keys()
    assert all(torch.equal(saved[name], read[name]) for name in saved)
    # Weights read from a file lie at other addresses, and so sums may round differently.
    ours, theirs = (run(either, frames(3), BOX)[-1] for either in (head, loaded))
    assert theirs.object_score == pytest.approx(ours.object_score, abs=1e-5)
    assert torch.allclose(newest(ours.memory).pointer, newest(theirs.memory).pointer, atol=1e-5)


def test_weights_can_be_taken_in_half_precision(folder: Path) -> None:
    half = MaskHead.load(str(folder), CPU, torch.bfloat16)
    results = run(half, frames(3), BOX)
    assert half.model.dtype == torch.bfloat16
    assert all(0 < result.object_score < 1 and result.mask is not None for result in results)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(UserError, match=r"weights/of/nobody"):
        MaskHead.load("weights/of/nobody", CPU)


def test_another_kind_of_model_is_refused(broken: Callable[[str, dict[str, object]], Path]) -> None:
    path = broken("config.json", {"model_type": "qwen2_5_vl"})
    with pytest.raises(UserError, match="qwen2_5_vl") as refusal:
        MaskHead.load(str(path), CPU)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_processor_of_another_size_is_refused(broken: Callable[[str, dict[str, object]], Path]) -> None:
    path = broken("preprocessor_config.json", {"size": {"height": 128, "width": 128}})
    with pytest.raises(UserError, match=r"128x128.*64x64"):
        MaskHead.load(str(path), CPU)


def test_lacking_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    del weights["memory_attention.layer_norm.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"missing.*memory_attention\.layer_norm\.weight"):
        MaskHead.load(str(copy), CPU)


def test_a_folder_without_safetensors_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        MaskHead.load(str(copy), CPU)


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_parameters(name: str) -> None:
    assert name in MASK_HEADS
    with torch.device("meta"):
        model = Sam2VideoModel(published_config(name))
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[name].millions, abs=0.1)


def test_published_sizes_take_the_widths_of_their_stages() -> None:
    for name, size in PUBLISHED.items():
        config = published_config(name).vision_config
        assert config.backbone_channel_list == list(reversed(size.hiera.widths))
        assert config.backbone_feature_sizes == [[256, 256], [128, 128], [64, 64]]


def test_the_nano_size_is_small_and_fits_any_image() -> None:
    small, large = build_model(nano_config(64)), build_model(nano_config(256))
    assert sum(weight.numel() for weight in large.parameters()) < 2e6
    large.load_state_dict(small.state_dict())


def test_points_and_image_share_a_position_code() -> None:
    model = build_model(nano_config(64))
    code = model.prompt_encoder.shared_embedding.positional_embedding
    assert torch.equal(code, model.shared_image_embedding.positional_embedding)


def test_limits_are_those_of_the_configuration() -> None:
    assert dataclasses.astuple(MemoryLimits.of(published_config("sam2_1_tiny"))) == (6, 15, 4)
