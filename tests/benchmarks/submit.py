"""Cost of handing trials to a real SLURM, beside hydra-submitit-launcher and a shell loop.

    python -m tests.benchmarks.submit [--trials N] [--peer-python PYTHON]

A cluster of its own (slurm/local_cluster.sh) runs trials that do nothing, for one contestant after
the other; see contestants.py. The peer gets a venv in the user's cache folder, unless PYTHON has
it. The loop submits `BY_HAND` trials; its seconds and calls are scaled to all.

Commands of SLURM's are counted by wrappers that come first on PATH, apart from those called
inside jobs; ``srun``, of which both need one a trial, is not. Seconds are from the start of the
command: "to submit" to the end of its last sbatch, "to the end" to its own; "CPU" is what of the
first its own process computed, which what else the machine does changes least. MiB are resident
memory of that process: the most until all is submitted, and how much more it takes from there
until the last trial is known to have ended (not the table that ``launch`` prints then).

Exit code 1 unless all trials end well, and we submit sooner than Hydra, call SLURM at most as
often as Hydra and at most `CALLS` times as often as the loop, and grow by at most `GROWTH` MiB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks import contestants
from tests.benchmarks.contestants import Contestant

CLUSTER = Path(__file__).parents[2] / "slurm" / "local_cluster.sh"
COMMANDS = ("sbatch", "sacct", "squeue", "scontrol", "scancel")
BY_HAND = 50
GROWTH = 8.0
CALLS = 1 / 20
LOOK = 0.1
"""Seconds between two looks at a contestant's process."""
PATIENCE = 1200.0
"""Seconds that one contestant may take."""

WRAPPER = """\
#!/usr/bin/env bash
echo "$EPOCHREALTIME begin {name} ${{SLURM_JOB_ID:+in a job}}" >>"$SLURM_CALLS"
{real} "$@"; code=$?
echo "$EPOCHREALTIME end {name}" >>"$SLURM_CALLS"
exit $code
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A contestant's process at one moment."""

    time: float
    """Seconds since the epoch."""
    mib: float
    cpu: float
    """Seconds so far."""


@dataclass(kw_only=True, slots=True)
class Measured:
    """Measurements of one contestant."""

    contestant: Contestant
    began: float
    submitted: float = 0.0
    end: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    """Calls of the command itself, by name, from its start to its end."""
    first: int = 0
    """Calls until all was submitted."""
    in_jobs: int = 0
    ended: int = 0
    """Trials that are known to have ended well."""
    samples: list[Sample] = field(default_factory=list)
    """As long as trials are missing."""

    @property
    def to_submit(self) -> float:
        """Seconds."""
        return self.submitted - self.began

    @property
    def while_submitting(self) -> list[Sample]:
        """The samples until all was submitted."""
        return [sample for sample in self.samples if sample.time <= self.submitted]

    @property
    def peak(self) -> float:
        """MiB at most until all was submitted."""
        return max(sample.mib for sample in self.while_submitting)

    @property
    def growth(self) -> float:
        """MiB at most after that, beyond the peak before."""
        return max(sample.mib for sample in self.samples) - self.peak

    @property
    def per_trial(self) -> float:
        """Calls."""
        return self.calls.total() / self.contestant.trials


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--peer-python", default=sys.executable)
    options = parser.parse_args()
    python = contestants.peer(options.peer_python)
    with cluster() as folder:
        measurements = [
            measure(contestant, environment(folder, contestant.name))
            for contestant in (
                contestants.ours(folder, options.trials),
                contestants.hydra(folder, options.trials, python),
                contestants.loop(folder, BY_HAND),
            )
        ]
    show(measurements, options.trials)
    return judge(*measurements)


def measure(contestant: Contestant, environment: dict[str, str]) -> Measured:
    """Run a contestant to its end."""
    contestant.folder.mkdir(exist_ok=True)
    measured = Measured(contestant=contestant, began=time.time())
    with (contestant.folder / "printed.txt").open("w") as printed:
        process = subprocess.Popen(
            contestant.words,
            env=environment,
            cwd=contestant.folder,
            stdout=printed,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        while process.poll() is None and time.time() < measured.began + PATIENCE:
            look(process.pid, measured)
            time.sleep(LOOK)
    finally:
        process.kill()
        process.wait()
    measured.end = time.time()
    measured.ended = contestant.ended() if contestant.ended else 0
    if process.returncode:
        print((contestant.folder / "printed.txt").read_text()[-2000:], file=sys.stderr)
    count(Path(environment["SLURM_CALLS"]), measured)
    return measured


def look(pid: int, measured: Measured) -> None:
    """Take a sample of a contestant that still waits for trials."""
    contestant = measured.contestant
    if contestant.ended and contestant.ended() >= contestant.trials:
        return
    try:
        process = psutil.Process(pid)
        cpu, memory = process.cpu_times(), process.memory_info()
    except psutil.NoSuchProcess:
        return
    sample = Sample(time=time.time(), mib=memory.rss / 2**20, cpu=cpu.user + cpu.system)
    measured.samples.append(sample)


def count(log: Path, measured: Measured) -> None:
    """Read what the wrappers wrote."""
    lines = [line.split(maxsplit=3) for line in log.read_text().splitlines()]
    ends = [float(when) for when, what, name, *_ in lines if (what, name) == ("end", "sbatch")]
    measured.submitted = max(ends, default=measured.end)
    begun = [(float(when), name, job) for when, what, name, *job in lines if what == "begin"]
    measured.calls = Counter(name for _, name, job in begun if not job)
    measured.first = sum(not job and when <= measured.submitted for when, _, job in begun)
    measured.in_jobs = sum(bool(job) for _, _, job in begun)


@contextmanager
def cluster() -> Iterator[Path]:
    """A SLURM of four nodes, and the folder that all of this benchmark is in."""
    folder = Path(tempfile.mkdtemp(prefix="megalaunch-submit-"))  # short: it holds sockets
    try:
        words = [CLUSTER, "start", "--dir", folder / "slurm"]
        subprocess.run(words, check=True, timeout=120, stdout=subprocess.DEVNULL)
        yield folder
    finally:
        words = [CLUSTER, "stop", "--purge", "--dir", folder / "slurm"]
        subprocess.run(words, check=True, timeout=120, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path, name: str) -> dict[str, str]:
    """Variables of a contestant: the cluster's, with its calls counted."""
    path, wrappers = f"{os.environ['PATH']}:/usr/sbin:/sbin", folder / "bin"
    wrappers.mkdir(exist_ok=True)
    for command in COMMANDS:
        wrapper = wrappers / command
        wrapper.write_text(WRAPPER.format(name=command, real=shutil.which(command, path=path)))
        wrapper.chmod(0o755)
    calls = folder / f"{name}.calls"
    calls.touch()
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "PATH": f"{wrappers}:{path}",
        "SLURM_CONF": str(folder / "slurm" / "slurm.conf"),
        "SLURM_CALLS": str(calls),
    }


def show(measurements: Sequence[Measured], trials: int) -> None:
    """Print a table."""
    print(f"{trials} trials that do nothing, {psutil.cpu_count()} cores; seconds, calls, MiB")
    print(f"{'':12}{'to submit':>9}{'CPU':>6}{'calls':>7}{'to the end':>12}", end="")
    print("".join(f"{name:>9}" for name in COMMANDS), end="")
    print(f"{'per trial':>11}{'in jobs':>9}{'MiB':>6}{'growth':>8}{'ended ok':>10}")
    for measured in measurements:
        scale, waits = trials / measured.contestant.trials, measured.contestant.ended
        cells = [f"{measured.contestant.name:12}", f"{measured.to_submit * scale:9.1f}"]
        cells += [f"{measured.while_submitting[-1].cpu:6.1f}" if waits else f"{'-':>6}"]
        cells += [f"{measured.first * scale:7.0f}"]
        cells += [f"{measured.end - measured.began:12.1f}" if waits else f"{'-':>12}"]
        cells += [f"{measured.calls[name] * scale:9.0f}" for name in COMMANDS]
        cells += [f"{measured.per_trial:11.3f}{measured.in_jobs * scale:9.0f}"]
        cells += [f"{measured.peak:6.0f}{measured.growth:8.1f}{measured.ended:10}"] if waits else []
        print("".join(cells))


def judge(ours: Measured, peer: Measured, by_hand: Measured) -> int:
    """Print what is to hold of us, and whether it does; the exit code."""
    calls, all_of_them = ours.calls.total(), ours.contestant.trials
    faster, share = peer.to_submit / ours.to_submit, ours.per_trial / by_hand.per_trial
    claims = {
        f"trials that ended well: {ours.ended} and {peer.ended} of {all_of_them}":
            ours.ended == peer.ended == all_of_them,
        f"submitted {faster:.1f} times as fast as hydra": faster > 1,
        f"calls: {calls}, hydra {peer.calls.total()}": calls <= peer.calls.total(),
        f"calls / those of the loop: {share:.4f} (limit {CALLS:g})": share <= CALLS,
        f"memory grows by {ours.growth:.1f} MiB (limit {GROWTH:g})": ours.growth <= GROWTH,
    }  # fmt: skip
    for claim, holds in claims.items():
        print(f"{'yes' if holds else 'NO':5}{claim}")
    return int(not all(claims.values()))


if __name__ == "__main__":
    sys.exit(main())
