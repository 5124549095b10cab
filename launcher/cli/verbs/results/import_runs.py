"""The verb ``import``: runs that something else trained, from their logs or from a sheet."""

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
    """Import logs and sheets; 1 where one of them could not be read."""
    from launcher.foreign import AUTO, FORMATS

    parser = new_parser("import", DESCRIPTION)
    parser.add_argument("sources", metavar="LOG", nargs="+",
                        help="a log, a folder of events, or a sheet: .csv, .xlsx")  # fmt: skip
    parser.add_argument("--format", dest="kind", metavar="FORMAT", default=AUTO,
                        help=f"{', '.join(FORMATS)}; {AUTO} looks at the lines")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="DIR", default="runs/imported",
                        help="where to put them (%(default)s)")  # fmt: skip
    parser.add_argument("--hardware", metavar="CARD",
                        help="the card, where a log does not name it: for MFU")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="read also what was read before and has not changed")  # fmt: skip
    options = parse(parser, words)
    paths = _paths(options.sources)
    if options.kind not in (AUTO, *FORMATS):
        near = nearest(options.kind, (AUTO, *FORMATS))
        raise RequestError(f"--format: no format {options.kind!r}{near}")
    _check_hardware(options.hardware)
    read = [path.exists() and _import(path, options) for path in paths]
    if any(read):
        print(f"look at them: launch table {shlex.quote(options.output)}")
    return 0 if all(read) else 1


def _paths(words: Sequence[str]) -> list[Path]:
    """The sources, each once; of those that are not there a line. Raises RequestError."""
    paths = list(dict.fromkeys(Path(word).expanduser() for word in words))
    missing = [path for path in paths if not path.exists()]
    if len(missing) == len(paths):
        others = f" (nor any of the {len(paths) - 1} others)" if len(paths) > 1 else ""
        raise RequestError(f"{paths[0]}: no such file{others}")
    for path in missing:
        print(f"launch: {path}: no such file", file=sys.stderr)
    return paths


def _clusters() -> "Mapping[str, Cluster]":
    from launcher.sheets import predictions

    return predictions.clusters()


def _check_hardware(named: str | None) -> None:
    from launcher.sheets import aliases

    if named is not None and aliases.machine(named, _clusters()).assumed is not None:
        cards = ", ".join(name for name in _clusters() if not name.startswith("local"))
        raise ConfigError(f"--hardware: the peaks of {named!r} are not known; known are: {cards}")


def _import(path: Path, options: argparse.Namespace) -> bool:
    """One source, and one line about it. False where it could not be read."""
    from launcher import foreign
    from launcher.foreign import AUTO, folders
    from launcher.foreign.source import Source, digest, source_name
    from launcher.sheets import predictions

    try:
        sha256 = digest(path)
        place = folders.target(Path(options.output).expanduser(), path, sha256)
        if place.state == "there" and not options.again:
            asked = options.kind != AUTO or options.hardware is not None
            hint = " (--again reads it with these options)" if asked else ""
            print(f"{source_name(path)}: already there -> {place.folder}{hint}", flush=True)
            return True
        source = Source(path=path, sha256=sha256, clusters=_clusters(), models=predictions.models(),
                        hardware=options.hardware)  # fmt: skip
        found = foreign.read(source, options.kind)
        folders.put(place.folder, found)
    except ReadError as error:
        print(f"launch: {error}", file=sys.stderr)
        return False
    except (ValueError, ArithmeticError) as error:  # a number of which nobody has thought
        print(f"launch: {path}: cannot be read: {error}", file=sys.stderr)
        return False
    again = "" if place.state == "new" else " (instead of what was there)"
    print(f"{source_name(path)}: {_said(found)} -> {place.folder}{again}", flush=True)
    for remark in found[0].remarks:
        print(f"  {remark}", flush=True)
    return True


def _said(found: "Sequence[SourceRun]") -> str:
    """What was found, in one line."""
    if found[0].imported.format == "sheet":
        counts = Counter(run.imported.outcome for run in found).most_common()
        return f"sheet, {len(found)} rows: {', '.join(f'{n} {name}' for name, n in counts)}"
    (run,) = found
    one = run.imported
    steps = f"{_many(len(run.lines), 'step')} logged{_span(run)}" if run.lines else "no step"
    cause = f": {one.cause}" if one.cause else ""
    unread = "0 lines unread"
    if run.unread:
        unread = f"{_many(run.unread, 'step line')} unread, the first: {run.first_unread!r}"
    return f"{one.format}, {steps}, {one.outcome}{cause} ({unread})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _span(run: "SourceRun") -> str:
    of = "" if run.total is None else f" of {run.total}"
    return f" ({run.lines[0]['step']} to {run.lines[-1]['step']}{of})"


VERB = Verb(
    name="import",
    usage="LOG...",
    summary="logs and sheets of runs that something else trained",
    run=import_,
)
