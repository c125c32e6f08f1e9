"""Settings of evaluation. Imports nothing heavy."""

from dataclasses import dataclass

from omegaconf import OmegaConf

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.readers import data_sets

TASKS = ("score", "ablation")
LAYOUTS = ("toolkit", "data", "masks", "pytracking", "sutrack", "votsr", "expressions")
MISSING_RESULTS = ("error", "count")
BOX_FORMS = ("xywh", "xyxy")


def _protocols() -> tuple[str, ...]:
    """The names of all registered protocols, those of plugins included."""
    from evaluation.protocols.registry import protocol_names

    return protocol_names()


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything a run of `python -m evaluation` is told."""

    task: str = key(
        "score", "score: figures of trackers; ablation: table and plot of a Hydra sweep", choices=TASKS
    )
    protocol: str = key("tnllt", "whose way of counting; each is described in its table", choices=_protocols)
    layout: str | None = key(
        None,
        "how results lie; null: as the protocol wants. toolkit: <tracker>_tracking_result/<seq>.txt; data: "
        "<tracker>/<seq>.txt; masks: the boxes of <tracker>/masks/<seq>.txt; pytracking: <tracker>/"
        "<parameter>[_<run>]/<seq>.txt; sutrack: <tracker>/<parameter>/<data set>/<seq>.txt; votsr: a "
        "workspace; expressions: <tracker>/<video>/<expression>/<frame>.png",
        choices=LAYOUTS,
    )
    truth: str = key(
        "", "folder of the truth: a toolkit's annos; a workspace; with data=, the data set's own folder"
    )
    results: str = key("", "folder of all trackers' results")
    data: str | None = key(None, "take the truth from the index of this data set", choices=data_sets)
    split: str = key("test", "with data=: train, test, val, …; whatever the data set calls it")
    indexes: str = key("outputs/indexes", "with data=: folder of all indexes")
    sequences: str = key("", "file that names the sequences to score, one a line; empty: all of the truth")
    trackers: list[str] = key([], "names of the trackers to score; empty: all that have results")
    boxes: str | None = key(
        None,
        "what the four numbers of a result are; null: xywh, and an error where they seem to be xyxy",
        choices=BOX_FORMS,
    )
    missing: str = key(
        "error",
        "a missing result, too few lines, a line that is no box: error: tell all and stop; count: as missed",
        choices=MISSING_RESULTS,
    )
    compare: list[str] = key([], "two trackers to compare sequence by sequence; empty: the best two")
    workers: int = key(1, "protocol=davis: processes that compare masks; 0: one a core", minimum=0)
    runs: str = key("", "task=ablation: folder of the sweep's runs")
    plugins: list[str] = key([], PLUGINS)
    out: str = key(
        "outputs/evaluation/${evaluated:${task},${protocol}}",
        "folder of tables, plots, report and scores.json",
    )


def evaluated(task: str, protocol: str) -> str:
    """The default name of a run's folder."""
    return protocol if task == "score" else task


OmegaConf.register_new_resolver("evaluated", evaluated, replace=True)
register("evaluation", EvaluationSettings)
