"""The ``launch`` command: the only package that knows every other one.

launch [overrides]              one run, a sweep (sweep=...) or an ad-hoc grid (-m)
launch plan [overrides]         what would run and what is rejected, before anything does
launch submit [overrides]       hand it to SLURM and return
launch status DIR               where each run stands now
launch top DIR                  the same as a live view
launch cancel DIR               end SLURM's jobs
launch check [overrides]        look at this machine, or at nodes of a cluster
launch table DIR                the table of what is below a folder
launch report DIR...            one HTML file with charts and table of what is below folders
launch spikes FILE.csv|DIR      spikes of losses that were logged anywhere
launch sample DIR               texts from a run's checkpoints, their flags, validation losses
launch import LOG...            logs and sheets of runs that something else trained
launch sync DIR                 upload what W&B kept there
"""

import os
import sys
from collections.abc import Sequence

from launcher.cli import registry
from launcher.decode import nearest
from launcher.errors import LaunchError, RequestError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 (the work failed) or 2 (the request was wrong)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except LaunchError as error:
        print(f"launch: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("launch: stopped", file=sys.stderr)
        return 1
    except OSError as error:  # of stdout, or of a folder that may not be looked into
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python says it again while it ends
        if isinstance(error, BrokenPipeError):  # `launch table ... | head` has read enough
            return 0
        where = f"{error.filename}: " if error.filename else ""
        print(f"launch: {where}{error.strerror}", file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in registry.VERBS:
        return registry.VERBS[first](words[1:])
    if first and "=" not in first and not first.startswith(("-", "~")):
        near = nearest(first, registry.VERBS)
        raise RequestError(f"{first!r} is neither a verb nor KEY=VALUE{near}")
    return registry.run(words)
