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
    from launcher.foreign.gathering import Gathered
    from launcher.foreign.source import SourceRun
    from launcher.spec.cluster import Cluster

DESCRIPTION = """Read what other programs left of their runs, into folders that `launch table`
shows beside runs of its own: logs of Megatron-LM, Megatron-DeepSpeed, Megatron-Bridge, GPT-NeoX,
DeepSpeed, torchtitan, nanotron, NeMo, NeMo AutoModel, Composer, InternEvo and the Hugging Face
Trainer, folders of such logs or of TensorBoard events, and sheets kept by hand."""


def import_(words: Sequence[str]) -> int:
    """Import logs and sheets; return 1 where one of them could not be read."""
    from launcher.foreign import AUTO, FORMATS

    parser = new_parser("import", DESCRIPTION)
    parser.add_argument(
        "sources",
        metavar="LOG",
        nargs="+",
        help="a log, a folder of logs or of events, or a sheet: .csv, .xlsx",
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
    successes = _import_all(paths, options)
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


def _import_all(paths: "Sequence[Path]", options: argparse.Namespace) -> list[bool]:
    """Import sources, and print a line about each run. Return one False for each that failed.

    Logs that lack something, named beside others, come last: two may be one run.
    """
    from launcher.foreign.gathering import Gathered, complementary

    successes, incomplete = [], []
    for path in paths:
        try:
            logs = _logs(path, options)
        except (ReadError, ValueError, ArithmeticError) as error:
            _print_unreadable(path, error)
            successes.append(False)
            continue
        lacking = [part for run in logs for part in run.parts if part.is_head or part.is_tail]
        if len(paths) > 1 and path.is_file() and lacking:
            incomplete += lacking
            continue
        successes += [_import(run, options) for run in logs or [Gathered(path, ())]]
    return successes + [_import(run, options) for run in complementary(incomplete)]


def _logs(path: Path, options: argparse.Namespace) -> "list[Gathered]":
    """Read the logs of a folder, or one log; none of what is no log, or there already."""
    from launcher import foreign
    from launcher.foreign import gathering
    from launcher.foreign.logs.parts import read_part
    from launcher.foreign.source import EVENTS, has_events

    kinds = foreign.kinds(options.kind)
    if not path.exists() or not kinds or _is_there(path, (), options):
        return []
    if path.is_dir():
        return [] if has_events(path) else gathering.in_folder(path, kinds)
    if path.match(EVENTS) or path.suffix.lower() in foreign.SHEETS:
        return []
    part = read_part(path, kinds)
    return [gathering.Gathered(path, (part,))] if part.kind else []


def _is_there(path: Path, others: "Sequence[Path]", options: argparse.Namespace) -> bool:
    from launcher.foreign import folders
    from launcher.foreign.source import digest

    output = Path(options.output).expanduser()
    target = folders.target(output, path, digest(path, *others))
    return target.state == "there" and not options.again


def _import(run: "Gathered", options: argparse.Namespace) -> bool:
    """Import one run, or one sheet, and print a line about it. Return False where it failed."""
    from launcher import foreign
    from launcher.foreign import AUTO, folders
    from launcher.foreign.source import Source, digest, source_name
    from launcher.sheets import predictions

    path, files = run.path, () if run.path.is_dir() else run.files
    if not path.exists():  # it has been said
        return False
    name = source_name(path, *files[1:])
    try:
        sha256 = digest(path, *files[1:])
        target = folders.target(Path(options.output).expanduser(), path, sha256)
        if target.state == "there" and not options.again:
            has_options = options.kind != AUTO or options.hardware is not None
            hint = " (--again reads it with these options)" if has_options else ""
            print(f"{name}: already there -> {target.folder}{hint}", flush=True)
            return True
        source = Source(
            path=path,
            sha256=sha256,
            clusters=_clusters(),
            models=predictions.models(),
            hardware=options.hardware,
            of=files,
        )
        runs = foreign.read(source, options.kind, run.parts)
        folders.put(target.folder, runs)
    except (ReadError, ValueError, ArithmeticError) as error:
        _print_unreadable(path, error)
        return False
    replaced = "" if target.state == "new" else " (instead of what was there)"
    print(f"{name}: {_describe(runs)} -> {target.folder}{replaced}", flush=True)
    for remark in runs[0].remarks:
        print(f"  {remark}", flush=True)
    return True


def _print_unreadable(path: Path, error: Exception) -> None:
    """Print why a source is not read: what is no ReadError is of a number that none foresees."""
    message = error if isinstance(error, ReadError) else f"{path}: cannot be read: {error}"
    print(f"launch: {message}", file=sys.stderr)


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
