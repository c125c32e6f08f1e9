"""The training loop: signals, damaged checkpoints and resuming, with a model of two weights."""

import json
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import UserError
from configs.launch.signals import Stopped
from tests.objectives import cpu_strategy
from train.loop.checkpoints import Checkpoints
from train.loop.objective import Evaluation, StepMetrics
from train.loop.trainer import Trainer
from train.scratch.stages import StagedObjective


@dataclass(frozen=True)
class TinyStage:
    """See `train.config.GrounderStage`."""

    steps: int


@dataclass(frozen=True)
class TinyRecipe:
    """See `train.config.GrounderRecipe`."""

    stages: list[TinyStage] = field(default_factory=lambda: [TinyStage(4), TinyStage(4)])
    initial: str = ""
    initial_share: float = 0.0
    log_every: int = 1
    evaluate_every: int = 3
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    threads: int = 0


@dataclass(frozen=True)
class TinyMetrics:
    """Of an evaluation."""

    weight: float


class Tiny(StagedObjective[torch.Tensor, TinyStage]):
    """Calls `meanwhile` in each step and evaluation, with a word and the step."""

    def __init__(self, out: Path, meanwhile: Callable[[str, int], None]) -> None:
        super().__init__(TinyRecipe(), out, cpu_strategy())
        self.meanwhile = meanwhile

    def build(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(2, 1)
        self.strategy.prepare(self.model, torch.optim.AdamW, [])

    def batches(self, steps: range) -> Iterator[torch.Tensor]:
        for step in steps:
            yield torch.rand(4, 2, generator=torch.Generator().manual_seed(step))

    def take_step(self, batch: torch.Tensor, step: int) -> StepMetrics:
        loss = self.model(batch).square().mean()
        self.update(loss, 0.1, 1.0)
        self.meanwhile("step", step + 1)
        return StepMetrics({"loss": float(loss.detach())}, 0.1)

    def evaluate(self, step: int) -> Evaluation:
        self.meanwhile("evaluate", step)
        return Evaluation([("held out", TinyMetrics(float(self.model.weight.detach().sum())))])

    def save_weights(self, folder: Path, step: int, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
        folder.mkdir()
        torch.save(self.model.state_dict(), folder / "weights.pt")


def tiny(out: Path, meanwhile: Callable[[str, int], None] = lambda *_: None) -> Trainer[Tiny]:
    return Trainer(Tiny(out, meanwhile), TinyRecipe(), out)


def at(word: str, step: int, *numbers: signal.Signals) -> Callable[[str, int], None]:
    def meanwhile(now: str, here: int) -> None:
        if (now, here) == (word, step):
            for number in numbers:
                signal.raise_signal(number)

    return meanwhile


TIMES = ("seconds_per_step", "data_wait")


def rows(out: Path) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in every]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run."""
    out = tmp_path_factory.mktemp("whole")
    tiny(out).run()
    return out


def steps_of(out: Path) -> list[int]:
    return Checkpoints(out / "checkpoints", 2).steps()


def ends_as(whole: Path, out: Path) -> None:
    """Going on ends with the bits and the rows of an unbroken run."""
    tiny(out).run()
    one, two = (torch.load(each / "model" / "weights.pt", weights_only=True) for each in (whole, out))
    assert all(torch.equal(one[name], two[name]) for name in one) and rows(out) == rows(whole)
    assert not list(out.rglob(".part-*"))


def test_best_is_the_highest_score_also_of_negative_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score may be a negative loss."""
    scores, saved = {3: -5.0, 6: -3.0, 8: -4.0}, list[int]()
    monkeypatch.setattr(Tiny, "evaluate", lambda _, step: Evaluation([], scores[step]))
    monkeypatch.setattr(
        Tiny, "save_weights", lambda _, folder, step, __: saved.append(step) or folder.mkdir(exist_ok=True)
    )
    training = tiny(tmp_path)
    training.run()
    assert training.best_score == -3.0 and saved == [3, 6, 8]  # the last one is of the final weights


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_first_signal_in_a_step_saves_it(
    whole: Path, tmp_path: Path, number: signal.Signals, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(number)
    with caplog.at_level("INFO"), pytest.raises(Stopped) as stopped:
        tiny(tmp_path, at("step", 2, number)).run_to_end()
    assert stopped.value.status == status and stopped.value.is_reported and signal.getsignal(number) == before
    assert caplog.messages[-1] == "stopped at step 2; run the same command again to resume"
    assert steps_of(tmp_path) == [2]
    ends_as(whole, tmp_path)


def test_a_signal_in_an_evaluation_ends_it_and_a_later_run_makes_it_again(
    whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        tiny(tmp_path, at("evaluate", 3, signal.SIGTERM)).run()
    assert steps_of(tmp_path) == [3]
    assert not any("eval_set" in row for row in rows(tmp_path))
    ends_as(whole, tmp_path)


def test_a_second_ctrl_c_ends_at_once_and_the_state_before_stays(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, at("step", 6, signal.SIGINT, signal.SIGINT)).run()
    assert steps_of(tmp_path) == [3, 4]  # of an evaluation, and before the next stage
    ends_as(whole, tmp_path)


def test_what_ignores_ctrl_c_goes_on_ignoring_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        tiny(tmp_path, at("step", 2, signal.SIGINT)).run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "model").is_dir()


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "pickle", "bits", "other", "list"])
def test_a_damaged_state_is_one_line_and_runs_no_code(tmp_path: Path, damage: str) -> None:
    tiny(tmp_path).run(stop_after=2)
    path, mark = tmp_path / "checkpoints" / "step-00000002" / "state.pt", tmp_path / "mark"
    content = path.read_bytes()
    if damage == "bits":  # of a weight
        weight = torch.load(path, weights_only=True)["weights"]["weight"].numpy().tobytes()
        content = content.replace(weight, bytes([weight[0] ^ 255]) + weight[1:])
    elif damage in ("other", "list"):
        torch.save({"step": 2} if damage == "other" else [1], path)
        content = path.read_bytes()
    else:
        evil = pickle.dumps(Evil(f"touch {mark}"))
        content = {"cut": content[:-300], "empty": b"", "zeros": bytes(4000), "pickle": evil}[damage]
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"state\.pt: cannot be read \(.*; remove its folder: the run then starts at step 0"
    ) as fault:
        tiny(tmp_path).run()
    assert "\n" not in str(fault.value) and not mark.exists()


def test_rows_that_a_kill_cut_are_left_out(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not tiny(tmp_path, at("step", 5, signal.SIGTERM)).run()
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        'x\n{"step": "x"}\n[1]\n' + path.read_text() + '{"step": 6, "loss": 1.0}\n{"step": 7, "lo'
    )
    ends_as(whole, tmp_path)
    assert [line for line in caplog.messages if "4 lines could not be read" in line]
