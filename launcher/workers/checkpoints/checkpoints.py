"""Checkpoints that any layout and both engines write and read, complete or not there at all.

    checkpoints/step-00000012/rank0.safetensors ...   regions of the full model's matrices
    checkpoints/step-00000012/manifest.json           a Manifest, see `manifest`

All ranks write into a folder with a dot before its name; rank 0 renames it when everything is on
disk. Ranks agree by collectives, in the main thread only, so every rank must call each method. The
tensors take no part in these: each rank reads the regions that it needs.
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

from launcher.results.run_folder import RESULT, RunFolder
from launcher.spec.checkpointing import Checkpointing, young_daly
from launcher.spec.run import RunSpec
from launcher.workers.checkpoints import manifest, tensorfile
from launcher.workers.checkpoints.candidates import Candidate, LoadedCheckpoint, candidates
from launcher.workers.checkpoints.directory import CheckpointDirectory
from launcher.workers.checkpoints.manifest import Manifest, Part
from launcher.workers.checkpoints.pruning import Pruner
from launcher.workers.checkpoints.saving import HostMemory, PendingSave, RankFile, WriteResult
from launcher.workers.checkpoints.tensorfile import CheckpointReader, PieceTensors
from launcher.workers.checkpoints.training_state import TrainingState
from launcher.workers.collectives import gather
from launcher.workers.errors import CheckpointError
from launcher.workers.model import platform

FULL = (errno.ENOSPC, errno.EDQUOT)

NOTHING, WRITING, READY = range(3)
"""Values of `Checkpoints.flag`, the state of this rank's part of a save in flight."""


class Checkpoints:
    """The checkpoints of one run, as this rank sees them."""

    step_seconds: float | None = None
    """Seconds of a step, once the caller knows; the advised interval is then in steps as well."""

    problem: str | None = None
    """Reason why the last save failed; None where it did not."""

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        attempt: int,
        policy: Checkpointing = Checkpointing(),  # noqa: B008 - it is frozen
        start: Path | None = None,
    ) -> None:
        """Remove what killed attempts left half written.

        Args:
            folder: the run's.
            spec: the run's, as it is now.
            attempt: number of this start.
            policy: how to save, and which checkpoints to retain.
            start: folder of another run that this one begins from: one of the same trajectory, or
                the stage before.
        """
        self._folder, self._spec, self._policy, self._start = folder, spec, policy, start
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        self._directory = CheckpointDirectory(folder, attempt)
        self._pruner = Pruner(self._directory, spec, policy)
        self._memory, self._thread = HostMemory(), ThreadPoolExecutor(1, "checkpoint")
        on_cards = platform.device().type == "cuda"
        self._asynchronous = on_cards if policy.asynchronous is None else policy.asynchronous
        self._pending: PendingSave | None = None
        self._sweeping: Future[None] = self._thread.submit(lambda: None)
        self._advised = False
        if self._rank == 0:
            self._directory.clear()
        gather([0.0])  # nobody writes before that

    def save(
        self, step: int, state: TrainingState, progress: dict[str, Any], score: float | None = None
    ) -> bool:
        """Write a checkpoint and drop the oldest; False, and a line, where it cannot be written.

        The run goes on without it, and with the checkpoints there were. An asynchronous save waits
        for the one before and is only begun when this returns; `settle` makes it visible.
        ``progress`` is JSON; `load` returns that of rank 0. The lower the ``score``, the better.
        """
        self._complete_pending()
        contents = state.contents()
        path = self._directory.temporary(step) / _file(self._rank)
        save = PendingSave(
            manifest.draft(self._spec, step, progress, score), RankFile(path, contents)
        )
        errors = self._reserve(save)
        if self._asynchronous and not any(errors):
            errors = self._reserve_memory(contents)
        if any(errors):
            save.file.close()
            return self._conclude(save, errors)
        if not self._asynchronous:
            return self._complete(save, save.file.write())
        save.file.copy(self._memory)
        save.writing = self._thread.submit(save.file.write)
        save.stop_waiting()
        self._pending = save
        return True

    def _reserve_memory(self, contents: list[PieceTensors]) -> list[int]:
        """Allocate memory for a copy on all ranks, or do without where nobody asked for one."""
        asked = self._policy.asynchronous is not None
        errors = _gather_int(self._memory.reserve(contents, asked))
        if not any(errors) or self._policy.asynchronous:
            return errors
        self._asynchronous = False
        self._memory.release()
        if self._rank == 0:
            print("WARNING training waits for checkpoints: no host memory for a copy", flush=True)
        return [0] * self._ranks

    @property
    def flag(self) -> int:
        """State for the other ranks to know after each step: `NOTHING`, `WRITING` or `READY`."""
        if self._pending is None or self._pending.writing is None:
            return NOTHING
        return READY if self._pending.writing.done() else WRITING

    def settle(self, flags: Sequence[int]) -> None:
        """Make a save visible if, by the flags of all ranks, it is written on all of them."""
        if WRITING not in flags and READY in flags:
            self._complete_pending()

    def finish(self) -> bool | None:
        """Wait for a save in flight and make it visible; None without one, else as `save`.

        Afterwards the room of dropped checkpoints is free.
        """
        saved = self._complete_pending()
        self._sweeping.result()
        return saved

    def load(self, state: TrainingState, until: int | None = None) -> LoadedCheckpoint | None:
        """Restore the newest good checkpoint, of step ``until`` at most; None where there is none.

        Raises:
            CheckpointError: it is of another model, or this is a later stage of a curriculum, for
                which random weights would be a wrong start.
        """
        assert self._pending is None, "a save is in flight"
        start = CheckpointDirectory(RunFolder(self._start)) if self._start else None
        for candidate in candidates(self._directory, start, until):
            loaded = self._restore(candidate, state)
            if candidate.of_this_run:
                self._pruner.mark(candidate.step, good=loaded is not None)
            if loaded:
                return loaded
        stage = self._spec.stage
        if stage and stage.parent:
            raise CheckpointError(
                f"stage {stage.number} ({stage.name}) goes on from step {self._spec.first}, of"
                f" which no whole checkpoint is in {self._start or self._folder.path}; without its"
                f" {RESULT} the same command trains the end of that stage again"
            )
        return None

    def forget_after(self, step: int) -> bool:
        """Remove the run's own checkpoints of later steps, which a rollback has given up.

        False, and a line, where one remains: the next attempt would go on from it.
        """
        assert self._pending is None, "a save is in flight"
        problem = self._pruner.forget_after(step) if self._rank == 0 else None
        if problem:
            print(f"WARNING checkpoints after step {step} remain: {problem}", flush=True)
        remains = self._rank == 0 and any(later > step for later in self._directory.steps())
        return not _gather_int(remains)[0]  # a collective: no rank goes on before the removal

    def _complete_pending(self) -> bool | None:
        """Complete a save in flight, as `finish`; dropped checkpoints may still take room."""
        save, self._pending = self._pending, None
        return None if save is None else self._complete(save, save.wait())

    def _restore(self, candidate: Candidate, state: TrainingState) -> LoadedCheckpoint | None:
        """Restore a checkpoint; None, and a line, where any rank finds that it cannot be."""
        checkpoint = candidate.examine(self._spec, self._rank, self._ranks)
        problem = checkpoint if isinstance(checkpoint, str) else None
        if not self._all_accept(candidate, problem):
            return None
        assert isinstance(checkpoint, Manifest)
        difference = checkpoint.differing_size(self._spec.model)
        if difference:
            raise CheckpointError(f"{candidate.path.name} is of another model: {difference}")
        reader = CheckpointReader(candidate.path, checkpoint)
        if not self._all_accept(candidate, state.lacks(reader)):
            return None
        state.restore(reader)
        return LoadedCheckpoint(candidate.step, checkpoint.progress, reader.bytes_read)

    def _all_accept(self, candidate: Candidate, problem: str | None) -> bool:
        """Return True if no rank has a problem with a checkpoint; the first that has prints it."""
        refusals = _gather_int(problem is not None)
        refusing = [rank for rank, refused in enumerate(refusals) if refused]
        if refusing and refusing[0] == self._rank:
            print(f"WARNING {candidate} skipped: {problem}", flush=True)
        return not refusing

    def _reserve(self, save: PendingSave) -> list[int]:
        """Reserve room for every rank's file, at the expense of older checkpoints if need be.

        Return the errno of each rank, 0 for none.
        """
        self._sweeping.result()
        gather([0.0])  # the room that rank 0 has swept is there for all
        while True:
            errors = _gather_int(save.file.reserve())
            if not {*errors} & {*FULL}:
                return errors
            removed = self._rank == 0 and self._pruner.make_room(save.draft)
            if not _gather_int(removed)[0]:
                return errors

    def _complete(self, save: PendingSave, written: WriteResult) -> bool:
        """Make a checkpoint visible of which this rank has written its file; False on failure."""
        table = gather([written.error, written.size, *bytes.fromhex(written.sha256)])
        errors, total_size = [int(row[0]) for row in table], sum(int(row[1]) for row in table)
        if not any(errors):
            files = {
                _file(rank): (int(size), bytes(map(int, digest)).hex())
                for rank, (_, size, *digest) in enumerate(table)
                if size  # else the rank wrote none, as others have the same
            }
            errors = _gather_int(self._publish(save, files) if self._rank == 0 else 0)
        return self._conclude(save, errors, total_size)

    def _publish(self, save: PendingSave, files: dict[str, tuple[int, str]]) -> int:
        """Make a checkpoint visible, on rank 0; return errno, 0 for none.

        ``files`` has the size and SHA-256 of each file.
        """
        step, folder = save.draft.step, self._directory.temporary(save.draft.step)
        try:
            parts = {
                name: Part(bytes=size, sha256=sha256, pieces=tensorfile.pieces(folder / name))
                for name, (size, sha256) in files.items()
            }
            complete = manifest.complete(save.draft, parts)
            elements = sum(piece.elements for part in parts.values() for piece in part.pieces)
            assert elements == self._spec.model.params, f"{elements} parameters were written"
            self._directory.publish(complete)
        except OSError as error:
            return error.errno or errno.EIO
        save.visible = time.monotonic()
        problem = self._directory.point(step)
        self._pruner.add(complete)
        self._sweeping = self._thread.submit(self._directory.sweep)
        if not self._asynchronous:
            self._sweeping.result()
        if problem:
            print(f"WARNING checkpoints/latest is not of step {step}: {problem}", flush=True)
        return 0

    def _conclude(self, save: PendingSave, errors: list[int], size: int = 0) -> bool:
        """Return True if a save is good; rank 0 records its outcome."""
        failed = [rank for rank, error in enumerate(errors) if error]
        self.problem = os.strerror(errors[failed[0]]) if failed else None
        if self._rank == 0 and self.problem:
            self._give_up(save.draft.step, failed[0], self.problem)
        elif self._rank == 0:
            self._record(save, size)
        return not failed

    def _give_up(self, step: int, rank: int, reason: str) -> None:
        # WARNING, so that a later failure of the run is not put down to this line.
        print(f"WARNING checkpoint at step {step} failed: rank {rank}: {reason}", flush=True)
        shutil.rmtree(self._directory.temporary(step), ignore_errors=True)
        with suppress(OSError):  # the disk may be as full for this
            self._folder.add_event("save_failed", step, rank=rank, reason=reason)

    def _record(self, save: PendingSave, size: int) -> None:
        save.stop_waiting()
        seconds = save.visible - save.began
        figures = {"seconds": seconds, "bytes": size, "waited_s": save.waited}
        with suppress(OSError):  # the checkpoint is there all the same
            self._folder.add_event("save", save.draft.step, **figures, **self._advise(save))

    def _advise(self, save: PendingSave) -> dict[str, int]:
        """Print once which interval between saves loses least time.

        Return it for the event as well, in steps, where the time of one is known.
        """
        if self._policy.mtbf_hours is None or self._advised:
            return {}
        self._advised = True
        seconds = save.visible - save.began
        # A save costs what training waits for it, and the next cannot begin before it is done.
        interval = max(young_daly(save.waited, self._policy.mtbf_hours * 3600), seconds)
        message = (
            f"checkpoint took {save.waited:.3g} s; for an MTBF of {self._policy.mtbf_hours:g} h"
            f" the interval that loses least is {interval:.0f} s"
        )
        if self.step_seconds is None:
            print(message, flush=True)
            return {}
        every = max(1, round(interval / self.step_seconds))
        print(f"{message}, every {every} steps of {self.step_seconds:.3g} s", flush=True)
        return {"suggested_every": every}


def _gather_int(figure: float) -> list[int]:
    """Gather one integer of each rank."""
    return [int(row[0]) for row in gather([figure])]


def _file(rank: int) -> str:
    return f"rank{rank}.safetensors"
