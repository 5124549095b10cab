"""Command line of a verb: a parser whose errors read like all others, and shared options."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from launcher.cli.overview import overview
from launcher.cli.verb import Verb
from launcher.errors import RequestError

if TYPE_CHECKING:
    from launcher.results.sweep_folder import SavedCommand

FORMATS = ("table", "csv", "json", "md", "latex", "html", "parquet")
DATA_FORMATS = ("csv", "json", "parquet")
"""Formats that programs read: every row, every column, no figure rounded."""
BY_SUFFIX = {f".{name}": name for name in FORMATS[1:]} | {".tex": "latex"}


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises its errors in the same form as all others."""

    groups: ClassVar[Mapping[str, Sequence[Verb]]] = {}
    """All verbs, for the help and for error messages; `launcher.cli.registry` fills it in."""

    prints_table = False
    """True once the options of a table have been added."""
    of_records = False
    """True where its rows are records: their columns are known before anything runs."""

    shows_verbs = False
    """Its help lists all verbs."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message)

    def format_help(self) -> str:
        """Make the help; the list of verbs takes a while to make, so no other call does."""
        if self.shows_verbs:
            self.epilog = overview(self.groups)
        return super().format_help()


class PrintSchema(argparse.Action):
    """Option that prints the JSON Schema of a verb's output and ends, as ``--help`` does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from launcher.cli.schemas import schema_of
        from launcher.files import json_text

        print(json_text(schema_of(parser.prog.removeprefix("launch").strip())))
        parser.exit()


def new_parser(verb: str, description: str) -> Parser:
    """Make the parser of ``launch VERB``."""
    return Parser(
        prog=f"launch {verb}".strip(),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_override_options(parser: Parser) -> None:
    """Add the arguments that a request is composed from."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra override")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="values with commas are the axes of a grid"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="lines of KEY: VALUE; overrides win over them"
    )
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of YAML files of your own")


def add_table_options(parser: Parser, of_records: bool = False, of_points: bool = False) -> None:
    """Add the options of a table.

    Args:
        parser: that of a verb which prints a table.
        of_records: True where its rows are records: ``--sort`` is then checked early.
        of_points: True where its rows are points, many of which may never run.
    """
    if of_records or of_points:
        parser.add_argument(
            "--all", action="store_true", help="also the rows that never ran, one by one"
        )
    format_help = f"{', '.join(FORMATS)}; without it FILE's ending decides"
    parser.add_argument("--format", choices=FORMATS, metavar="FORMAT", help=format_help)
    parser.add_argument("--sort", metavar="COLUMN", help="ascending; --sort=-COLUMN descending")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of stdout")
    _add_schema_option(parser)
    parser.prints_table, parser.of_records = True, of_records


def add_format_option(
    parser: Parser,
    default: str = "text",
    refused: Callable[[str], str | None] = lambda name: None,
) -> None:
    """Add ``--format`` to a verb that prints no table.

    Args:
        parser: that of the verb.
        default: its usual form, besides JSON.
        refused: message on a name that means something else, or None.
    """

    def form(name: str) -> str:
        if message := refused(name):
            raise argparse.ArgumentTypeError(message)
        return name

    parser.add_argument(
        "--format",
        type=form,
        choices=(default, "json"),
        default=default,
        metavar="FORMAT",
        help=f"{default} or json",
    )
    _add_schema_option(parser)


def _add_schema_option(parser: Parser) -> None:
    parser.add_argument(
        "--schema", action=PrintSchema, nargs=0, help="print the JSON Schema of --format json"
    )


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a verb.

    Raises:
        RequestError: words that are none of its options, or a table that could not be printed.
    """
    options = parser.parse_intermixed_args(words)  # -m may stand between overrides
    verbs = {verb.name for group in parser.groups.values() for verb in group if verb.name}
    for word in getattr(options, "overrides", ()):
        if word in verbs:
            raise RequestError(f"{word!r} is a verb, which comes first")
    if getattr(options, "config", None):
        from launcher.request.config_file import with_file

        options.overrides = with_file(options.config, options.overrides)
    if parser.prints_table:
        options.format_is_stated = options.format is not None
        options.format = options.format or _format_of(options.output)

        from launcher.results import columns

        columns.check(options.sort if parser.of_records else None, options.format, options.output)
    return options


def _format_of(output: str | None) -> str:
    """Format of a table by the suffix of its file."""
    suffix = Path(output or "").suffix
    if suffix not in (*BY_SUFFIX, "", ".txt"):
        suffixes = ", ".join(BY_SUFFIX)
        raise RequestError(f"--output: {suffix} is no form of a table; known: {suffixes}, .txt")
    return BY_SUFFIX.get(suffix, "table")


def saved_command(options: argparse.Namespace) -> "SavedCommand":
    """Return the command in the options that `add_override_options` added."""
    from launcher.results.sweep_folder import SavedCommand

    return SavedCommand(
        overrides=tuple(options.overrides),
        multirun=options.multirun,
        config_dir=options.config_dir,
        folder=os.getcwd(),
    )
