"""What it takes to hand trials to a real SLURM, beside hydra-submitit-launcher and a shell loop.

    python tests/benchmarks/submit.py [--trials N] [--peer-python PYTHON]

A cluster of its own (slurm/local_cluster.sh) runs the same number of trials that do nothing, for
one contestant after the other:

launch        the real command with the engine of noop.py: one spec, folder and status a trial.
              Node checks and tracking are off: the peer has neither. scheduler.interval is 30,
              the default, which conf/cluster/local_slurm.yaml shortens for the tests
hydra         hydra-submitit-launcher with an app of one empty function; in a venv of its own,
              made in the user's cache folder, unless PYTHON has it
sbatch loop   one sbatch a trial, as in ``for seed in ...; do sbatch``. `BY_HAND` of them, and
              nobody looks what becomes of them; its seconds and calls are scaled to all trials

Commands of SLURM's are counted by wrappers that come first on PATH, apart from those called
inside jobs; ``srun``, of which both need one a trial, is not. Seconds are from the start of the
command: "to submit" to the end of its last sbatch, "to the end" to its own. MiB are resident
memory of the command's own process: the most until all is submitted, and how much more it takes
from there until the last trial is known to have ended (the table that ``launch`` then prints
imports pandas, which is not counted).

Exit code 1 unless all trials end well, and we submit sooner than hydra, call SLURM at most as
often as hydra and at most `CALLS` times as often as the loop, and grow by at most `GROWTH` MiB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "slurm" / "local_cluster.sh"

COMMANDS = ("sbatch", "sacct", "squeue", "scontrol", "scancel")
BY_HAND = 50
GROWTH = 8.0
CALLS = 1 / 20
PEER = ("hydra-submitit-launcher==1.2.0", "hydra-core==1.3.2", "submitit==1.5.4")
LOOK = 0.1
"""Seconds between two looks at a contestant's memory."""
PATIENCE = 1200.0
"""Seconds that one contestant may take."""

APP = """\
import hydra


@hydra.main(version_base=None, config_path=None)
def main(config):
    pass


main()
"""

WRAPPER = """\
#!/usr/bin/env bash
printf '%s begin {name} %s\\n' "$EPOCHREALTIME" "${{SLURM_JOB_ID:+in a job}}" >>"$SLURM_CALLS"
{real} "$@"; code=$?
printf '%s end {name}\\n' "$EPOCHREALTIME" >>"$SLURM_CALLS"
exit $code
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """One way to run all trials."""

    name: str
    words: Sequence[str]
    folder: Path
    """Empty; its working directory."""
    trials: int
    ended: Callable[[], int]
    """Trials of which it knows that they ended well."""


@dataclass(kw_only=True, slots=True)
class Measured:
    """What became of a contestant."""

    name: str
    trials: int
    began: float
    submitted: float = 0.0
    end: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    """Of the command itself, by name, from its start to its end."""
    first: int = 0
    """Those of them until all was submitted."""
    in_jobs: int = 0
    ended: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    """When, and how many MiB; as long as trials are missing."""

    @property
    def to_submit(self) -> float:
        """Seconds."""
        return self.submitted - self.began

    @property
    def peak(self) -> float:
        """MiB at most until all was submitted."""
        return max((mib for at, mib in self.memory if at <= self.submitted), default=0.0)

    @property
    def growth(self) -> float:
        """MiB at most after that, beyond the peak before; negative where memory was given back."""
        after = [mib for at, mib in self.memory if at > self.submitted]
        return max(after, default=self.peak) - self.peak


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--peer-python", default=sys.executable)
    options = parser.parse_args()
    python = peer(options.peer_python)
    with cluster() as folder:
        contestants = [
            ours(folder, options.trials),
            hydra(folder, options.trials, python),
            loop(folder),
        ]
        found = [measure(each, environment(folder, each)) for each in contestants]
    show(found, options.trials)
    return judge(found, options.trials)


def ours(folder: Path, trials: int) -> Contestant:
    """``launch -m`` with the seeds as an axis."""
    output = folder / "launch" / "runs"

    def ended() -> int:
        records = output / "adhoc" / "records.jsonl"
        return records.read_text().count('"outcome": "ok"') if records.exists() else 0

    words = [sys.executable, str(Path(__file__).with_name("noop.py"))]
    words += ["-m", f"train.seed=range(0,{trials})", "backend=noop", f"output={output}"]
    words += ["cluster=local_slurm", "cluster.gpus_per_node=1", "scheduler.interval=30"]
    words += ["scheduler.checks.enabled=false", "tracking.wandb=off", "tracking.tensorboard=false"]
    return Contestant(
        name="launch", words=words, folder=folder / "launch", trials=trials, ended=ended
    )


def hydra(folder: Path, trials: int, python: str) -> Contestant:
    """The same number of jobs of a Hydra app."""
    place = folder / "hydra"
    place.mkdir()
    (place / "app.py").write_text(APP)
    words = [python, "app.py", "-m", f"+seed=range(0,{trials})", "hydra/launcher=submitit_slurm"]
    words += ["hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]
    words += ["hydra.launcher.timeout_min=5", "hydra.sweep.dir=runs"]
    results = place / "runs" / ".submitit"
    return Contestant(
        name="hydra", words=words, folder=place, trials=trials,
        ended=lambda: len(list(results.glob("*/*_result.pkl"))),
    )  # fmt: skip


def loop(folder: Path) -> Contestant:
    """One sbatch a trial; nothing waits for them."""
    line = f"for seed in $(seq {BY_HAND}); do sbatch --quiet --output=/dev/null --wrap=true; done"
    return Contestant(
        name="sbatch loop", words=["bash", "-c", line], folder=folder / "loop", trials=BY_HAND,
        ended=lambda: 0,
    )  # fmt: skip


def measure(contestant: Contestant, environment: dict[str, str]) -> Measured:
    """Run a contestant to its end."""
    contestant.folder.mkdir(exist_ok=True)
    found = Measured(name=contestant.name, trials=contestant.trials, began=time.time())
    with (contestant.folder / "printed.txt").open("w") as printed:
        process = subprocess.Popen(
            contestant.words, env=environment, cwd=contestant.folder,
            stdout=printed, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        while process.poll() is None and time.time() < found.began + PATIENCE:
            look(process.pid, contestant, found)
            time.sleep(LOOK)
    finally:
        process.kill()
        process.wait()
    found.end, found.ended = time.time(), contestant.ended()
    count(Path(environment["SLURM_CALLS"]), found)
    if process.returncode:
        print((contestant.folder / "printed.txt").read_text()[-2000:], file=sys.stderr)
    return found


def look(pid: int, contestant: Contestant, found: Measured) -> None:
    """Note the memory of a contestant that still waits for trials."""
    if contestant.ended() < contestant.trials:
        try:
            found.memory.append((time.time(), psutil.Process(pid).memory_info().rss / 2**20))
        except psutil.NoSuchProcess:
            return


def count(log: Path, found: Measured) -> None:
    """Read what the wrappers wrote."""
    lines = [line.split(maxsplit=3) for line in log.read_text().splitlines()]
    found.submitted = max(float(at) for at, what, name, *_ in lines if (what, name) == LAST)
    begun = [(float(at), name, job) for at, what, name, *job in lines if what == "begin"]
    found.calls = Counter(name for _, name, job in begun if not job)
    found.first = sum(not job and at <= found.submitted for at, _, job in begun)
    found.in_jobs = sum(bool(job) for _, _, job in begun)


LAST = ("end", "sbatch")


@contextmanager
def cluster() -> Iterator[Path]:
    """A SLURM of four nodes, and the folder that all of this benchmark is in."""
    folder = Path(tempfile.mkdtemp(prefix="megalaunch-submit-"))  # short: it holds sockets
    try:
        subprocess.run([CLUSTER, "start", "--dir", folder / "slurm"], check=True, timeout=120)
        yield folder
    finally:
        words = [CLUSTER, "stop", "--purge", "--dir", folder / "slurm"]
        subprocess.run(words, check=True, timeout=120)
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path, contestant: Contestant) -> dict[str, str]:
    """Variables of a contestant: the cluster's, with its calls counted."""
    path, wrappers = f"{os.environ['PATH']}:/usr/sbin:/sbin", folder / "bin"
    wrappers.mkdir(exist_ok=True)
    for name in COMMANDS:
        wrapper = wrappers / name
        wrapper.write_text(WRAPPER.format(name=name, real=shutil.which(name, path=path)))
        wrapper.chmod(0o755)
    log = folder / f"{contestant.name} calls"
    log.touch()
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "PATH": f"{wrappers}:{path}",
        "SLURM_CONF": str(folder / "slurm" / "slurm.conf"),
        "SLURM_CALLS": str(log),
    }


def peer(python: str) -> str:
    """An interpreter that has hydra-submitit-launcher: this one, or one made for it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    made = home / "megalaunch" / PEER[0] / "bin" / "python"
    for each in (python, str(made)):
        if shutil.which(each) and not subprocess.call(
            [each, "-c", FIND], stderr=subprocess.DEVNULL
        ):
            return each
    subprocess.run([sys.executable, "-m", "venv", made.parents[1]], check=True)
    subprocess.run([made, "-m", "pip", "install", "--quiet", *PEER], check=True)
    return str(made)


FIND = "import hydra_plugins.hydra_submitit_launcher.submitit_launcher"


def show(found: Sequence[Measured], trials: int) -> None:
    """Print a table; what was done for fewer trials is scaled."""
    print(f"{trials} trials that do nothing, {psutil.cpu_count()} cores; seconds, calls, MiB")
    print(f"{'':12}{'to submit':>10}{'calls':>7}{'to the end':>12}", end="")
    print("".join(f"{name:>9}" for name in COMMANDS), end="")
    print(f"{'per trial':>11}{'in jobs':>9}{'MiB':>6}{'growth':>8}{'ended ok':>10}")
    for each in found:
        scale, whole = trials / each.trials, each.trials == trials
        print(f"{each.name:12}{each.to_submit * scale:10.1f}{each.first * scale:7.0f}", end="")
        print(f"{each.end - each.began:12.1f}" if whole else f"{'-':>12}", end="")
        print("".join(f"{each.calls[name] * scale:9.0f}" for name in COMMANDS), end="")
        print(f"{each.calls.total() / each.trials:11.3f}{each.in_jobs * scale:9.0f}", end="")
        print(f"{each.peak:6.0f}{each.growth:8.1f}{each.ended:10}" if whole else f"{'-':>6}")


def judge(found: Sequence[Measured], trials: int) -> int:
    """Print what is to hold of us, and whether it does; the exit code."""
    own, other, by_hand = found
    calls = own.calls.total()
    share = calls / trials / (by_hand.calls.total() / by_hand.trials)
    claims = {
        f"every trial ended well: {own.ended} of {trials}": own.ended == trials,
        f"submitted {other.to_submit / own.to_submit:.1f} times as fast as hydra":
            own.to_submit < other.to_submit,
        f"{calls} calls, hydra {other.calls.total()}": calls <= other.calls.total(),
        f"calls of the loop: {share:.4f} (limit {CALLS})": share <= CALLS,
        f"memory grows by {own.growth:.1f} MiB (limit {GROWTH:g})": own.growth <= GROWTH,
    }  # fmt: skip
    for claim, holds in claims.items():
        print(f"{'yes' if holds else 'NO ':4}{claim}")
    return int(not all(claims.values()))


if __name__ == "__main__":
    sys.exit(main())
