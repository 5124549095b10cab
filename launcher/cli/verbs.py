"""The verbs of ``launch``: each parses its own words and returns an exit code.

Imports of what a verb needs are inside it, so that ``--help`` does not wait for Hydra or pandas.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from launcher.errors import RequestError

if TYPE_CHECKING:
    from launcher.cli.loop import Loop
    from launcher.record import RunRecord

_FORMATS = ("table", "csv", "json", "md", "html", "parquet")
_BY_SUFFIX = {f".{name}": name for name in _FORMATS[1:]}

_EXAMPLES = """\
verbs (launch VERB --help says more):
  launch [KEY=VALUE ...]        one run; with sweep=NAME a sweep. The same command continues it
  launch plan [KEY=VALUE ...]   every point before anything runs, and why some are rejected
  launch table DIR              the table of what has run below a folder

examples:
  launch sweep=parallelism_grid
  launch sweep=parallelism_grid layout.pp=2 'sweep.axes.layout.tp=[1,4]'
  launch -m layout.tp=1,2 layout.zero=0,1
  launch plan sweep=parallelism_grid model=llama_13b cluster=h100 cluster.nodes=3

keys: model, layout, cluster, train, data and sweep take the name of a file below conf/ (or
--config-dir); their fields follow a dot. Of this command itself: output, name, cache, parallel,
time_limit, hang_after, max_attempts, retry, backend.
exit code: 0, 1 the work failed, 2 the request was wrong.
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with mistakes in the same form as all others."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message)


def _parser(verb: str, description: str, epilog: str | None = None) -> _Parser:
    return _Parser(
        prog=f"launch {verb}".strip(),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _takes_overrides(parser: _Parser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra override")
    parser.add_argument("-m", "--multirun", action="store_true",
                        help="values with commas are the axes of a grid")  # fmt: skip
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of YAML files of your own")


def _prints_a_table(parser: _Parser) -> None:
    forms = f"{', '.join(_FORMATS)}; without it FILE's ending decides"
    parser.add_argument("--format", choices=_FORMATS, metavar="FORMAT", help=forms)
    parser.add_argument("--sort", metavar="COLUMN", help="ascending; --sort=-COLUMN descending")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of stdout")


def _parsed(parser: _Parser, words: Sequence[str]) -> argparse.Namespace:
    """The options of a verb, and what the table could not do found before anything runs."""
    options = parser.parse_args(words)
    for word in getattr(options, "overrides", ()):
        if word in VERBS:
            raise RequestError(f"{word!r} is a verb, which comes first")
    if options.format is None:
        suffix = Path(options.output or "").suffix
        options.format = _BY_SUFFIX.get(suffix, "table")

    from analysis import table

    sort = None if parser.prog.endswith("plan") else options.sort  # a plan has fewer columns
    table.check(sort, options.format, options.output)
    return options


def run(words: Sequence[str]) -> int:
    """Train a run or a sweep, and print the table."""
    parser = _parser("", "Find the fastest layout of a pretraining run.", _EXAMPLES)
    _takes_overrides(parser)
    _prints_a_table(parser)
    options = _parsed(parser, words)

    from launcher.cli.compose import compose
    from launcher.cli.loop import Loop
    from launcher.cli.progress import Progress

    request = compose(options.overrides, options.multirun, options.config_dir)
    loop = Loop(request, Progress())
    scheduler = loop.ready()
    try:
        with loop.watch:
            records = loop.run(scheduler)
    except KeyboardInterrupt:
        return _stopped(len(loop.records), len(loop.points), words)
    _print(records, options)
    _advise(loop)
    return 0 if any(r.outcome == "ok" for r in records) and not loop.stop_reason else 1


def plan(words: Sequence[str]) -> int:
    """Say what would run."""
    parser = _parser("plan", "Every point of a run or a sweep before anything runs: what would run,"
                     " what is rejected and why.")  # fmt: skip
    _takes_overrides(parser)
    _prints_a_table(parser)
    options = _parsed(parser, words)

    from analysis import table
    from launcher.cli.compose import compose
    from launcher.cli.loop import Loop

    loop = Loop(compose(options.overrides, options.multirun, options.config_dir))
    table.put(table.plan(loop.plan(), options.sort), options.format, options.output)
    return 0


def show_table(words: Sequence[str]) -> int:
    """Print what has run."""
    parser = _parser("table", "The table of the runs below a folder: one row per point, failures"
                     " and rejections with their cause.")  # fmt: skip
    parser.add_argument("folder", metavar="DIR", help="of a sweep, of a run, or of many")
    _prints_a_table(parser)
    options = _parsed(parser, words)

    from launcher.cli.collect import collect

    _print(collect(Path(options.folder).expanduser()), options)
    return 0


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"plan": plan, "table": show_table}


def _print(records: "Sequence[RunRecord]", options: argparse.Namespace) -> None:
    from analysis import table

    table.put(table.frame(records, options.sort), options.format, options.output)


def _advise(loop: "Loop") -> None:
    """What to do about each kind of failure, with the folder of one that shows it."""
    from launcher.action import ADVICE, NEXT_ACTION

    failed = {r.outcome: r for r in loop.finished() if r.outcome not in ("ok", "rejected")}
    for outcome, found in failed.items():
        advice = ADVICE[NEXT_ACTION[outcome]].format(outcome=outcome)
        log = loop.folder / found.spec.id / "log"
        print(f"launch: {outcome}: {advice} (see {log})", file=sys.stderr)
    if loop.stop_reason:
        left = len(loop.points) - len(loop.records)
        print(f"launch: stopped, {left} points left: {loop.stop_reason}", file=sys.stderr)


def _stopped(done: int, points: int, words: Sequence[str]) -> int:
    print(f"launch: stopped with {done} of {points} points done; to go on:\n"
          f"  {shlex.join(['launch', *words])}", file=sys.stderr)  # fmt: skip
    return 1
