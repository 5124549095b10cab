"""``launch import``: runs that other programs trained, from their logs or from a sheet."""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.parser import new_parser, parse
from launcher.cli.verb import Verb
from launcher.decode import nearest
from launcher.errors import ConfigError, ReadError, RequestError

if TYPE_CHECKING:
    from launcher.foreign.source import SourceRun
    from launcher.spec.cluster import Cluster

DESCRIPTION = """Read what other programs left of their runs, into folders that `launch table`
shows beside runs of its own: logs of Megatron-LM, Megatron-DeepSpeed, DeepSpeed, torchtitan, NeMo
and the Hugging Face Trainer, folders of TensorBoard events, and sheets kept by hand."""


def import_(words: Sequence[str]) -> int:
    """Import logs and sheets; return 1 where one of them could not be read."""
    from launcher.foreign import AUTO, FORMATS

    parser = new_parser("import", DESCRIPTION)
    parser.add_argument(
        "sources",
        metavar="LOG",
        nargs="+",
        help="a log, a folder of events, or a sheet: .csv, .xlsx",
    )
    parser.add_argument(
        "--format",
        dest="kind",
        metavar="FORMAT",
        default=AUTO,
        help=f"{', '.join(FORMATS)}; {AUTO} looks at the lines",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="runs/imported",
        help="where to put them (%(default)s)",
    )
    parser.add_argument(
        "--hardware", metavar="CARD", help="the card, where a log does not name it: for MFU"
    )
    parser.add_argument(
        "--again", action="store_true", help="read also what was read before and has not changed"
    )
    options = parse(parser, words)
    paths = _paths(options.sources)
    if options.kind not in (AUTO, *FORMATS):
        suggestion = nearest(options.kind, (AUTO, *FORMATS))
        raise RequestError(f"--format: no format {options.kind!r}{suggestion}")
    _check_hardware(options.hardware)
    successes = [path.exists() and _import(path, options) for path in paths]
    if any(successes):
        print(f"look at them: launch table {shlex.quote(options.output)}")
    return 0 if all(successes) else 1


def _paths(words: Sequence[str]) -> list[Path]:
    """Return the sources, each once, and print those that are missing. Raises RequestError."""
    paths = list(dict.fromkeys(Path(word).expanduser() for word in words))
    missing = [path for path in paths if not path.exists()]
    if len(missing) == len(paths):
        count = f" (nor any of the {len(paths) - 1} others)" if len(paths) > 1 else ""
        raise RequestError(f"{paths[0]}: no such file{count}")
    for path in missing:
        print(f"launch: {path}: no such file", file=sys.stderr)
    return paths


def _clusters() -> "Mapping[str, Cluster]":
    from launcher.sheets import predictions

    return predictions.clusters()


def _check_hardware(card: str | None) -> None:
    from launcher.sheets import aliases

    if card is not None and aliases.machine(card, _clusters()).assumed is not None:
        cards = ", ".join(name for name in _clusters() if not name.startswith("local"))
        raise ConfigError(f"--hardware: the peaks of {card!r} are not known; known are: {cards}")


def _import(path: Path, options: argparse.Namespace) -> bool:
    """Import one source, and print a line about it. Return False where it could not be read."""
    from launcher import foreign
    from launcher.foreign import AUTO, folders
    from launcher.foreign.source import Source, digest, source_name
    from launcher.sheets import predictions

    try:
        sha256 = digest(path)
        target = folders.target(Path(options.output).expanduser(), path, sha256)
        if target.state == "there" and not options.again:
            has_options = options.kind != AUTO or options.hardware is not None
            hint = " (--again reads it with these options)" if has_options else ""
            print(f"{source_name(path)}: already there -> {target.folder}{hint}", flush=True)
            return True
        source = Source(
            path=path,
            sha256=sha256,
            clusters=_clusters(),
            models=predictions.models(),
            hardware=options.hardware,
        )
        runs = foreign.read(source, options.kind)
        folders.put(target.folder, runs)
    except ReadError as error:
        print(f"launch: {error}", file=sys.stderr)
        return False
    except (ValueError, ArithmeticError) as error:  # a number that no reader foresees
        print(f"launch: {path}: cannot be read: {error}", file=sys.stderr)
        return False
    replaced = "" if target.state == "new" else " (instead of what was there)"
    print(f"{source_name(path)}: {_describe(runs)} -> {target.folder}{replaced}", flush=True)
    for remark in runs[0].remarks:
        print(f"  {remark}", flush=True)
    return True


def _describe(runs: "Sequence[SourceRun]") -> str:
    """Describe the runs of a source in one line."""
    if runs[0].imported.format == "sheet":
        counts = Counter(run.imported.outcome for run in runs).most_common()
        return f"sheet, {len(runs)} rows: {', '.join(f'{n} {name}' for name, n in counts)}"
    (run,) = runs
    imported = run.imported
    steps = f"{_plural(len(run.lines), 'step')} logged{_span(run)}" if run.lines else "no step"
    cause = f": {imported.cause}" if imported.cause else ""
    unread = "0 lines unread"
    if run.unread:
        unread = f"{_plural(run.unread, 'step line')} unread, the first: {run.first_unread!r}"
    return f"{imported.format}, {steps}, {imported.outcome}{cause} ({unread})"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _span(run: "SourceRun") -> str:
    total = "" if run.total is None else f" of {run.total}"
    return f" ({run.lines[0]['step']} to {run.lines[-1]['step']}{total})"


VERB = Verb(
    name="import",
    usage="LOG...",
    summary="logs and sheets of runs that something else trained",
    run=import_,
)
