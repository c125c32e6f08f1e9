"""The settings of the engine, the Hydra group `engine`. Imports no torch."""

from dataclasses import dataclass

from configs.schema import key

LANES_ON_GPU = 4  # the default of engine.lanes there


@dataclass(frozen=True)
class EngineConfig:
    """How requests are batched and which work is done in background threads (`engine=…`).

    These keys belong to every option. An option with further keys is a subclass (`infer.engine.backends`).
    """

    lanes: int | None = key(
        None,
        "sequences that are tracked at once; their questions are answered in batches together; null: 1 on a "
        "CPU, 4 on a GPU",
        minimum=1,
    )
    deterministic: bool | None = key(
        None,
        "form batches within one sequence only, so that results do not depend on what else runs; null: true "
        "on a CPU, false on a GPU, where larger batches are faster and change numbers by rounding",
    )
    read_ahead: int = key(
        3,
        "frames of each sequence that a thread decodes in advance; 0, and always on a single core: no thread",
        minimum=0,
    )
    write_behind: int = key(
        4,
        "frames of each sequence whose drawing, encoding and writing may be open while the next ones are "
        "tracked, in a thread; 0, and always on a single core: no thread",
        minimum=0,
    )

    tf32: bool = key(
        False,
        "on a CUDA GPU, multiply float32 numbers with the precision of TF32, which is faster; weights in "
        "bfloat16 and float16 are not affected",
    )

    def lanes_on(self, device_type: str) -> int:
        """`lanes`, with the default of a device: `cpu`, `cuda` or `mps`."""
        return self.lanes or (1 if device_type == "cpu" else LANES_ON_GPU)

    def is_deterministic_on(self, device_type: str) -> bool:
        """`deterministic`, with the default of a device: `cpu`, `cuda` or `mps`."""
        return device_type == "cpu" if self.deterministic is None else self.deterministic


@dataclass(frozen=True)
class LocalConfig(EngineConfig):
    """The grounder of model= is loaded into this process (`engine=local`)."""


@dataclass(frozen=True)
class FreeGenerationConfig(EngineConfig):
    """The keys of backends that generate whole answers elsewhere, and are therefore checked at the start.

    They form batches themselves, from all questions that are open. So by default four sequences are tracked
    at once on a CPU too, and `deterministic` is false.
    """

    canary: str = key(
        "known",
        "what the answers to three rendered questions are compared with at the start: known: the true box of "
        "an easy target; local: the same weights in this process; off: nothing; or a file, canary.json, "
        "which python -m models task=doctor writes where the weights are",
    )
    canary_tolerance: float = key(
        0.1,
        "engine.canary=local and FILE: largest difference of two visible probabilities, and of the IoU of "
        "two boxes from 1",
        minimum=0,
        maximum=1,
    )

    def lanes_on(self, device_type: str) -> int:
        """`lanes`, with the default of every device."""
        return super().lanes_on(device_type) if self.lanes else LANES_ON_GPU

    def is_deterministic_on(self, device_type: str) -> bool:
        """`deterministic`, with the default of every device."""
        return self.deterministic is not None and super().is_deterministic_on(device_type)
