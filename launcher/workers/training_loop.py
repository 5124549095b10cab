"""Training loop of one rank: train, save, roll back, stop, go on."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec
from launcher.spikes.ladder import GuardAction
from launcher.workers import metrics_history
from launcher.workers.checkpoints.checkpoints import Checkpoints
from launcher.workers.collectives import gather
from launcher.workers.data.batches import DIGESTS, Batches
from launcher.workers.data.sample_order import hash64
from launcher.workers.engines.engine import Engine, RankStep
from launcher.workers.errors import CheckpointError, DataError, DivergedError
from launcher.workers.measure import Meter, StepFigures, reduce
from launcher.workers.process import garbage
from launcher.workers.process.stop_request import StopRequest
from launcher.workers.process.watchdog import Watchdog
from launcher.workers.sampling.evaluation import Evaluation
from launcher.workers.spike_guard import Guard, event_fields

PASS_OVER = GuardAction(kind="skip", reason="its samples are passed over after a rollback")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Parts that `Run` drives."""

    spec: RunSpec
    folder: RunFolder
    engine: Engine
    batches: Batches
    meter: Meter
    watchdog: Watchdog
    stop: StopRequest
    attempt: int
    start: Path | None
    """Folder of the run that this one goes on from."""
    checkpoints: Checkpoints | None
    """None for a run that makes none and can only start again."""
    every: int
    """Optimizer steps from one checkpoint to the next."""
    evaluation: Evaluation | None
    """Validation losses and texts after each checkpoint, where they are asked for."""


class Run:
    """One attempt at a run. Its own state is in the ``progress`` of each checkpoint."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._spec, self._checkpoints = parts, parts.spec, parts.checkpoints
        self._first_rank = int(os.environ["RANK"]) == 0
        self._guard = Guard(parts.spec, parts.folder, parts.start, self._first_rank)
        self._samples = "0" * 16
        """Running digest of the samples of all steps so far, those of earlier stages included."""
        self._digest = 0
        """Digest of the samples of the last step."""
        self._losses: list[float] = []
        """Losses since the last checkpoint."""

    def resume(self) -> int | None:
        """Go on from the newest checkpoint; return its step, None where there is none."""
        if self._checkpoints is None:
            return None
        first, rollback = self._spec.first, self._guard.unfinished
        step = self._go_back(rollback) if rollback else self._load(None)
        if step is None and self._parts.start:
            raise CheckpointError(f"no whole checkpoint is in {self._parts.start} to go on from")
        if step is None:
            self._guard.begin_anew()
        if self._parts.evaluation:
            self._parts.evaluation.forget_after(step or first)
        if self._first_rank:
            metrics_history.restart(self._parts.folder, first, step or first, self._parts.start)
        return step

    def steps(self, first: int) -> bool:
        """Do every step after ``first``; False where any rank was asked to stop.

        Raises:
            DivergedError: the loss is lost, and no rollback is left.
            CheckpointError: the last one of a stage, which the next goes on from, is not written.
        """
        parts, step = self._parts, first
        if self._checkpoints and any(row[0] for row in gather([parts.stop.asked])):
            print(f"stopped on request before step {first + 1}")
            return False
        self._event("start", first, attempt=parts.attempt)
        if self._guard.rolls_back and first == 0:
            self._save(first)  # there has to be something to go back to
        if parts.evaluation and self._is_due(first) and parts.evaluation.lacks(first):
            self._evaluate(first, parts.evaluation)  # an attempt was killed before it was done
        parts.watchdog.ready(first)
        with garbage.collected_between_steps() as collect:
            parts.meter.start()
            while step < self._spec.last:
                step += 1
                action, stop_asked = self._step(step)
                collect(step)
                parts.watchdog.beat(step)
                if action.kind == "roll_back":
                    step = self._roll_back(step, action)
                elif not self._save_if_due(step, stop_asked):
                    return False
                elif parts.evaluation and self._is_due(step):
                    self._evaluate(step, parts.evaluation)
        return True

    def _step(self, step: int) -> tuple[GuardAction, bool]:
        """Train on the samples of a step, or pass over them.

        Return the guard's action, and True if any rank is asked to stop.
        """
        parts, guard, decision = self._parts, self._guard, _Decision(PASS_OVER)
        lr = self._spec.rate(step) * guard.lr_factor(step)
        if guard.passes_over(step):
            digest = parts.batches.expected(step)
        else:
            parts.engine.step(step, lr, decision.apply_function(guard, step))
            digest = parts.batches.read(step)
        flag = self._checkpoints.flag if self._checkpoints else 0
        rows = parts.meter.record(step, decision.figures, [parts.stop.asked, digest, flag])
        self._digest = sum(int(row[1]) for row in rows) % DIGESTS
        self._samples = f"{hash64(self._samples, step, self._digest):016x}"
        action = decision.action
        if decision.figures:
            self._losses.append(decision.figures.loss)
        fields = {"lr": lr, "samples": self._samples, "attempt": parts.attempt}
        parts.meter.write(fields | {"action": None if action.kind == "apply" else action.kind})
        self._report(step, action, decision.figures)
        if self._checkpoints:
            self._checkpoints.settle([int(row[2]) for row in rows])
            self._checkpoints.step_seconds = parts.meter.seconds
        return action, any(row[0] for row in rows)

    def _report(self, step: int, action: GuardAction, figures: StepFigures | None) -> None:
        """Log the events of a step; raise DivergedError where the guard ends the run."""
        for event in self._guard.events if figures else ():
            self._event(event.kind, **event_fields(event))
        if action.kind == "skip" and figures:
            self._event("skip", step, reason=action.reason)
        if action.kind == "stop":
            self._event("stop", step, reason=action.reason)
            raise DivergedError(action.reason)

    def _is_due(self, step: int) -> bool:
        """Return True after a step that trained for which a checkpoint is due."""
        due = step == self._spec.last or step % self._parts.every == 0
        return due and step > self._spec.first

    def _evaluate(self, step: int, evaluation: Evaluation) -> None:
        """Evaluate the model, outside of the time of steps."""
        self._parts.watchdog.evaluating()  # also one without a pass is no step to be measured
        evaluation.run(step)
        self._parts.watchdog.beat(step)
        self._parts.meter.start()

    def _save_if_due(self, step: int, stop_asked: bool) -> bool:
        """Write a checkpoint where one is due; False where the run is to end here."""
        if self._checkpoints is None:
            return True
        last = step == self._spec.last
        if last or stop_asked or step % self._parts.every == 0:
            saved = self._save(step, wait=last or stop_asked)
            if last and self._spec.stage and not saved:
                raise CheckpointError(
                    f"the last checkpoint of stage {self._spec.stage.name}, which the next one goes"
                    f" on from, is not written: {self._checkpoints.problem}"
                )
            if stop_asked and not last:
                outcome = "checkpoint written" if saved else "checkpoint not written"
                print(f"stopped on request at step {step}, {outcome}")
                return False
        return True

    def _save(self, step: int, wait: bool = False) -> bool:
        """Write a checkpoint, outside of the time of steps; with ``wait`` it is then complete."""
        assert self._checkpoints
        losses = self._losses
        progress = {
            "samples": self._samples,
            "digest": self._digest,
            "guard": self._guard.state_dict(),
        }
        self._parts.watchdog.saving()
        score = sum(losses) / len(losses) if losses else None
        saved = self._checkpoints.save(step, self._parts.engine.state(), progress, score)
        if wait:
            saved = self._checkpoints.finish() is not False and saved
        self._losses = []
        self._parts.watchdog.beat(step)
        self._parts.meter.start()
        return saved

    def _roll_back(self, step: int, action: GuardAction) -> int:
        """Go back to a checkpoint from before the spike; return its step."""
        assert self._checkpoints and action.to is not None
        self._guard.begin_rollback(step, max(action.to, self._spec.first), action.reason)
        self._parts.watchdog.saving()
        self._checkpoints.finish()
        rollback = self._guard.unfinished
        assert rollback
        restored = self._go_back(rollback)
        self._parts.watchdog.beat(restored)
        self._parts.meter.start()
        return restored

    def _go_back(self, rollback: dict[str, Any]) -> int:
        """Do a rollback decided now or by an attempt that was killed; return the restored step.

        Raises:
            DivergedError: there is no checkpoint to go back to.
        """
        assert self._checkpoints
        step, to, reason = rollback["step"], rollback["to"], rollback["reason"]
        restored = self._load(to)
        if restored is None:
            self._guard.end_rollback()
            raise DivergedError(f"{reason}; no checkpoint of step {to} or before to go back to")
        self._parts.meter.forget()
        if self._first_rank:
            metrics_history.give_up(self._parts.folder, restored)
        tokens_lost = self._spec.tokens_through(step) - self._spec.tokens_through(restored)
        self._event(
            "rollback",
            step,
            to=restored,
            reason=reason,
            steps_lost=step - restored,
            tokens_lost=tokens_lost,
        )
        is_done = self._checkpoints.forget_after(restored)
        if self._parts.start and not self._spec.stage:
            # Newer checkpoints of that run are not ours to remove; one of our own precedes them.
            is_done = self._save(restored, wait=True) and is_done
        if is_done:  # else the next attempt does it again
            self._guard.end_rollback()
        if self._parts.evaluation:
            self._parts.evaluation.forget_after(restored)
        return restored

    def _load(self, until: int | None) -> int | None:
        """Restore the newest checkpoint up to a step; return its step, None where there is none.

        Raises:
            CheckpointError: there has to be one, of the stage before.
            DataError: the samples before it were others than those of now.
        """
        assert self._checkpoints
        loaded = self._checkpoints.load(self._parts.engine.state(), until)
        self._losses = []
        if loaded is None:
            return None
        progress = loaded.progress
        self._samples, self._digest = progress["samples"], progress["digest"]
        self._guard.load_state_dict(progress["guard"])
        if loaded.step > self._spec.first:
            self._check_samples(loaded.step)
        elif self._spec.stage:
            self._guard.expect_shift(loaded.step + 1)  # another blend, perhaps another schedule
        return loaded.step

    def _check_samples(self, step: int) -> None:
        rows = gather([self._parts.batches.expected(step)])
        digest = sum(int(row[0]) for row in rows) % DIGESTS
        if digest != self._digest:
            raise DataError(
                f"step {step} was trained on other samples than the data holds now: digest"
                f" {self._digest:013x} in the checkpoint, {digest:013x} here"
            )

    def _event(self, kind: str, step: int, **figures: Any) -> None:
        if self._first_rank:
            with suppress(OSError):  # a full disk is no reason to end
                self._parts.folder.add_event(kind, step, **figures)


@dataclass(slots=True)
class _Decision:
    """Decision about a step, made when its engine asks whether to apply the update."""

    action: GuardAction
    figures: StepFigures | None = None

    def apply_function(self, guard: Guard, step: int) -> Callable[[RankStep], bool]:
        """Return the function for the engine to ask, which decides and remembers the decision."""

        def apply(rank_step: RankStep) -> bool:
            self.figures = reduce(rank_step)
            self.action = guard.decide(step, self.figures)
            return self.action.kind == "apply"

        return apply
