"""Completion of ``launch`` in shells: the scripts that they source, and the answers to these.

A key press waits for an answer, so this room imports as little as it can: what can be completed
is in ``vocabulary.json``, which ``python -m tests.vocabulary`` writes.
"""

import os
from collections.abc import Sequence

from launcher.errors import RequestError

OPTION, QUESTION = "--completion", "--complete"
"""Options of users, and of the scripts: ``--complete SHELL WORD...``."""

SHELLS = ("bash", "zsh", "fish")


def is_asked(words: Sequence[str]) -> bool:
    """Return True if a command is about completion."""
    return bool(words) and (words[0].partition("=")[0] == OPTION or words[0] == QUESTION)


def answer(words: Sequence[str]) -> int:
    """Print the script of a shell, or what a script asks for. Raises RequestError."""
    option, equals, value = words[0].partition("=")
    shell, *arguments = [value, *words[1:]] if equals else words[1:] or [""]
    if shell not in SHELLS:
        from launcher.decode import hint

        complaint = (
            f"no {shell!r}{hint(shell, SHELLS)}" if shell else f"give one of {', '.join(SHELLS)}"
        )
        raise RequestError(f"{option}: {complaint}")
    if option == QUESTION:
        from launcher.cli.completion import candidates

        print("\n".join(candidates.answer(shell, arguments)))
        return 0
    if arguments:
        raise RequestError(f"{option}: stands alone with its shell, got {arguments[0]!r} too")
    path = os.path.join(os.path.dirname(__file__), f"launch.{shell}")
    with open(path, encoding="utf-8") as script:
        print(script.read(), end="")
    return 0
