"""The settings of the engine, the Hydra group `engine`. Imports no torch."""

from dataclasses import dataclass

from configs.schema import key


@dataclass(frozen=True)
class EngineConfig:
    """How requests are batched and which work is done beside the models (`engine=…`).

    These keys belong to every option. An option with further keys is a subclass (`infer.engine.backends`).
    """

    deterministic: bool | None = key(
        None,
        "form batches within one sequence only, so that results do not depend on what else runs; null: true "
        "on a CPU, false on a GPU, where larger batches are faster and change numbers by rounding",
    )


@dataclass(frozen=True)
class LocalConfig(EngineConfig):
    """The grounder of model= is loaded into this process (`engine=local`)."""
