"""The ``launch`` command: the only package that knows every other one.

`launcher.cli.registry` lists its verbs; ``launch --help`` says what they do.
"""

import os
import sys
from collections.abc import Sequence

from launcher.cli import completion
from launcher.errors import LaunchError, RequestError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (the work failed) or 2 (the request was wrong)."""
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python prints it again at its exit
        if isinstance(error, BrokenPipeError):  # `launch table ... | head` has read enough
            return 0
        where = f"{error.filename}: " if error.filename else ""
        print(f"launch: {where}{error.strerror}", file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    if completion.is_asked(words):
        return completion.answer(words)

    # Imports that a key press need not wait for.
    from launcher.cli.registry import VERBS
    from launcher.cli.verbs.running.run import run
    from launcher.decode import nearest

    first = words[0] if words else ""
    if first in VERBS:
        return VERBS[first].run(words[1:])
    if first and "=" not in first and not first.startswith(("-", "~")):
        suggestion = nearest(first, VERBS)
        raise RequestError(f"{first!r} is neither a verb nor KEY=VALUE{suggestion}")
    return run(words)
