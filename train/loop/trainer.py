"""The training loop: resume, optimizer steps, logging, checkpoints, evaluations, final weights.

A run that was stopped and resumed ends with the same weights as an uninterrupted one, bit for bit on a CPU,
because a checkpoint holds everything that the next step depends on, and the data of a step follow from the
seed and its number.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from configs.errors import UserError
from configs.launch.signals import Stopped, StopSignal
from data_prep.folders import tidy
from train.loop.checkpoints import Checkpoints, RunState
from train.loop.identity import check_identity, check_identity_exists, with_earlier_code, write_identity
from train.loop.metrics import Metrics
from train.loop.objective import LoopSettings, Objective, StepMetrics
from train.loop.process_group import create_strategy, destroy_process_group
from train.loop.strategies import Strategy

BEST = "best"  # folder of the weights with the best score
ObjectiveT = TypeVar("ObjectiveT", bound=Objective[Any])
log = logging.getLogger(__name__)


class Trainer(Generic[ObjectiveT]):
    """A run of an objective in a folder, and its position: `step`, `evaluated` and `best_score`.

    Before the first evaluation `evaluated` (the step of the last one) is -1, and `best_score` is None.
    """

    def __init__(self, objective: ObjectiveT, recipe: LoopSettings, out: Path) -> None:
        """Check that the folder holds no other run, and build the model. Raises UserError."""
        self.objective, self.recipe, self.out = objective, recipe, out
        self.strategy, self.stop = objective.strategy, objective.stop
        accelerator = self.strategy.accelerator
        self.is_first_process: bool = accelerator.is_main_process
        self.checkpoints = Checkpoints(out / "checkpoints", recipe.keep_checkpoints)
        self.step, self.evaluated = 0, -1
        self.best_score: float | None = None
        # 1. Refuse the folder of another run before the model is loaded, which may take minutes.
        if self.is_first_process:
            check_identity(out, objective.identity())
            check_identity_exists(out, self.checkpoints.steps())
        # 2. Load the model. Then its commit is known, if it comes from the hub.
        objective.build()
        if self.is_first_process:
            identity = objective.identity()
            check_identity(out, identity)
            write_identity(out, with_earlier_code(out, identity))
        peak_flops = objective.peak_flops and objective.peak_flops * accelerator.num_processes
        self.metrics = Metrics(out, self.is_first_process, peak_flops, accelerator.log)

    def run(self, stop_after: int | None = None) -> bool:
        """Train to the end, or resume where an earlier run stopped; whether the end was reached.

        `stop_after` ends the run after that step, its state saved, as a signal would. The caller makes sure
        that no other run trains in the folder (`data_prep.folders.alone_in`). Raises Stopped if a signal
        comes while nothing needs to be saved: before the first step, and in an evaluation.
        """
        if self.recipe.threads:
            torch.set_num_threads(self.recipe.threads)
        steps = self.objective.steps
        with self.stop.handled():
            self.stop.check()
            self._resume()
            # A run that was stopped in an evaluation repeats it.
            if self._evaluation_is_due() and self.evaluated != self.step:
                self._evaluate()
            # A run that was killed after its last step still has to write the final weights.
            was_finished = self.step == steps
            with self.stop.deferred():
                if not self._train_to(steps if stop_after is None else min(stop_after, steps)):
                    return False
            if self.step == steps:
                final = self.out / self.objective.final_folder
                if not (was_finished and final.is_dir()):
                    self._save_weights(final)
                if self.is_first_process:
                    self._log_end(was_finished)
        return self.step == steps

    def run_to_end(self) -> None:
        """Train to the end, and leave the process group. Raises Stopped if a signal ended the run."""
        reached = self.run()
        self.strategy.accelerator.end_training()
        destroy_process_group()
        if not reached:
            raise Stopped(self.stop.status, is_reported=True)

    # ---- the loop ------------------------------------------------------------------------------------

    def _train_to(self, last: int) -> bool:
        """Take optimizer steps up to `last`; False if a signal ended them before."""
        recipe, first, started = self.recipe, self.step, time.monotonic()
        batches = self.objective.batches(range(first, last))
        while self.step < last:
            # 1. Data.
            if self.step > first and self.objective.needs_checkpoint_before(self.step):
                self._save_checkpoint()
            batch = next(batches)
            # 2. Forward and backward pass, update.
            self.take_step(batch)
            # 3. Log.
            if self.step % recipe.log_every == 0 or self.step == last:
                seconds_per_step = (time.monotonic() - started) / (self.step - first)
                self.metrics.log(self.step, self.objective.steps, seconds_per_step)
            # 4. Checkpoint. A signal may reach some processes only, or in different steps; all of them must
            #    stop together.
            stopping = bool(self.strategy.all_reduce_sum(int(self.stop.is_set)))
            evaluates = self._evaluation_is_due()
            if stopping or evaluates or self.step % recipe.checkpoint_every == 0 or self.step == last:
                self._save_checkpoint()
            if stopping:
                log.info("stopped at step %d; run the same command again to resume", self.step)
                return False
            # 5. Evaluate. The checkpoint is written before, because an evaluation takes longer than a cluster
            #    waits between SIGTERM and SIGKILL.
            if evaluates:
                with self.stop.immediate():
                    self._evaluate()
        return True

    def take_step(self, batch: Any) -> None:
        """One optimizer step. Raises UserError if the loss or the gradient is not finite."""
        started = time.monotonic()
        metrics = self.objective.take_step(batch, self.step)
        # Weights that such a loss has updated are not finite either; the run ends before they are saved.
        self._check_finite(metrics)
        self.step += 1
        self.metrics.add(metrics, time.monotonic() - started)

    def _check_finite(self, metrics: StepMetrics) -> None:
        values = {**metrics.losses, "norm of the gradient": metrics.grad_norm or 0.0}
        for name, value in values.items():
            if not math.isfinite(value):
                raise UserError(
                    f"{name} is {value} at step {self.step}; {self.objective.learning_rate_remedy}, and take "
                    "another out="
                )

    # ---- evaluation --------------------------------------------------------------------------------

    def _evaluation_is_due(self) -> bool:
        if self.step == 0:
            return self.objective.evaluates_initial_weights
        return self.step % self.recipe.evaluate_every == 0 or self.step == self.objective.steps

    def _evaluate(self) -> None:
        """Evaluate, log the metrics, and write best/ if the score is the best so far."""
        evaluation = self.objective.evaluate(self.step)
        self.evaluated = self.step
        for title, metrics in evaluation.sets:
            log.info("step %d  %s: %s", self.step, title, metrics)
            self.metrics.log_evaluation(self.step, title, vars(metrics))
        if self.is_first_process:
            self.objective.draw_plots(self.step, self.metrics.path)
        if evaluation.score is not None:
            is_best = self.best_score is None or evaluation.score > self.best_score
            if is_best:
                self.best_score = evaluation.score
            # The first process decides for all: in sharded inference the last bits of the others may differ.
            if self.strategy.all_reduce_sum(int(is_best and self.is_first_process)):
                self._save_weights(self.out / BEST)
        # Note the evaluation in the checkpoint of this step, so that a resumed run does not repeat it.
        if self.is_first_process:
            self.checkpoints.update_run_state(self._run_state())

    def _save_weights(self, folder: Path) -> None:
        evaluations = self.metrics.latest_evaluations() if self.is_first_process else {}
        self.objective.save_weights(folder, self.step, evaluations)

    # ---- checkpoints, resume -----------------------------------------------------------------------

    def _run_state(self) -> RunState:
        return RunState(
            step=self.step,
            evaluated=self.evaluated,
            best_score=self.best_score,
            strategy=self.strategy.name,
            num_processes=self.strategy.accelerator.num_processes,
            objective=self.objective.state(),
        )

    def _save_checkpoint(self) -> None:
        self.checkpoints.save(self._run_state(), self.strategy)

    def _resume(self) -> None:
        """Load the newest checkpoint, if there is one, and remove the metrics of steps after it."""
        # 1. Remove what a killed run has left unfinished.
        if self.is_first_process:
            for folder in (self.out, self.checkpoints.folder):
                tidy(folder)
        self.strategy.accelerator.wait_for_everyone()
        # 2. Weights, optimizer states, and position.
        run_state = self.checkpoints.newest(self.strategy)
        if run_state is not None:
            self.objective.prepare_resume(run_state.step)
            self.checkpoints.load(run_state, self.strategy)
            self.objective.load_state(run_state.objective)
            self.step, self.evaluated = run_state.step, run_state.evaluated
            self.best_score = self._held_best_score(run_state)
            log.info("resuming at step %d from %s", self.step, self.checkpoints.path(self.step))
        # 3. The steps after the checkpoint are repeated, and so are their rows.
        self.metrics.resume(self.step, self.evaluated == self.step)

    def _held_best_score(self, run_state: RunState) -> float | None:
        """The score of best/; None if that folder is missing, so that the next evaluation writes it again."""
        if run_state.best_score is None or (self.out / BEST).is_dir():
            return run_state.best_score
        if self.is_first_process:
            log.warning("%s: is missing; the next evaluation writes it again", self.out / BEST)
        return None

    def _log_end(self, was_finished: bool) -> None:
        """Log where the weights are and how to use them; `was_finished`: before this command."""
        best = self.out / BEST
        folder = best if best.is_dir() else self.out / self.objective.final_folder
        has_score = folder == best and self.best_score is not None
        quality = f" ({self.objective.score_name} {self.best_score:.3f})" if has_score else ""
        key = self.objective.checkpoint_key
        usage = "" if key is None else f": bash infer.sh {key}={folder}"
        for warning in self.objective.warnings():
            log.warning("%s", warning)
        log.info(
            "%s after %d steps; weights%s in %s%s",
            *("was already finished" if was_finished else "finished", self.step, quality, folder, usage),
        )


def train_in_one_process(
    make_objective: Callable[[Strategy, StopSignal], Objective[Any]],
    recipe: LoopSettings,
    out: Path,
    device: torch.device,
) -> None:
    """Train an objective to the end, or resume an earlier run, in this process and in float32.

    Raises Stopped if a signal ended the run, and UserError if the folder holds another one.
    """
    stop = StopSignal()
    with stop.handled():
        strategy = create_strategy(None, "ddp", None, device, torch.float32)
        Trainer(make_objective(strategy, stop), recipe, out).run_to_end()
