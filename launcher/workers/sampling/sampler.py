"""Start `launcher.workers.sampling.sample` after checkpoints, beside training, without waiting."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from launcher.decode import encode
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.spec.sampling import Sampling

POLL_SECONDS = 0.1
LOWEST = 19
"""Lowest priority (niceness): the sampler takes the time that training leaves of the cores."""


class Sampler:
    """Tries one checkpoint of a run at a time, in a process of its own; used by rank 0 alone."""

    def __init__(self, folder: RunFolder, cache: Path, sampling: Sampling) -> None:
        self._folder, self._cache, self._sampling = folder, cache, sampling
        self._process: subprocess.Popen[bytes] | None = None
        self._step = 0
        self._next: int | None = None

    def start(self, step: int) -> None:
        """Sample the checkpoint of a step once it is there and no other one is being sampled.

        Only the newest waits: where they come faster than they are sampled, some are left out.
        """
        self._next = step
        self.poll()

    def poll(self) -> bool:
        """Reap the process, and start the next that waits; return True while one is running.

        To be called after each step.
        """
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return True
            self._process = None
            if code:
                # WARNING, so that a later failure of the run is not put down to this line.
                print(f"WARNING samples of step {self._step} failed: see log/samples.txt")
        if self._next is None or not self._folder.checkpoint(self._next).exists():
            return False  # an asynchronous save takes a while to appear
        self._step, self._next = self._next, None
        self._process = self._start_process(self._step)
        return self._process is not None

    def finish(self, seconds: float) -> None:
        """Wait for the last one, for ``seconds`` at most, then end it; 0 ends it at once."""
        deadline = time.monotonic() + seconds
        while self.poll() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self._process is None:
            return
        self._next = None
        self._end()
        print(f"WARNING samples of step {self._step} were not done within {seconds:g} s")

    def forget_after(self, step: int) -> None:
        """Remove the samples of later steps, which a rollback has given up, and begin no others."""
        if self._next is not None and self._next > step:
            self._next = None
        if self._step > step:
            self._end()
        try:
            samples.forget_after(self._folder, step)
        except OSError as error:
            print(f"WARNING samples after step {step} remain: {error.strerror}")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_process(self, step: int) -> "subprocess.Popen[bytes] | None":
        words = [sys.executable, "-P", "-m", "launcher.workers.sampling.sample"]
        words += ["--folder", str(self._folder.path), "--cache", str(self._cache)]
        words += ["--step", str(step), "--sampling", json.dumps(encode(self._sampling))]
        env = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",  # the memory of the cards is training's
            "OMP_NUM_THREADS": "1",
            "MEGALAUNCH_PARENT": str(os.getpid()),  # it ends with this rank
        }
        try:
            with (self._folder.logs / "samples.txt").open("ab") as log:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                )
            os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST)
            return process
        except OSError as error:
            print(f"WARNING samples of step {step} failed: {error.strerror}")
            return None
