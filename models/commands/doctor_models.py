"""What the doctor says about loaded models: sizes, memory, masks of five frames, and times."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from data_prep.geometry import box_of_mask, mask_iou
from models.commands.doctor_questions import RIGHT_IOU, Case, rendered_frames, token_ids
from models.commands.findings import Findings
from models.grounder.forward import encode_images, forward
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Grounding, Masking

FRAMES = 5
FULL_HD = (1920, 1080)
MEBI, MEGA = 2**20, 1e6
# Activations of a layer that are alive at once, in widths of the hidden state: queries, keys, values, the
# attention's output, the residual, and the two branches of the gated feed-forward network.
ALIVE_WIDTHS, ALIVE_INNER_WIDTHS = 6, 3
Times = dict[str, float]  # seconds by part


def grounder_lines(grounder: Grounder) -> Iterator[str]:
    """What was recognised of a loaded grounder: tokens of the answer, sizes of images, dtype and memory."""
    contract, answers = grounder.contract, grounder.contract.format
    if answers.has_decision:
        decision = (f"{text!r} = {token_ids(grounder, text)}" for text in (answers.visible, answers.absent))
        yield f"presence     visible {next(decision)}, absent {next(decision)}"
    else:
        yield "presence     not part of an answer"
    prefix = answers.start + answers.forced_prefix
    yield f"prefix       {prefix!r} = {token_ids(grounder, prefix)}"
    side = contract.side_multiple
    width, height = grounder.encoder.resized_size(FULL_HD)
    template_tokens = contract.template_pixels // side**2 if contract.shows_template else 0
    yield (
        f"images       a frame of 1920x1080 as {width}x{height} pixels, {width * height // side**2} tokens; "
        + (f"a template as {template_tokens} tokens" if template_tokens else "no template")
    )
    model = grounder.model
    yield (
        f"weights      {model.num_parameters() / MEGA:.4g} M parameters, {_dtype(model.dtype)}, "
        f"{num_bytes(model) / MEBI:.4g} MiB on {model.device}, attention {model.config._attn_implementation}"
    )
    tokens = width * height // side**2 + template_tokens
    yield (
        f"memory       about {batch_bytes(grounder, tokens) / MEBI:.4g} MiB more for a batch of "
        f"{grounder.batch} such questions (model.batch=)"
    )


def grounding_lines(grounder: Grounding) -> Iterator[str]:
    """What is known of a grounder that is no multimodal LLM: its identity, and its weights if it has any."""
    yield "identity     " + ", ".join(f"{name} {value}" for name, value in grounder.identity().items())
    yield from _weights_lines(grounder)


def _weights_lines(loaded: Grounding | Masking) -> Iterator[str]:
    """The size, dtype and device of the weights, if there is a model of transformers."""
    model = getattr(loaded, "model", None)
    if isinstance(model, PreTrainedModel):
        yield (
            f"weights      {model.num_parameters() / MEGA:.4g} M parameters, {_dtype(model.dtype)}, "
            f"{num_bytes(model) / MEBI:.4g} MiB on {model.device}"
        )


def num_bytes(model: PreTrainedModel) -> int:
    """The bytes of a model's weights and buffers."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def batch_bytes(grounder: Grounder, image_tokens: int) -> int:
    """An estimate of the memory of a batch of questions with so many image tokens, in bytes.

    It counts the cache of all layers, the activations of one layer of the language model, and those of one
    layer of the vision tower. Attention is assumed to need no matrix of scores, as with SDPA on a GPU.
    """
    text: Any = grounder.model.config.get_text_config()
    vision: Any = grounder.model.config.vision_config
    itemsize = grounder.model.dtype.itemsize
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    # 1. Keys and values of every layer, (tokens, 2, key-value heads, head size).
    cache = 2 * text.num_hidden_layers * text.num_key_value_heads * head_size
    # 2. The activations of a token in one layer.
    alive = ALIVE_WIDTHS * text.hidden_size + ALIVE_INNER_WIDTHS * text.intermediate_size
    # 3. Those of a patch in the vision tower; a token has four patches.
    patch = ALIVE_WIDTHS * vision.hidden_size + ALIVE_INNER_WIDTHS * vision.intermediate_size
    return grounder.batch * image_tokens * itemsize * (cache + alive + 4 * patch)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- masks ----------------------------------------------------------------------------------------


def run_mask_head(mask_head: Masking, found: Findings) -> tuple[list[str], Times]:
    """Segment the true box in the first of five rendered frames, and propagate the mask through the others.

    Returns lines that compare the masks with the true ones, and the time of each part.
    """
    frames, truths = rendered_frames(FRAMES)
    times: Times = {}
    overlaps: list[float] = []
    result = None
    # 1. The first frame twice: the first call of a model includes initialisation.
    mask_head.encode(frames[0])
    for frame, truth in zip(frames, truths, strict=True):
        with _timed(times, "encode a frame for masks", FRAMES):
            features = mask_head.encode(frame)
        box = box_of_mask(truth)
        assert box is not None, "the target of the easy scene is visible"
        if result is None:
            with _timed(times, "mask of a box"):
                (result,) = mask_head.segment(features, [box], [None])
        else:
            with _timed(times, "propagate a mask", FRAMES - 1):
                (result,) = mask_head.propagate([result.memory], features)
        overlaps.append(mask_iou(result.mask, truth))
    # 2. What low figures mean.
    if overlaps[0] < RIGHT_IOU:
        found.fault(
            f"mask head: the mask of the true box has an IoU of {overlaps[0]:.2f} with the true mask; the "
            "weights are untrained, damaged or of another model"
        )
    elif min(overlaps) < RIGHT_IOU:
        found.fault(
            f"mask head: after {overlaps.index(min(overlaps))} propagated frames the mask has an IoU of "
            f"{min(overlaps):.2f}, though the first one is right; the weights of the memory are damaged"
        )
    masks = f"masks        IoU with the true masks of {FRAMES} frames: {_listed(overlaps)}"
    return [*_weights_lines(mask_head), masks], times


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


# ---- time -----------------------------------------------------------------------------------------


@torch.inference_mode()
def time_grounder(grounder: Grounder, case: Case) -> Times:
    """Seconds of each part of one question. The models must have answered a question before."""
    times: Times = {}
    with _timed(times, "prepare a question"):
        answers = grounder.encoder.form(case.question).answer_format
        encoded = grounder.encoder.encode([case.question], answers.forced_prefix)
        encoded = encoded.to(grounder.device)
    inputs = encoded.inputs
    with _timed(times, "encode its image"):
        features = encode_images(grounder.model, inputs["pixel_values"], inputs["image_grid_thw"])
    with _timed(times, "prefill"):
        forward(grounder.model, encoded, features, use_cache=True, logits_to_keep=1)
    with _timed(times, "whole question"):
        (answer,) = grounder.locate([case.question])
    if answers.thought_end:  # the time of the thought would be counted as that of the answer's few tokens
        return times
    # The rest of the whole question is decoding. The first token of the box comes from the prefill.
    parts = times["prepare a question"] + times["encode its image"] + times["prefill"]
    times["decode a token"] = max(0.0, times["whole question"] - parts) / _decoded(grounder, answer)
    return times


def time_grounding(grounder: Grounding, case: Case) -> Times:
    """Seconds of one question to a grounder of any kind, which must have answered a question before."""
    times: Times = {}
    # A copy of the image, because a grounder may keep what it has computed of an image.
    question = replace(case.question, image=case.question.image.copy())
    with _timed(times, "whole question"):
        grounder.locate([question])
    return times


def _decoded(grounder: Grounder, answer: Answer) -> int:
    """The number of decoding steps of an answer."""
    return max(1, len(token_ids(grounder, answer.text)))


def time_lines(times: Times) -> list[str]:
    """Times in milliseconds, one line for each part."""
    return [f"{seconds * 1000:9.1f} ms  {name}" for name, seconds in times.items()]


@contextmanager
def _timed(times: Times, name: str, count: int = 1) -> Iterator[None]:
    """Add the time of a block, divided by `count`, to a part. Waits for the GPU before and after."""
    synchronize: Callable[[], None] = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronize()
    start = time.perf_counter()
    yield
    synchronize()
    times[name] = times.get(name, 0.0) + (time.perf_counter() - start) / count
