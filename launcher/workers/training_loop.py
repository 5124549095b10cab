"""One rank's way through the steps of a run: train, save, roll back, stop, go on."""

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
from launcher.workers.engines.engine import Done, Engine
from launcher.workers.errors import CheckpointError, DataError, DivergedError
from launcher.workers.measure import Meter, Reduced, reduce
from launcher.workers.process.stop_request import StopRequest
from launcher.workers.process.watchdog import Watchdog
from launcher.workers.sampling.sampler import Sampler
from launcher.workers.spike_guard import Guard, described

PASS_OVER = GuardAction(kind="skip", reason="its samples are passed over after a rollback")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a run is made of."""

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
    sampler: Sampler | None
    """What tries each checkpoint; on rank 0, where that is asked for."""


class Run:
    """One attempt at a run. What it has to know to go on is in the progress of a checkpoint."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._spec, self._checkpoints = parts, parts.spec, parts.checkpoints
        self._first_rank = int(os.environ["RANK"]) == 0
        self._guard = Guard(parts.spec, parts.folder, parts.start, self._first_rank)
        self._samples = "0" * 16
        """Running digest of the samples of all steps so far, those of earlier stages included."""
        self._digest = 0
        """Of the samples of the last step."""
        self._losses: list[float] = []
        """Since the last checkpoint."""

    def resume(self) -> int | None:
        """Go on from the newest checkpoint; its step, None where there is none."""
        if self._checkpoints is None:
            return None
        first, rollback = self._spec.first, self._guard.unfinished
        step = self._go_back(rollback) if rollback else self._load(None)
        if step is None and self._parts.start:
            raise CheckpointError(f"no whole checkpoint is in {self._parts.start} to go on from")
        if step is None:
            self._guard.begin()
        if self._first_rank:
            metrics_history.restart(self._parts.folder, first, step or first, self._parts.start)
        return step

    def steps(self, first: int) -> bool:
        """Every step after ``first``; False where any rank was asked to stop.

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
        parts.watchdog.ready(first)
        parts.meter.start()
        while step < self._spec.last:
            step += 1
            action, asked = self._step(step)
            parts.watchdog.beat(step)
            if action.kind == "roll_back":
                step = self._roll_back(step, action)
            elif not self._saved(step, asked):
                return False
        return True

    def _step(self, step: int) -> tuple[GuardAction, bool]:
        """Train on the samples of a step, or pass over them; whether any rank is asked to stop."""
        parts, guard, seen = self._parts, self._guard, _Seen(PASS_OVER)
        lr = self._spec.rate(step) * guard.lr_factor(step)
        if guard.passes_over(step):
            digest = parts.batches.expected(step)
        else:
            parts.engine.step(step, lr, seen.asks(guard, step))
            digest = parts.batches.read(step)
        flag = self._checkpoints.flag if self._checkpoints else 0
        rows = parts.meter.record(step, seen.reduced, [parts.stop.asked, digest, flag])
        self._digest = sum(int(row[1]) for row in rows) % DIGESTS
        self._samples = f"{hash64(self._samples, step, self._digest):016x}"
        action = seen.action
        if seen.reduced:
            self._losses.append(seen.reduced.loss)
        said = {"lr": lr, "samples": self._samples, "attempt": parts.attempt}
        parts.meter.write(said | {"action": None if action.kind == "apply" else action.kind})
        self._tell(step, action, seen.reduced)
        if self._checkpoints:
            self._checkpoints.settle([int(row[2]) for row in rows])
            self._checkpoints.step_seconds = parts.meter.seconds
        if parts.sampler:
            parts.sampler.poll()
        return action, any(row[0] for row in rows)

    def _tell(self, step: int, action: GuardAction, reduced: Reduced | None) -> None:
        """Put down what happened in a step; end the run where that is what is to be done."""
        for event in self._guard.events if reduced else ():
            self._event(event.kind, **described(event))
        if action.kind == "skip" and reduced:
            self._event("skip", step, reason=action.reason)
        if action.kind == "stop":
            self._event("stop", step, reason=action.reason)
            raise DivergedError(action.reason)

    def _saved(self, step: int, asked: bool) -> bool:
        """Write a checkpoint where one is due; False where the run is to end here."""
        if self._checkpoints is None:
            return True
        last = step == self._spec.last
        if last or asked or step % self._parts.every == 0:
            saved = self._save(step, wait=last or asked)
            if last and self._spec.stage and not saved:
                raise CheckpointError(
                    f"the last checkpoint of stage {self._spec.stage.name}, which the next one goes"
                    f" on from, is not written: {self._checkpoints.problem}"
                )
            if asked and not last:
                what = "checkpoint written" if saved else "checkpoint not written"
                print(f"stopped on request at step {step}, {what}")
                return False
        return True

    def _save(self, step: int, wait: bool = False) -> bool:
        """Write a checkpoint, in nobody's step; with ``wait`` it is there when this returns."""
        assert self._checkpoints
        losses = self._losses
        progress = {
            "samples": self._samples,
            "digest": self._digest,
            "guard": self._guard.state_dict(),
        }
        self._parts.watchdog.saving()
        score = sum(losses) / len(losses) if losses else None
        done = self._checkpoints.save(step, self._parts.engine.state(), progress, score)
        if wait:
            done = self._checkpoints.finish() is not False and done
        if done and self._parts.sampler and step > self._spec.first:
            self._parts.sampler.start(step)
        self._losses = []
        self._parts.watchdog.beat(step)
        self._parts.meter.start()
        return done

    def _roll_back(self, step: int, action: GuardAction) -> int:
        """Give up all since a checkpoint before what happened; its step."""
        assert self._checkpoints and action.to is not None
        self._guard.rolls(step, max(action.to, self._spec.first), action.reason)
        self._parts.watchdog.saving()
        self._checkpoints.finish()
        rollback = self._guard.unfinished
        assert rollback
        found = self._go_back(rollback)
        self._parts.watchdog.beat(found)
        self._parts.meter.start()
        return found

    def _go_back(self, rollback: dict[str, Any]) -> int:
        """Do a rollback that was decided, now or by an attempt that was killed; its step.

        Raises:
            DivergedError: there is no checkpoint to go back to.
        """
        assert self._checkpoints
        step, to, reason = rollback["step"], rollback["to"], rollback["reason"]
        found = self._load(to)
        if found is None:
            self._guard.rolled()
            raise DivergedError(f"{reason}; no checkpoint of step {to} or before to go back to")
        self._parts.meter.forget()
        if self._first_rank:
            metrics_history.give_up(self._parts.folder, found)
        lost = self._spec.tokens_through(step) - self._spec.tokens_through(found)
        self._event("rollback", step, to=found, reason=reason,
                    steps_lost=step - found, tokens_lost=lost)  # fmt: skip
        gone = self._checkpoints.forget_after(found)
        if self._parts.start and not self._spec.stage:
            gone = self._save(found, wait=True) and gone  # newer ones of that run are not ours
        if gone:
            self._guard.rolled()
        if self._parts.sampler:
            self._parts.sampler.forget_after(found)
        return found

    def _load(self, until: int | None) -> int | None:
        """Become what a checkpoint holds; its step, None where there is none.

        Raises:
            CheckpointError: there has to be one, of the stage before.
            DataError: the samples before it were others than those of now.
        """
        assert self._checkpoints
        loaded = self._checkpoints.load(self._parts.engine.state(), until)
        self._losses = []
        if loaded is None:
            return None
        known = loaded.progress
        self._samples, self._digest = known["samples"], known["digest"]
        self._guard.load_state_dict(known["guard"])
        if loaded.step > self._spec.first:
            self._check_samples(loaded.step)
        elif self._spec.stage:
            self._guard.expect_shift(loaded.step + 1)  # another blend, and a schedule perhaps
        return loaded.step

    def _check_samples(self, step: int) -> None:
        rows = gather([self._parts.batches.expected(step)])
        found = sum(int(row[0]) for row in rows) % DIGESTS
        if found != self._digest:
            raise DataError(
                f"step {step} was trained on other samples than the data holds now: digest"
                f" {self._digest:013x} in the checkpoint, {found:013x} here"
            )

    def _event(self, kind: str, step: int, **figures: Any) -> None:
        if self._first_rank:
            with suppress(OSError):  # a full disk is no reason to end
                self._parts.folder.add_event(kind, step, **figures)


@dataclass(slots=True)
class _Seen:
    """What a step showed when its engine asked whether to apply the update."""

    action: GuardAction
    reduced: Reduced | None = None

    def asks(self, guard: Guard, step: int) -> Callable[[Done], bool]:
        """What the engine asks."""

        def apply(done: Done) -> bool:
            self.reduced = reduce(done)
            self.action = guard.decide(step, self.reduced)
            return self.action.kind == "apply"

        return apply
