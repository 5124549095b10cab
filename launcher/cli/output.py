"""Printing of rows on stdout or in a file, by the options of a verb."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any


def print_rows(rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """Print rows of any columns as a table. Raises ConfigError where that is not possible."""
    from analysis import table

    table.put(table.plain(rows, options.sort), options.format, options.output)
