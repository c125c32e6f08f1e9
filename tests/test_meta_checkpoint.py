"""Meta's checkpoints of SAM 2: converted both ways without a change, and run by Meta's own code."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file
from transformers import Sam2VideoModel, Sam2VideoProcessor

from configs.errors import UserError
from models.__main__ import main
from models.config import ModelsSettings
from models.mask_head.config import MASK_HEADS, MaskHeadConfig, Sam2MetaConfig
from models.mask_head.memory_policies.distractor_aware import DistractorAware
from models.mask_head.meta_checkpoint import read_meta_weights, recognise_size
from models.mask_head.registry import check_mask_head
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_model import PUBLISHED, build_processor, published_config

sam2 = pytest.importorskip("sam2")
GlobalHydra.instance().clear()  # which the import of sam2 initialises

from models.mask_head.sam2_meta import Sam2Meta, build_meta_model, meta_processor  # noqa: E402

CPU = torch.device("cpu")
YAML = "configs/sam2.1/sam2.1_hiera_t.yaml"
SIDE = 128  # pixels; weights do not depend on it
SIZE = (90, 60)  # width, height of the frames
BOX, OTHER_BOX = (20.0, 11.0, 55.5, 40.0), (50.0, 20.0, 85.0, 55.0)


@pytest.fixture(scope="module")
def predictor() -> Any:
    """Meta's video predictor of the tiny size with shaken weights, which believes targets present."""
    torch.set_num_threads(1)
    torch.manual_seed(4)
    model = build_meta_model(YAML, image_size=SIDE)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(3.0)
    return model


@pytest.fixture(scope="module")
def file(predictor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its checkpoint, as Meta writes it."""
    path = tmp_path_factory.mktemp("meta") / "mine.pt"
    torch.save({"model": predictor.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def folder(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it is converted to."""
    out = tmp_path_factory.mktemp("converted") / "tiny"
    assert main(ModelsSettings("convert", checkpoint=str(file), out=str(out))) == 0
    return out


def frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 120, (count, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for time, picture in enumerate(pictures):
        picture[12 + 2 * time : 36 + 2 * time, 20 + 3 * time : 50 + 3 * time] += 130
    return list(pictures)


def test_there_and_back_is_exact(file: Path, folder: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    main(ModelsSettings("convert", checkpoint=str(folder), out=str(back)))
    original, returned = (
        torch.load(path, weights_only=True)["model"] for path in (file, back / "sam2.1_hiera_tiny.pt")
    )
    assert list(returned) != [] and original.keys() == returned.keys()
    assert all(torch.equal(original[name], returned[name]) for name in original)
    again = tmp_path / "again"
    main(ModelsSettings("convert", checkpoint=str(back / "sam2.1_hiera_tiny.pt"), out=str(again)))
    for name in ("config.json", "processor_config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    first, second = load_file(folder / "model.safetensors"), load_file(again / "model.safetensors")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_converted_folder_loads_here_and_in_transformers(folder: Path, file: Path) -> None:
    assert MaskHead.load(str(folder), CPU).image_side == 1024
    _, report = Sam2VideoModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert Sam2VideoProcessor.from_pretrained(folder).target_size == 1024


def meta_outputs(predictor: Any, folder: Path, boxes: dict[int, tuple[float, ...]], count: int) -> list[Any]:
    """What Meta's own predictor computes of each frame: mask logits (1, 1, S/4, S/4), object score, mask."""
    pictures, processor = frames(count), meta_processor(SIDE)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), picture[..., ::-1])
    state = predictor.init_state(str(folder))
    # The predictor reads JPEG files; the comparison is of the same pixels.
    state["images"] = torch.cat([processor(each, return_tensors="pt")["pixel_values"] for each in pictures])
    state["cached_features"] = {}
    # A stream does not know the length of a video, by which Meta's code scales the times of pointers.
    state["num_frames"] = 1000
    masks = {}
    for time, box in boxes.items():
        # As in a stream, a box is given when the frames before it have been tracked.
        predictor.add_new_points_or_box(state, time, 0, box=np.array(box, np.float32))
        last = min([later for later in (*boxes, count) if later > time]) - 1
        for index, _, mask in predictor.propagate_in_video(state, time, last - time):
            masks[index] = mask[0, 0].numpy() > 0
    outputs = state["output_dict_per_obj"][0]
    outputs = {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}
    return [
        (outputs[time]["pred_masks"], outputs[time]["object_score_logits"], masks[time])
        for time in range(count)
    ]


@pytest.fixture(scope="module")
def expected(predictor: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return meta_outputs(predictor, tmp_path_factory.mktemp("jpeg"), {0: BOX, 2: OTHER_BOX}, 4)


def run(head: MaskHead) -> list[Any]:
    results: list[Any] = []
    for time, frame in enumerate(frames(4)):
        features = head.encode(frame)
        memory = results[-1].memory if results else None
        box = {0: BOX, 2: OTHER_BOX}.get(time)
        results.extend(
            head.propagate([memory], features) if box is None else head.segment(features, [box], [memory])
        )
    return results


def test_the_converted_weights_make_metas_masks(
    folder: Path, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mask logits to 1e-4, object scores, and masks."""
    config = published_config("sam2_1_tiny", SIDE)
    model = Sam2VideoModel(config).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    head, logits = MaskHead(model, build_processor(config)), []
    make_results = MaskHead._results
    monkeypatch.setattr(
        MaskHead, "_results", lambda self, *each: logits.append(each[1].gated()) or make_results(self, *each)
    )
    for result, ours, (theirs, score, mask) in zip(run(head), logits, expected, strict=True):
        assert torch.allclose(ours, theirs[:, 0], atol=1e-4), float((ours - theirs[:, 0]).abs().max())
        assert result.object_score == pytest.approx(float(score.sigmoid()), abs=1e-4)
        assert result.mask is not None and (result.mask != mask).mean() < 1e-3


def test_metas_code_frame_by_frame_is_metas_predictor(predictor: Any, expected: list[Any]) -> None:
    for result, (_, score, mask) in zip(
        run(Sam2Meta(predictor, meta_processor(SIDE))), expected, strict=True
    ):
        assert result.object_score == pytest.approx(float(score.sigmoid()), abs=1e-6)
        assert result.mask is not None and np.array_equal(result.mask, mask)


def test_memory_policies_decide_the_same_with_metas_code(predictor: Any, folder: Path) -> None:
    """The memories of both keep the same frames, and so the object scores agree."""
    config = published_config("sam2_1_tiny", SIDE)
    model = Sam2VideoModel(config).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    heads = Sam2Meta(predictor, meta_processor(SIDE)), MaskHead(model, build_processor(config))
    policy = DistractorAware(interval=2, min_iou=0.0, max_area_change=9.0, max_agreement_iou=1.0)
    found: list[list[Any]] = []
    for head in heads:
        head.memory_policy = policy
        results = head.segment(head.encode(frames(1)[0]), [BOX], [None])
        for frame in frames(6)[1:]:
            results += head.propagate([results[-1].memory], head.encode(frame))
        found.append(results)
    for meta, ours in zip(*found, strict=True):
        for one, two in (
            (meta.memory.conditioning_frames, ours.memory.conditioning_frames),
            (meta.memory.recent_frames, ours.memory.recent_frames),
        ):
            assert [time for time, _ in one] == [time for time, _ in two]
        assert meta.object_score == pytest.approx(ours.object_score, abs=1e-4)
    assert len(found[0][-1].memory.conditioning_frames) == 2, "one of the frames is an anchor"
    assert heads[0].identity()["memory"] == policy.identity()


def test_metas_code_computes_in_half_precision_by_autocast(predictor: Any, expected: list[Any]) -> None:
    half = Sam2Meta(predictor, meta_processor(SIDE), dtype=torch.bfloat16)
    scores = [result.object_score for result in run(half)]
    exact = [float(score.sigmoid()) for _, score, _ in expected]
    assert half.identity()["dtype"] == "torch.bfloat16"
    assert next(predictor.parameters()).dtype == torch.float32
    assert scores == pytest.approx(exact, abs=0.02) and scores != pytest.approx(exact, abs=1e-6)


def test_a_file_of_metas_loads_as_the_second_backend(file: Path, predictor: Any) -> None:
    check_mask_head(Sam2MetaConfig(str(file)))
    loaded = Sam2Meta.load(str(file), CPU)
    weights, read = predictor.state_dict(), loaded.model.state_dict()
    assert loaded.image_side == 1024 and all(torch.equal(weights[name], read[name]) for name in weights)
    identity = loaded.identity()["checkpoint"]
    assert len(identity) == 16 and loaded.identity()["dtype"] == "torch.float32"


# ---- sizes and faults ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize("version", ["2", "2.1"])
def test_every_published_size_is_recognised(size: str, version: str) -> None:
    hiera = PUBLISHED[size].hiera
    weights = {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(hiera.widths[0], 1)}
    for block in range(sum(hiera.blocks)):
        weights[f"image_encoder.trunk.blocks.{block}.norm1.weight"] = torch.zeros(1)
    if version == "2.1":
        weights["no_obj_embed_spatial"] = torch.zeros(1)
    found = recognise_size(Path("x.pt"), weights)
    assert found.size == size and (Path(sam2.__path__[0]) / found.yaml).is_file()
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    assert (found.yaml, found.checkpoint) in HF_MODEL_ID_TO_FILENAMES.values()


def test_a_pt_file_for_transformers_names_the_command(file: Path) -> None:
    with pytest.raises(UserError, match=r"task=convert checkpoint=.*mine\.pt out=FOLDER") as one:
        check_mask_head(MaskHeadConfig(str(file)))
    assert "\n" not in str(one.value)


class Evil:
    """A pickle of it makes a file when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil"),))


def test_no_code_of_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, path)
    with pytest.raises(UserError, match=r"evil\.pt: cannot be read as a file of weights alone"):
        read_meta_weights(path)
    path.write_bytes(pickle.dumps({"model": Evil()}))
    with pytest.raises(UserError, match=r"evil\.pt: cannot be read as a file of weights alone"):
        read_meta_weights(path)
    assert not (tmp_path / "evil").exists()


def test_what_is_no_complete_checkpoint_is_refused(file: Path, folder: Path, tmp_path: Path) -> None:
    # Tensors of the same shapes whose numbers are one stored number: these files are small.
    content = torch.load(file, weights_only=True)["model"]
    weights = {name: torch.zeros(1).expand(each.shape) for name, each in content.items()}
    faults = {
        "missing": (
            {name: each for name, each in weights.items() if name != "no_obj_ptr"},
            "no_object_pointer",
        ),
        "other": ({**weights, "camera": torch.zeros(1)}, "holds camera, which is not a weight of SAM 2"),
        "shape": (
            {**weights, "no_obj_ptr": torch.zeros(2, 256)},
            "no_object_pointer is 2x256 instead of 1x256",
        ),
        "edgetam": ({**weights, "spatial_perceiver.latents": torch.zeros(1)}, "take mask_head=edgetam"),
        "empty": ({}, "does not hold the weights of SAM 2"),
    }
    for name, (content, message) in faults.items():
        path = tmp_path / f"{name}.pt"
        torch.save({"model": content}, path)
        with pytest.raises(UserError, match=message) as one:
            main(ModelsSettings("convert", checkpoint=str(path), out=str(tmp_path / name)))
        assert "\n" not in str(one.value) and not (tmp_path / name / "config.json").exists()
    # The same files as the mask head; messages name its key.
    for name, message in (
        ("missing", r"the weights cannot be loaded \(.*no_obj_ptr.*; download the file again"),
        ("empty", "does not hold the weights of SAM 2"),
    ):
        with pytest.raises(UserError, match=rf"^mask_head\.checkpoint=.*{name}\.pt: {message}") as one:
            Sam2Meta.load(str(tmp_path / f"{name}.pt"), CPU)
        assert "\n" not in str(one.value)
    with pytest.raises(UserError, match="already holds weights"):
        main(ModelsSettings("convert", checkpoint=str(file), out=str(folder)))
    small = str(MASK_HEADS["nano"].checkpoint)
    with pytest.raises(UserError, match=r"holds .*, which is not a weight of SAM 2|no published size"):
        main(ModelsSettings("convert", checkpoint=small, out=str(tmp_path / "small")))
    (tmp_path / "edgetam").mkdir(exist_ok=True)
    (tmp_path / "edgetam" / "config.json").write_text('{"model_type": "edgetam_video"}')
    with pytest.raises(UserError, match=r"^checkpoint=.*holds a 'edgetam_video' model; sam2_video is needed"):
        main(ModelsSettings("convert", checkpoint=str(tmp_path / "edgetam"), out=str(tmp_path / "back")))
    with pytest.raises(UserError, match="the package sam2 knows no such hub id"):
        Sam2Meta.load("facebook/sam3", CPU)
    with pytest.raises(UserError, match="no such file or folder"):
        main(ModelsSettings("convert", checkpoint=str(tmp_path / "none.pt"), out=str(tmp_path / "out")))
    path = tmp_path / "short.pt"
    path.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read as a file of weights alone"):
        main(ModelsSettings("convert", checkpoint=str(path), out=str(tmp_path / "out")))
