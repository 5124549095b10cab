"""``launch import``: runs that other programs trained, from their logs or from a sheet."""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launcher.cli.parser import add_format_option, new_parser, parse
from launcher.cli.verb import Verb
from launcher.decode import encode, nearest
from launcher.errors import ConfigError, ReadError, RequestError
from launcher.files import json_text

if TYPE_CHECKING:
    from launcher.foreign.folders import ImportTarget
    from launcher.foreign.gathering import Gathered
    from launcher.foreign.source import SourceRun
    from launcher.spec.cluster import Cluster

DESCRIPTION = """Read what other programs left of their runs, into folders that `launch table`
shows beside runs of its own: logs of Megatron-LM, Megatron-DeepSpeed, Megatron-Bridge, GPT-NeoX,
DeepSpeed, torchtitan, nanotron, NeMo, NeMo AutoModel, Composer, InternEvo and the Hugging Face
Trainer, folders of such logs or of TensorBoard events, and sheets kept by hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedSource:
    """Result of one log, folder of logs, or sheet; None is unknown, or of no meaning for it."""

    source: str
    """Name of the log or sheet; where it failed, its path."""
    state: Literal["new", "replaced", "there", "failed"]
    """There: it had been imported before, and was not read again."""
    folder: str | None = None
    """Folder of its run, or of the runs of a sheet."""
    format: str | None = None
    """Kind that it was read as."""
    runs: int | None = None
    """1 for a log, rows for a sheet."""
    outcomes: dict[str, int] | None = None
    """Outcome -> number of runs."""
    cause: str | None = None
    """Reason for which the run of a log did not end well."""
    steps: int | None = None
    """Steps that a log has."""
    first_step: int | None = None
    """First step that it has."""
    last_step: int | None = None
    """Last one."""
    total_steps: int | None = None
    """Steps that it was to do."""
    unread_lines: int | None = None
    """Lines that look like a step's and could not be read."""
    first_unread: str | None = None
    """First of these."""
    remarks: tuple[str, ...] = ()
    """Parts of it that were not read."""
    error: str | None = None
    """Reason for which it could not be read."""


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
        "--log-format",
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
    add_format_option(parser, refused=_log_format)
    options = parse(parser, words)
    paths = _paths(options.sources)
    if options.kind not in (AUTO, *FORMATS):
        suggestion = nearest(options.kind, (AUTO, *FORMATS))
        raise RequestError(f"--log-format: no format {options.kind!r}{suggestion}")
    _check_hardware(options.hardware)
    sources = _import_all(paths, options)
    failures = [source for source in sources if source.state == "failed"]
    if options.format == "json":
        print(json_text([encode(source) for source in sources]))
    elif len(failures) < len(sources):
        print(f"look at them: launch table {shlex.quote(options.output)}")
    return 1 if failures else 0


def _log_format(name: str) -> str | None:
    """Message on a format of logs where one of the output is expected; None on anything else."""
    from launcher.foreign import FORMATS

    return f"{name!r} is a format of logs: --log-format {name}" if name in FORMATS else None


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


def _import_all(paths: "Sequence[Path]", options: argparse.Namespace) -> list[ImportedSource]:
    """Import sources, and print a line about each run.

    Logs that lack something, named beside others, come last: two may be one run.
    """
    from launcher.foreign.gathering import Gathered, complementary

    sources: list[ImportedSource] = []
    incomplete = []
    for path in paths:
        try:
            logs = _logs(path, options)
        except (ReadError, ValueError, ArithmeticError) as error:
            sources.append(_unreadable(path, error))
            continue
        lacking = [part for run in logs for part in run.parts if part.is_head or part.is_tail]
        if len(paths) > 1 and path.is_file() and lacking:
            incomplete += lacking
            continue
        sources += [_import(run, options) for run in logs or [Gathered(path, ())]]
    return sources + [_import(run, options) for run in complementary(incomplete)]


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


def _import(run: "Gathered", options: argparse.Namespace) -> ImportedSource:
    """Import one run, or one sheet, and print a line about it."""
    from launcher import foreign
    from launcher.foreign import AUTO, folders
    from launcher.foreign.source import Source, digest, source_name
    from launcher.sheets import predictions

    path, files = run.path, () if run.path.is_dir() else run.files
    if not path.exists():  # it has been said
        return ImportedSource(source=str(path), state="failed", error="no such file")
    name = source_name(path, *files[1:])
    as_text = options.format == "text"
    try:
        sha256 = digest(path, *files[1:])
        target = folders.target(Path(options.output).expanduser(), path, sha256)
        if target.state == "there" and not options.again:
            has_options = options.kind != AUTO or options.hardware is not None
            hint = " (--again reads it with these options)" if has_options else ""
            if as_text:
                print(f"{name}: already there -> {target.folder}{hint}", flush=True)
            return ImportedSource(source=name, state="there", folder=str(target.folder))
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
        return _unreadable(path, error)
    if as_text:
        replaced = "" if target.state == "new" else " (instead of what was there)"
        print(f"{name}: {_describe(runs)} -> {target.folder}{replaced}", flush=True)
        for remark in runs[0].remarks:
            print(f"  {remark}", flush=True)
    return _imported(name, target, runs)


def _unreadable(path: Path, error: Exception) -> ImportedSource:
    """Print why a source is not read: what is no ReadError is of a number that none foresees."""
    message = str(error) if isinstance(error, ReadError) else f"{path}: cannot be read: {error}"
    print(f"launch: {message}", file=sys.stderr)
    return ImportedSource(source=str(path), state="failed", error=message)


def _imported(name: str, target: "ImportTarget", runs: "Sequence[SourceRun]") -> ImportedSource:
    """Describe the runs of a source for a program."""
    run, of_sheet = runs[0], runs[0].imported.format == "sheet"
    steps = [line["step"] for line in run.lines]
    return ImportedSource(
        source=name,
        state="new" if target.state == "new" else "replaced",
        folder=str(target.folder),
        format=run.imported.format,
        runs=len(runs),
        outcomes=dict(Counter(run.imported.outcome for run in runs)),
        cause=None if of_sheet else run.imported.cause,
        steps=None if of_sheet else len(steps),
        first_step=steps[0] if steps else None,
        last_step=steps[-1] if steps else None,
        total_steps=run.total,
        unread_lines=None if of_sheet else run.unread,
        first_unread=run.first_unread,
        remarks=run.remarks,
    )


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
