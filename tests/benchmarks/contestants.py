"""The ways to hand trials to SLURM that `submit` compares: ours, Hydra's, and a loop in a shell."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PEER = ("hydra-submitit-launcher==1.2.0", "hydra-core==1.3.2", "submitit==1.5.4")
FIND = "import hydra_plugins.hydra_submitit_launcher.submitit_launcher"

APP = """\
import hydra


@hydra.main(version_base=None, config_path=None)
def main(config):
    pass


main()
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """One way to run all trials."""

    name: str
    words: Sequence[str]
    folder: Path
    """Its working directory."""
    trials: int
    ended: Callable[[], int] | None = None
    """Trials of which it knows that they ended well; None where it does not wait for any."""


def ours(folder: Path, trials: int) -> Contestant:
    """The real command, with seeds as an axis and the engine of noop.py.

    One spec, folder and status a trial. Node checks and tracking are off: the peer has neither.
    The interval is the default, which conf/cluster/local_slurm.yaml shortens for the tests.
    """
    output = folder / "launch" / "runs"
    records = output / "adhoc" / "records.jsonl"

    def ended() -> int:
        return records.read_text().count('"outcome": "ok"') if records.exists() else 0

    words = [sys.executable, str(Path(__file__).with_name("noop.py"))]
    words += ["-m", f"train.seed=range(0,{trials})", "backend=noop", f"output={output}"]
    words += ["cluster=local_slurm", "cluster.gpus_per_node=1", "scheduler.interval=30"]
    words += ["scheduler.checks.enabled=false", "tracking.wandb=off", "tracking.tensorboard=false"]
    return Contestant(name="launch", words=words, folder=output.parent, trials=trials, ended=ended)


def hydra(folder: Path, trials: int, python: str) -> Contestant:
    """hydra-submitit-launcher, with an app of one empty function."""
    place = folder / "hydra"
    place.mkdir()
    (place / "app.py").write_text(APP)
    words = [python, "app.py", "-m", f"+seed=range(0,{trials})", "hydra/launcher=submitit_slurm"]
    words += ["hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]
    words += ["hydra.launcher.timeout_min=5", "hydra.sweep.dir=runs"]

    def ended() -> int:
        return len(list(place.glob("runs/.submitit/*/*_result.pkl")))

    return Contestant(name="hydra", words=words, folder=place, trials=trials, ended=ended)


def loop(folder: Path, trials: int) -> Contestant:
    """One sbatch a trial, and nobody looks what becomes of them."""
    line = f"for seed in $(seq {trials}); do sbatch --quiet --output=/dev/null --wrap=true; done"
    return Contestant(
        name="sbatch loop", words=["bash", "-c", line], folder=folder / "loop", trials=trials
    )


def peer(python: str) -> str:
    """An interpreter that has hydra-submitit-launcher: this one, or one peer_python in the cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    peer_python = home / "megalaunch" / PEER[0] / "bin" / "python"
    for interpreter in (python, str(peer_python)):
        if shutil.which(interpreter) and not subprocess.call(
            [interpreter, "-c", FIND], stderr=subprocess.DEVNULL
        ):
            return interpreter
    subprocess.run([sys.executable, "-m", "venv", peer_python.parents[1]], check=True)
    subprocess.run([peer_python, "-m", "pip", "install", "--quiet", *PEER], check=True)
    return str(peer_python)
