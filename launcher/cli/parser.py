"""What the verbs share: a parser whose mistakes read like all others, overrides, tables."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from launcher.errors import RequestError

FORMATS = ("table", "csv", "json", "md", "latex", "html", "parquet")
BY_SUFFIX = {f".{name}": name for name in FORMATS[1:]} | {".tex": "latex"}


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes in the same form as all others."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message)


def new_parser(verb: str, description: str, epilog: str | None = None) -> Parser:
    """A parser for ``launch VERB``."""
    return Parser(
        prog=f"launch {verb}".strip(),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def takes_overrides(parser: Parser) -> None:
    """Add what composes a request."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra override")
    parser.add_argument("-m", "--multirun", action="store_true",
                        help="values with commas are the axes of a grid")  # fmt: skip
    parser.add_argument("--config", metavar="FILE",
                        help="lines of KEY: VALUE; overrides win over them")  # fmt: skip
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of YAML files of your own")


def prints_a_table(parser: Parser) -> None:
    """Add how a table is printed."""
    forms = f"{', '.join(FORMATS)}; without it FILE's ending decides"
    parser.add_argument("--format", choices=FORMATS, metavar="FORMAT", help=forms)
    parser.add_argument("--sort", metavar="COLUMN", help="ascending; --sort=-COLUMN descending")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of stdout")


def parsed(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """The options of a verb, and what the table could not do found before anything runs."""
    from launcher.cli.registry import VERBS

    options = parser.parse_intermixed_args(words)  # -m between overrides
    for word in getattr(options, "overrides", ()):
        if word in VERBS:
            raise RequestError(f"{word!r} is a verb, which comes first")
    if getattr(options, "config", None):
        from launcher.request import config_file

        options.overrides = config_file.overrides(options.config, options.overrides)
    if not hasattr(options, "format"):
        return options
    if options.format is None:
        suffix = Path(options.output or "").suffix
        if suffix not in (*BY_SUFFIX, "", ".txt"):
            known = ", ".join(BY_SUFFIX)
            raise RequestError(f"--output: {suffix} is no form of a table; known: {known}, .txt")
        options.format = BY_SUFFIX.get(suffix, "table")

    from launcher.results import columns

    # A plan has fewer columns, a status has others: those are looked at once they are there.
    sort = options.sort if parser.prog in ("launch", "launch resume", "launch table") else None
    columns.check(sort, options.format, options.output)
    return options
