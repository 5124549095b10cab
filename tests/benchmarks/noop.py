"""``launch`` with one more engine, ``noop``, which trains nothing: all that is left is ourselves.

python tests/benchmarks/noop.py backend=noop [KEY=VALUE ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from launcher import cli
from launcher.backends import BACKENDS
from launcher.backends.worker_command import Execution, WorkerBackend
from launcher.planner.engines import Engine
from launcher.spec.run import RunSpec


class Noop(WorkerBackend):
    """Its worker says at once that every step is done."""

    planner_engine: Engine = "megatron"

    def gradient_bytes(self, spec: RunSpec) -> float:
        """Bytes of megatron-core, for the plan needs some."""
        return 4.0

    def check(self, _: RunSpec) -> None:
        """There is nothing that cannot be left undone."""

    def command(self, folder: Path, execution: Execution) -> tuple[str, ...]:
        """A Python that writes one file."""
        result = str(folder / "result.json")
        return (execution.python, "-S", "-c", f"open({result!r}, 'w').write('{{}}')")


if __name__ == "__main__":
    BACKENDS["noop"] = Noop()
    sys.exit(cli.main())
