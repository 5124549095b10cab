"""Checkpoints that any layout and both engines write and read, whole or not there.

    checkpoints/step-00000012/rank0.safetensors ...   regions of the whole model's matrices
    checkpoints/step-00000012/manifest.json           a Manifest, see `manifest`

All ranks write into a folder with a dot before its name; rank 0 renames it when everything is on
disk. What is agreed on goes through collectives, of the main thread only, so every rank must call
each method; the tensors do not: each rank reads the regions that it needs.
"""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from launcher.results.run_folder import RunFolder
from launcher.spec.checkpointing import Checkpointing, young_daly
from launcher.spec.run import RunSpec
from launcher.workers.checkpoints import manifest, tensorfile
from launcher.workers.checkpoints.candidates import Candidate, Loaded, candidates
from launcher.workers.checkpoints.directory import CheckpointDirectory
from launcher.workers.checkpoints.manifest import Manifest, Part
from launcher.workers.checkpoints.pruning import Pruner
from launcher.workers.checkpoints.saving import HostMemory, RankFile, Saving, Written
from launcher.workers.checkpoints.tensorfile import Source
from launcher.workers.checkpoints.training_state import TrainingState
from launcher.workers.collectives import gather
from launcher.workers.errors import CheckpointError

FULL = (errno.ENOSPC, errno.EDQUOT)

NOTHING, WRITING, READY = range(3)
"""What a rank's `Checkpoints.flag` says of a save in flight."""


class Checkpoints:
    """The checkpoints of one run, as this rank sees them."""

    step_seconds: float | None = None
    """What a step takes, where the caller knows by now: the interval is then said in steps too."""

    problem: str | None = None
    """Why the last save failed; None where it did not."""

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        attempt: int,
        policy: Checkpointing = Checkpointing(),  # noqa: B008 - it is frozen
        start: Path | None = None,
    ) -> None:
        """Clear away what killed attempts left half written.

        Args:
            folder: the run's.
            spec: what runs now.
            attempt: number of this start.
            policy: how to save, and what to keep.
            start: folder of another run that this one begins from: one of the same trajectory, or
                the stage before.
        """
        self._folder, self._spec, self._policy, self._start = folder, spec, policy, start
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        self._directory = CheckpointDirectory(folder, attempt)
        self._pruner = Pruner(self._directory, spec, policy)
        self._memory, self._thread = HostMemory(), ThreadPoolExecutor(1, "checkpoint")
        self._saving: Saving | None = None
        self._sweeping: Future[None] = self._thread.submit(lambda: None)
        self._advised = False
        if self._rank == 0:
            self._directory.clear()
        gather([0.0])  # nobody writes before that

    def save(
        self, step: int, state: TrainingState, progress: dict[str, Any], score: float | None = None
    ) -> bool:
        """Write a checkpoint and drop the oldest; False, and a line, where it cannot be written.

        The run goes on without it: the checkpoints there were are still there. An asynchronous one
        is only begun when this returns, after the one before is done; `settle` makes it visible.
        ``progress`` is JSON, and rank 0's is what `load` returns. The lower the ``score``, the
        better.
        """
        self._land()
        begun = manifest.begun(self._spec, step, progress, score)
        path = self._directory.temporary(step) / _file(self._rank)
        filled = state.filled()
        saving = Saving(begun, RankFile(path, filled))
        errors = self._reserved(saving)
        if self._policy.asynchronous and not any(errors):
            errors = _on_all(self._memory.reserve(filled))
        if any(errors):
            saving.file.close()
            return self._ended(saving, errors)
        if not self._policy.asynchronous:
            return self._complete(saving, saving.file.write())
        saving.file.copy(self._memory)
        saving.writing = self._thread.submit(saving.file.write)
        saving.go_on()
        self._saving = saving
        return True

    @property
    def flag(self) -> int:
        """What this rank tells the others after each step: `NOTHING`, `WRITING` or `READY`."""
        if self._saving is None or self._saving.writing is None:
            return NOTHING
        return READY if self._saving.writing.done() else WRITING

    def settle(self, flags: Sequence[int]) -> None:
        """Make a save visible that is written on all ranks, as the flags of all of them say."""
        if WRITING not in flags and READY in flags:
            self._land()

    def finish(self) -> bool | None:
        """Wait for a save in flight and make it visible; None without one, else as `save`."""
        done = self._land()
        self._sweeping.result()
        return done

    def load(self, state: TrainingState, until: int | None = None) -> Loaded | None:
        """Restore the newest whole checkpoint, of step ``until`` at most; None where there is none.

        Raises:
            CheckpointError: it is of another model, or this is a later stage of a curriculum, for
                which random weights would be a wrong start.
        """
        assert self._saving is None, "a save is in flight"
        start = CheckpointDirectory(RunFolder(self._start)) if self._start else None
        for one in candidates(self._directory, start, until):
            loaded = self._tried(one, state)
            if one.own:
                self._pruner.judged(one.step, loaded is not None)
            if loaded:
                return loaded
        stage = self._spec.stage
        if stage and stage.parent:
            raise CheckpointError(
                f"stage {stage.number} ({stage.name}) goes on from step {self._spec.first}, of"
                f" which no whole checkpoint is in {self._start or self._folder.path}; without its"
                " result.json the same command trains the end of that stage again"
            )
        return None

    def forget_after(self, step: int) -> bool:
        """Remove the run's own checkpoints of later steps, which a rollback has left behind.

        False, and a line, where one remains: the next attempt would go on from it.
        """
        assert self._saving is None, "a save is in flight"
        problem = self._pruner.forget_after(step) if self._rank == 0 else None
        if problem:
            print(f"WARNING checkpoints after step {step} remain: {problem}", flush=True)
        remains = self._rank == 0 and any(one > step for one in self._directory.steps())
        return not _on_all(remains)[0]  # and nobody goes on before that

    def _land(self) -> bool | None:
        """`finish`, while what was dropped may still be on the disk."""
        saving, self._saving = self._saving, None
        return None if saving is None else self._complete(saving, saving.wait())

    def _tried(self, one: Candidate, state: TrainingState) -> Loaded | None:
        """Restore a checkpoint; None, and a line, where any rank finds that it cannot be."""
        found = one.examined(self._spec, self._rank, self._ranks)
        if not self._agreed(one, found if isinstance(found, str) else None):
            return None
        assert isinstance(found, Manifest)
        difference = found.differing_size(self._spec.model)
        if difference:
            raise CheckpointError(f"{one.path.name} is of another model: {difference}")
        source = Source(one.path, found)
        if not self._agreed(one, state.lacks(source)):
            return None
        state.restore(source)
        return Loaded(one.step, found.progress, source.bytes_read)

    def _agreed(self, one: Candidate, problem: str | None) -> bool:
        """Whether no rank has a problem with a checkpoint; the first one that has says it."""
        failed = [rank for rank, flag in enumerate(_on_all(problem is not None)) if flag]
        if failed and failed[0] == self._rank:
            print(f"WARNING {one} skipped: {problem}", flush=True)
        return not failed

    def _reserved(self, saving: Saving) -> list[int]:
        """Have room for every rank's file, older ones' if there is no other: each rank's error."""
        self._sweeping.result()
        gather([0.0])  # what rank 0 has swept is room for all
        while True:
            errors = _on_all(saving.file.reserve())
            if not {*errors} & {*FULL}:
                return errors
            removed = self._rank == 0 and self._pruner.make_room(saving.begun)
            if not _on_all(removed)[0]:
                return errors

    def _complete(self, saving: Saving, written: Written) -> bool:
        """Make a checkpoint visible of which this rank has written its file."""
        table = gather([written.error, written.size, *bytes.fromhex(written.sha256)])
        errors, size = [int(row[0]) for row in table], sum(int(row[1]) for row in table)
        if not any(errors):
            files = {
                _file(rank): (int(size), bytes(map(int, digest)).hex())
                for rank, (_, size, *digest) in enumerate(table)
                if size  # else others have the same
            }
            errors = _on_all(self._publish(saving, files) if self._rank == 0 else 0)
        return self._ended(saving, errors, size)

    def _publish(self, saving: Saving, files: dict[str, tuple[int, str]]) -> int:
        """Rank 0's part, with the size and SHA-256 of each file; the error number, 0 for none."""
        step, folder = saving.begun.step, self._directory.temporary(saving.begun.step)
        try:
            parts = {
                name: Part(bytes=size, sha256=sha256, pieces=tensorfile.pieces(folder / name))
                for name, (size, sha256) in files.items()
            }
            whole = manifest.completed(saving.begun, parts)
            elements = sum(piece.elements for part in parts.values() for piece in part.pieces)
            assert elements == self._spec.model.params, f"{elements} parameters were written"
            self._directory.publish(whole)
        except OSError as error:
            return error.errno or errno.EIO
        saving.visible = time.monotonic()
        problem = self._directory.point(step)
        self._pruner.saved(whole)
        self._sweeping = self._thread.submit(self._directory.sweep)
        if not self._policy.asynchronous:
            self._sweeping.result()
        if problem:
            print(f"WARNING checkpoints/latest is not of step {step}: {problem}", flush=True)
        return 0

    def _ended(self, saving: Saving, errors: list[int], size: int = 0) -> bool:
        """Whether a save is good; rank 0 records what became of it."""
        failed = [rank for rank, error in enumerate(errors) if error]
        self.problem = os.strerror(errors[failed[0]]) if failed else None
        if self._rank == 0 and self.problem:
            self._give_up(saving.begun.step, failed[0], self.problem)
        elif self._rank == 0:
            self._record(saving, size)
        return not failed

    def _give_up(self, step: int, rank: int, reason: str) -> None:
        # Marked as a warning so that it is not the cause of what may come later.
        print(f"WARNING checkpoint at step {step} failed: rank {rank}: {reason}", flush=True)
        shutil.rmtree(self._directory.temporary(step), ignore_errors=True)
        with suppress(OSError):  # for the same reason, maybe
            self._folder.add_event("save_failed", step, rank=rank, reason=reason)

    def _record(self, saving: Saving, size: int) -> None:
        saving.go_on()
        seconds = saving.visible - saving.began
        figures = {"seconds": seconds, "bytes": size, "waited_s": saving.waited}
        with suppress(OSError):  # it is there all the same
            self._folder.add_event("save", saving.begun.step, **figures, **self._advice(saving))

    def _advice(self, saving: Saving) -> dict[str, int]:
        """Say once which interval loses least; in steps, where their time is known."""
        if self._policy.mtbf_hours is None or self._advised:
            return {}
        self._advised = True
        seconds = saving.visible - saving.began
        # A save costs what training waits for it, and the next cannot begin before it is done.
        interval = max(young_daly(saving.waited, self._policy.mtbf_hours * 3600), seconds)
        said = (
            f"checkpoint took {saving.waited:.3g} s; for an MTBF of {self._policy.mtbf_hours:g} h"
            f" the interval that loses least is {interval:.0f} s"
        )
        if self.step_seconds is None:
            print(said, flush=True)
            return {}
        every = max(1, round(interval / self.step_seconds))
        print(f"{said}, every {every} steps of {self.step_seconds:.3g} s", flush=True)
        return {"suggested_every": every}


def _on_all(figure: float) -> list[int]:
    """A whole number of each rank."""
    return [int(row[0]) for row in gather([figure])]


def _file(rank: int) -> str:
    return f"rank{rank}.safetensors"
