"""A verb of ``launch``: its name, its lines in the help, its function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One verb; its module has the options and the text of ``launch VERB --help``."""

    name: str
    """First word after ``launch``; "" for the command without a verb."""
    usage: str
    """Arguments after the name, as the help shows them."""
    summary: str
    """A line or two for ``launch --help``."""
    run: Callable[[Sequence[str]], int]
    """Function that takes the words after the verb and returns the exit code."""
    more: tuple[tuple[str, str], ...] = ()
    """Other usages and their summaries."""
