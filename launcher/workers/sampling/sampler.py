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
"""Of priorities: it takes what training leaves of the cores."""


class Sampler:
    """Tries one checkpoint of a run at a time, in a process of its own; used by rank 0 alone."""

    def __init__(self, folder: RunFolder, cache: Path, sampling: Sampling) -> None:
        self._folder, self._cache, self._sampling = folder, cache, sampling
        self._process: subprocess.Popen[bytes] | None = None
        self._step = 0
        self._next: int | None = None

    def start(self, step: int) -> None:
        """Try the checkpoint of a step once it is there, and none else is being tried.

        Only the newest waits: one is left out where they come faster than they are tried.
        """
        self._next = step
        self.poll()

    def poll(self) -> bool:
        """Look after the process, and start what waits; whether one is running.

        To be called now and then: after each step.
        """
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return True
            self._process = None
            if code:
                # Marked as a warning so that it is not the cause of what may come later.
                print(f"WARNING samples of step {self._step} failed: see log/samples.txt")
        if self._next is None or not self._folder.checkpoint(self._next).exists():
            return False  # one that is written beside training takes a while to appear
        self._step, self._next = self._next, None
        self._process = self._started(self._step)
        return self._process is not None

    def finish(self, seconds: float) -> None:
        """Wait for the last one, and no longer than that; 0 ends it at once."""
        last = time.monotonic() + seconds
        while self.poll() and time.monotonic() < last:
            time.sleep(POLL_SECONDS)
        if self._process is None:
            return
        self._next = None
        self._end()
        print(f"WARNING samples of step {self._step} were not done within {seconds:g} s")

    def forget_after(self, step: int) -> None:
        """Have none of later steps, which a rollback has given up: no samples, and none to come."""
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

    def _started(self, step: int) -> "subprocess.Popen[bytes] | None":
        words = [sys.executable, "-P", "-m", "launcher.workers.sampling.sample"]
        words += ["--folder", str(self._folder.path), "--cache", str(self._cache)]
        words += ["--step", str(step), "--sampling", json.dumps(encode(self._sampling))]
        own = {
            "CUDA_VISIBLE_DEVICES": "",  # the memory of the cards is training's
            "OMP_NUM_THREADS": "1",
            "MEGALAUNCH_PARENT": str(os.getpid()),  # it ends with this rank
        }
        try:
            with (self._folder.logs / "samples.txt").open("ab") as log:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env={**os.environ, **own},
                )  # fmt: skip
            os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST)
            return process
        except OSError as error:
            print(f"WARNING samples of step {step} failed: {error.strerror}")
            return None
