"""The training loop of recipes with stages: position in the curriculum, state, logging and evaluation.

The state is written completely or not at all, and holds everything that is needed to resume. So an
interrupted run ends with the same weights as an uninterrupted one, bit for bit on a CPU.
"""

import dataclasses
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from configs.errors import UserError
from configs.launch.signals import Stopped, StopSignal
from data_prep.files import append_text, whole_file
from data_prep.folders import tidy, whole_folder
from train.loop.identity import check_identity, identity_from_scratch, note_identity, noted
from train.loop.state_files import METRICS, damaged, read_state, remove_rows, saving

RESTART = "remove it: the run then starts at step 0"
log = logging.getLogger(__name__)


class StageLike(Protocol):
    """What the loop needs to know of a stage."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        ...


ModelT = TypeVar("ModelT", bound=torch.nn.Module)
StageT = TypeVar("StageT", bound=StageLike)


class Curriculum(ABC, Generic[ModelT, StageT]):
    """A model, its optimizer, and the position in a recipe's stages.

    A recipe is a dataclass with `stages`, `initial`, `log_every`, `evaluate_every`, `checkpoint_every`,
    `threads`. `evaluated` is the step of the last evaluation, -1 before the first.
    """

    model: ModelT
    optimizer: torch.optim.Optimizer

    def __init__(self, recipe: Any, out: Path, device: torch.device) -> None:
        if not recipe.stages:
            raise UserError("recipe.stages is empty: list at least one stage")
        self.recipe, self.out, self.device = recipe, out, device
        self.step, self.evaluated, self.stop = 0, -1, StopSignal()

    @abstractmethod
    def take_step(self) -> Mapping[str, float]:
        """Draw a batch, compute its losses, update the weights; the losses before the update, by name."""

    @abstractmethod
    def evaluate(self) -> Any:
        """Metrics on held-out scenes: a dataclass of numbers that prints as a line."""

    @abstractmethod
    def save_weights(self, folder: Path) -> None:
        """Write the checkpoint that inference reads."""

    def parts(self) -> dict[str, Any]:
        """Everything with a `state_dict`, by name; a recipe may add to it."""
        return {"model": self.model, "optimizer": self.optimizer}

    def prepare(self) -> None:
        """Called before a saved state is loaded, with `step` set; a recipe may change its model for it."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole recipe."""
        return sum(stage.steps for stage in self.recipe.stages)

    def stage_at(self, step: int) -> tuple[StageT, int]:
        """The stage that a step belongs to, and the step's number within it."""
        for stage in self.recipe.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of all parameters."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def update(self, loss: torch.Tensor, largest_norm: float) -> None:
        """Backward pass, clipping, optimizer step. Raises FloatingPointError where the loss is not finite."""
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {float(loss.detach())} at step {self.step}")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), largest_norm)
        self.optimizer.step()
        self.step += 1

    @property
    def state_file(self) -> Path:
        """The file that a run is resumed from."""
        return self.out / "state.pt"

    def save_state(self) -> None:
        """Write the state, completely or not at all."""
        state = {name: part.state_dict() for name, part in self.parts().items()}
        state |= {"recipe": dataclasses.asdict(self.recipe), "step": self.step, "evaluated": self.evaluated}
        with saving(self.state_file), whole_file(self.state_file) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Load the saved state, if there is one, and remove the metrics of steps after it.

        Raises UserError for one of another recipe, and for one that cannot be read.
        """
        if self.state_file.is_file():
            state = read_state(self.state_file, self.device, remedy=RESTART)
            try:
                self._take_over(state)
            except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as fault:
                raise damaged(self.state_file, fault, RESTART) from None
            log.info("resuming at step %d from %s", self.step, self.state_file)
        remove_rows(self.out / METRICS, self.step, self.evaluated == self.step)

    def _take_over(self, state: dict[str, Any]) -> None:
        if state["recipe"] != dataclasses.asdict(self.recipe):
            raise UserError(f"{self.state_file}: was trained by other settings; take another out=")
        self.step = state["step"]
        self.evaluated = state.get("evaluated", self.step)
        self.prepare()
        for name, part in self.parts().items():
            part.load_state_dict(state[name])

    def run(self, stop: int | None = None) -> None:
        """Train to the end of the recipe, or resume where an earlier run of it stopped.

        `stop` ends the run after that step, its state saved, as if it had been interrupted there. The caller
        makes sure that no other run trains in the folder. Raises Stopped where a signal ended the run, and
        UserError where the folder holds a run of another identity.
        """
        if self.recipe.threads:
            torch.set_num_threads(self.recipe.threads)
        with self.stop.handled():
            self.stop.check()
            self.out.mkdir(parents=True, exist_ok=True)
            identity = identity_from_scratch(self.recipe, type(self).__module__)
            check_identity(self.out, identity)
            tidy(self.out)
            self.resume()
            note_identity(self.out, noted(self.out, identity))
            if self._due() and self.evaluated != self.step:
                self._log_figures()
            with self.stop.deferred():
                self._train_to(self.steps if stop is None else stop)
            if self.step == self.steps:
                with saving(self.out / "model"), whole_folder(self.out / "model") as folder:
                    self.save_weights(folder)
                log.info("weights in %s", self.out / "model")

    def _train_to(self, last: int) -> None:
        """Take steps up to `last`. Raises Stopped, the state saved, where a signal ended them before."""
        started, first, recent = time.monotonic(), self.step, list[Mapping[str, float]]()
        while self.step < last:
            if self.step > first and not self.stage_at(self.step)[1]:
                self.save_state()  # a new stage may render images for many minutes first
            recent.append(self.take_step())
            if self.step % self.recipe.log_every == 0 or self.step == last:
                self._log_line(recent, (time.monotonic() - started) / (self.step - first))
                recent.clear()
            saves = self._due() or self.step % self.recipe.checkpoint_every == 0 or self.step == last
            if saves or self.stop.is_set:
                self.save_state()
            if self.stop.is_set and self.step < self.steps:
                log.info("stopped at step %d; run the same command again to resume", self.step)
                raise Stopped(self.stop.status, is_reported=True)
            if self._due():  # after the state is saved: an evaluation takes long
                with self.stop.immediate():
                    self._log_figures()
                self.save_state()

    def _due(self) -> bool:
        """Whether there is an evaluation at this step."""
        return self.step > 0 and (self.step % self.recipe.evaluate_every == 0 or self.step == self.steps)

    def _log_line(self, recent: list[Mapping[str, float]], pace: float) -> None:
        """Write a line and a row of the mean losses since the last one; `pace` is in seconds per step."""
        losses = {name: sum(row[name] for row in recent) / len(recent) for name in recent[0]}
        words = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        rate, left = self.optimizer.param_groups[0]["lr"], (self.steps - self.step) * pace / 60
        log.info(
            "step %d/%d  %s  lr %.1e  %.0f ms/step  %.0f min left",
            *(self.step, self.steps, words, rate, pace * 1000, left),
        )
        self._append({"step": self.step, **losses, "lr": rate, "seconds_per_step": pace})

    def _log_figures(self) -> None:
        figures = self.evaluate()
        log.info("step %d  held out: %s", self.step, figures)
        self._append({"step": self.step, "held_out": True, **dataclasses.asdict(figures)})
        self.evaluated = self.step

    def _append(self, row: Mapping[str, float]) -> None:
        path = self.out / METRICS
        append_text(path, json.dumps(row) + "\n")
