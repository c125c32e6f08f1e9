"""Devices and dtypes of models, what a large model costs on a CPU, and what to do when memory runs out."""

import gc
import re
from collections.abc import Callable

import torch

from configs.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The first GPUs that compute in bfloat16 (Ampere). T4 (7.5) and V100 (7.0) only emulate it, slowly.
BFLOAT16_CAPABILITY = (8, 0)
# Libraries report a lack of memory as a plain RuntimeError too. These texts are those of torch and cuBLAS.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
# From this number of parameters a model is refused on a CPU unless asked for. The models called 7B have more.
LARGE_ON_CPU = 6_000_000_000
# For an estimate of time: a question of the contract `qwen` has about 1,000 tokens and 20 in its answer. A
# server with 16 cores computes about 0.5 TFLOP/s in float32, and reads about 50 GB/s from memory.
QUESTION_TOKENS, ANSWER_TOKENS = 1000, 20
CPU_FLOPS, CPU_BYTES_PER_SECOND = 5e11, 5e10


# ---- devices ----------------------------------------------------------------------------------------


def choose_device(name: str) -> torch.device:
    """The device of a name: `auto` is the first CUDA GPU if there is one, else the CPU; `mps` is an Apple
    GPU.

    Raises UserError for a device that torch does not know or that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: torch knows no such device; take auto, cpu, cuda or mps") from None
    # Devices that are not listed, such as the CPU, count as available.
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if not available.get(device.type, lambda: True)():
        raise UserError(f"device={name}: this machine has no such GPU that torch can use; take device=auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: the last GPU is cuda:{torch.cuda.device_count() - 1}; take that")
    return device


def check_gpu(device: torch.device) -> None:
    """Raise UserError for a GPU that the installed torch was not built for.

    Without this check the first operation on it would fail with "no kernel image is available". The check
    initialises CUDA, so call it in the process that computes, and not in one that starts others.
    """
    # ROCm names its architectures differently (gfx90a).
    if device.type != "cuda" or torch.version.hip:
        return
    built_for = torch.cuda.get_arch_list()
    major, minor = torch.cuda.get_device_capability(device)
    if built_for and not any(_runs_on(arch, major, minor) for arch in built_for):
        raise UserError(
            f"device={device}: torch {torch.__version__} was built for {', '.join(built_for)} and cannot use "
            f"{torch.cuda.get_device_name(device)}, whose compute capability is {major}.{minor}; install a "
            "torch that was built for this GPU, or take device=cpu"
        )


def _runs_on(arch: str, major: int, minor: int) -> bool:
    """Whether code for `arch`, an entry of `torch.cuda.get_arch_list()`, runs on a GPU of this capability.

    `sm_86` is machine code, which runs on later GPUs of the same major version. `compute_86` is PTX, which
    the driver compiles for every later GPU. With the suffix `a` either runs on exactly this capability.
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if found is None:
        return False
    kind, suffix, built_for = found[1], found[4], (int(found[2]), int(found[3]))
    if suffix == "a":
        return built_for == (major, minor)
    if kind == "compute" and not suffix:
        return built_for <= (major, minor)
    return built_for[0] == major and built_for[1] <= minor


# ---- dtypes -----------------------------------------------------------------------------------------


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the weights. `auto` is float32, but on a CUDA GPU bfloat16, or float16 on a GPU that has
    no bfloat16.

    Raises UserError for an unknown dtype, and as `check_gpu`.
    """
    check_gpu(device)
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if _has_bfloat16(device) else torch.float16
    if name not in DTYPES:
        raise UserError(f"dtype={name}: choose one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def choose_training_dtype(name: str, device: torch.device) -> torch.dtype:
    """As `choose_dtype`, but `auto` is never float16, whose range is too small for gradients."""
    dtype = choose_dtype(name, device)
    return torch.float32 if name == "auto" and dtype == torch.float16 else dtype


def _has_bfloat16(device: torch.device) -> bool:
    return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY


def set_float32_precision(tf32: bool) -> None:
    """Choose how CUDA GPUs multiply float32 numbers, in matrix products and in convolutions alike.

    With `tf32` they use TF32, which keeps 10 of 23 bits of the mantissa and is several times as fast on
    Ampere and later. Torch's own defaults differ: matrix products are exact, and convolutions use TF32.
    Weights in bfloat16 and float16 are not affected. Attention is chosen where models are loaded:
    `model.attention` of the grounder, and `SAFE` in `models/checkpoint.py` for mask heads.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


# ---- memory -----------------------------------------------------------------------------------------


def check_size_on_cpu(key: str, checkpoint: str, parameters: int, dtype: torch.dtype) -> None:
    """Raise UserError for a model that is too large for a CPU, with the memory and the time it would need.

    `key` names the checkpoint in the message. The time is an estimate from the number of operations and the
    bandwidth of memory.
    """
    if parameters < LARGE_ON_CPU:
        return
    num_bytes = parameters * dtype.itemsize
    # Every parameter is used in one multiplication and one addition for each token of the question, and read
    # from memory once for each token of the answer.
    seconds = 2 * parameters * QUESTION_TOKENS / CPU_FLOPS + ANSWER_TOKENS * num_bytes / CPU_BYTES_PER_SECOND
    raise UserError(
        f"{key}={checkpoint}: has {parameters / 1e9:.1f} billion parameters; on a CPU they need "
        f"{num_bytes / 2**30:.0f} GiB of memory, and a question takes about {seconds:.0f} seconds on 16 "
        "cores; take a GPU or a smaller model=, or ask for it with model.allow_cpu=true"
    )


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether the memory of the machine or of a GPU was too small."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(text in str(fault) for text in OUT_OF_MEMORY)


def peak_device_bytes(device_type: str) -> int | None:
    """The largest amount of GPU memory that tensors of this process have held; None without a CUDA GPU."""
    return torch.cuda.max_memory_allocated() if device_type == "cuda" else None


def free_memory() -> None:
    """Release the memory that a failed computation held. Call it after its exception is gone."""
    # Objects in reference cycles are freed by the collector only, and tensors wait for them.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
