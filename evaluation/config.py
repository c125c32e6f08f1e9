"""Settings of evaluation. Imports nothing heavy."""

from dataclasses import dataclass

from omegaconf import OmegaConf

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.readers import data_sets

TASKS = ("score", "ablation", "diagnose")
LAYOUTS = ("toolkit", "data", "masks", "pytracking", "sutrack", "votsr", "expressions")
MISSING_RESULTS = ("error", "count")
BOX_FORMS = ("xywh", "xyxy")


def _protocols() -> tuple[str, ...]:
    """The names of all registered protocols, those of plugins included."""
    from evaluation.protocols.registry import protocol_names

    return protocol_names()


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of `python -m evaluation`."""

    task: str = key(
        "score",
        "score: score trackers; diagnose: what each kind of errors costs, with frames to look at; ablation: "
        "table and plot of the runs of a Hydra sweep",
        choices=TASKS,
    )
    protocol: str = key(
        "tnllt",
        "how trackers are scored; docs/evaluation.md and the report describe each protocol. task=diagnose "
        "always uses referral accuracy, and the protocol only to read files of boxes",
        choices=_protocols,
    )
    layout: str | None = key(
        None,
        "layout of the results; null: the default of the protocol, and of task=diagnose without data= a "
        "workspace. toolkit: "
        "<tracker>_tracking_result/<seq>.txt; data: <tracker>/<seq>.txt; masks: the boxes of "
        "<tracker>/masks/<seq>.txt; pytracking: <tracker>/<parameter>[_<run>]/<seq>.txt; sutrack: "
        "<tracker>/<parameter>/<data set>/<seq>.txt; votsr: a workspace; expressions: "
        "<tracker>/<video>/<expression>/<frame>.png",
        choices=LAYOUTS,
    )
    truth: str = key(
        "", "folder of the ground truth: annos of a toolkit, a workspace, or with data= the data set itself"
    )
    results: str = key("", "folder of the results of all trackers")
    data: str | None = key(None, "data set whose index has the ground truth", choices=data_sets)
    split: str = key(
        "test", "with data=: the split (train, val, test, …), by the name that the data set uses"
    )
    indexes: str = key("outputs/indexes", "with data=: folder of all indexes")
    sequences: str = key(
        "", "file with the names of the sequences to score, one on each line; empty: all sequences"
    )
    trackers: list[str] = key([], "trackers to score; empty: all that have results")
    boxes: str | None = key(
        None,
        "format of the boxes in results; null: xywh, and an error where they seem to be xyxy",
        choices=BOX_FORMS,
    )
    missing: str = key(
        "error",
        "missing results, too few lines or invalid lines: error: report all and stop; count: as misses",
        choices=MISSING_RESULTS,
    )
    compare: list[str] = key([], "task=score: two trackers to compare on each sequence; empty: the best two")
    workers: int = key(1, "protocol=davis: number of processes; 0: one for each core", minimum=0)
    runs: str = key(
        "",
        "task=ablation: folder with the runs of a sweep; task=diagnose: folder with runs of infer (out=), "
        "whose traces say why frames were lost",
    )
    plugins: list[str] = key([], PLUGINS)
    out: str = key(
        "outputs/evaluation/${evaluated:${task},${protocol}}",
        "folder of tables, plots, report and scores.json; task=diagnose: diagnosis.json, a table, sheets",
    )


def evaluated(task: str, protocol: str) -> str:
    """The default name of the folder of the results."""
    return protocol if task == "score" else task


OmegaConf.register_new_resolver("evaluated", evaluated, replace=True)
register("evaluation", EvaluationSettings)
