"""Validation losses and texts of a run, between two of its steps, on the ranks that train it."""

import time
from pathlib import Path

import torch.distributed as dist

from launcher.errors import WorkError
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Sampled
from launcher.spec.sampling import Sampling
from launcher.workers.collectives import gather
from launcher.workers.sampling import held_out, texts
from launcher.workers.sampling.forward import Forward


class Evaluation:
    """Evaluates the model as it is; nothing that trains it changes. Every rank makes all calls."""

    def __init__(
        self, folder: RunFolder, cache: Path, sampling: Sampling, forward: Forward
    ) -> None:
        """Load text and prompts.

        Raises:
            DataError: there is no tokenizer for the prompts, or a token that the model has not.
        """
        self._folder, self._forward, self._id = folder, forward, folder.spec().id
        self._first_rank = dist.get_rank() == 0
        spec, limit = forward.spec, sampling.validation_sequences
        self._prompts = texts.load(spec, cache, sampling)
        loaded = held_out.load(spec, cache, limit) if self._first_rank else None
        gather([0.0])  # the others find the index that rank 0 has built
        self._held_out = loaded or held_out.load(spec, cache, limit)

    def run(self, step: int) -> None:
        """Evaluate the model after a step, and write what comes of it; print what goes wrong."""
        began = time.monotonic()
        try:
            validation = self._held_out.losses(self._forward)
            answers = self._prompts.answers(self._forward)
            if self._first_rank:
                self._folder.samples.mkdir(exist_ok=True)
                seconds = time.monotonic() - began
                samples.write(
                    Sampled(
                        step=step,
                        spec=self._id,
                        seconds=seconds,
                        prompts=answers,
                        validation=validation,
                    ),
                    self._folder.sample_file(step),
                )
        except (WorkError, OSError) as error:  # on all ranks alike, or on rank 0 as it writes
            if self._first_rank:
                # WARNING, so that a later failure of the run is not put down to this line.
                print(f"WARNING samples of step {step} failed: {error}", flush=True)

    def lacks(self, step: int) -> bool:
        """Return True if a step of a checkpoint of this run was to be evaluated, and is not."""
        checkpoint, written = self._folder.checkpoint(step), self._folder.sample_file(step)
        # One rank looks: a thousand would ask the file system for the same answer.
        lacks = self._first_rank and checkpoint.exists() and not written.exists()
        return bool(gather([lacks])[0][0])

    def forget_after(self, step: int) -> None:
        """Remove the samples of later steps, which are to be done again."""
        if self._first_rank:
            try:
                samples.forget_after(self._folder, step)
            except OSError as error:
                print(f"WARNING samples after step {step} remain: {error.strerror}", flush=True)
