"""Jobs, submissions and pretended commands of SLURM, for tests that need no cluster."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.schedulers import Job
from launcher.schedulers.options import SchedulerOptions
from slurm.submission import Submission

CODE = "/shared/code/abc"

SCRIPT = """\
#!/bin/sh
cd '{folder}'
printf '%s\\0' "$@" >> {name}.words
echo >> {name}.words
cat {name}.out
cat {name}.err >&2
exit "$(cat {name}.code)"
"""


def make_job(name: str = "a1", **changes: Any) -> Job:
    """A job of two nodes of two ranks each, on CPU cores."""
    values: dict[str, Any] = {
        "name": name,
        "command": ("/env/bin/python", "-P", "-m", "train"),
        "folder": Path("/shared/runs/s") / name,
        "nodes": 2,
        "ranks_per_node": 2,
        "time_limit": 3600.0,
        "memory": 0,
    }
    return Job(**{**values, **changes})


def make_options(**changes: Any) -> SchedulerOptions:
    """Options of a user who sets these, and nothing else but the scheduler's name."""
    return SchedulerOptions(**{"name": "slurm", **changes})


def make_submission(*jobs: Job, **changes: Any) -> Submission:
    """A submission of jobs, with these options."""
    return Submission(
        token="0123456789ab",
        title="s-0123456789ab",
        jobs=jobs,
        options=make_options(**changes),
        hang_after=300.0,
        code="abc",
        path=(CODE,),
        writes_to=("/shared/cache",),
    )


@dataclass(frozen=True)
class Commands:
    """Pretended commands of SLURM: each records how it was called and prints a prepared answer."""

    folder: Path

    def say(self, name: str, output: str = "", errors: str = "", code: int = 0) -> None:
        """Prepare the answer of a command from now on."""
        for ending, text in (("out", output), ("err", errors), ("code", str(code))):
            (self.folder / f"{name}.{ending}").write_text(text)
        self.write(name, SCRIPT.format(folder=self.folder, name=name))

    def write(self, name: str, script: str) -> None:
        """Put a script in the place of a command."""
        path = self.folder / name
        if not path.exists() or path.read_text() != script:
            path.write_text(script)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def calls(self, name: str) -> list[list[str]]:
        """The words of each call of a command so far."""
        path = self.folder / f"{name}.words"
        if not path.exists():
            return []
        return [line.split("\0")[:-1] for line in path.read_text().splitlines()]

    @property
    def path(self) -> str:
        """PATH with these commands before all others."""
        return f"{self.folder}:{os.environ['PATH']}"


LIMITED = """\
#!/bin/sh
cd '{folder}'
for script; do :; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$script")
count=$((${{last:-0}} + 1))
echo $count >> tries
have=$(($(cat have) + count))
if [ $have -gt $(cat limit) ]; then
    echo sbatch: error: AssocMaxSubmitJobLimit >&2
    echo sbatch: error: Batch job submission failed: Job violates accounting/QOS policy >&2
    exit 1
fi
echo $have > have
echo Submitted batch job $(wc -l < tries)
"""
"""An sbatch with a limit on the jobs that it takes at once."""


class Limit:
    """The limit of such an sbatch, the jobs that it has, and those that it was offered."""

    def __init__(self, commands: Commands, limit: int, have: int = 0) -> None:
        self.folder = commands.folder
        commands.write("sbatch", LIMITED.format(folder=commands.folder))
        self.reset(limit, have)

    def reset(self, limit: int, have: int) -> None:
        """Set limit and number of jobs from now on, and forget what was offered."""
        for name, number in (("limit", limit), ("have", have)):
            (self.folder / name).write_text(str(number))
        (self.folder / "tries").write_text("")

    @property
    def tries(self) -> list[int]:
        """The sizes of the arrays that it was offered."""
        return [int(line) for line in (self.folder / "tries").read_text().split()]
