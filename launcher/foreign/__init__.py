"""Logs and sheets of runs that this project did not start, as records and metrics."""

from collections.abc import Callable, Sequence
from functools import partial

from launcher.foreign import sheet, tensorboard
from launcher.foreign.logs.parts import Kinds, LogPart
from launcher.foreign.logs.read import KINDS
from launcher.foreign.logs.read import read as read_log
from launcher.foreign.source import EVENTS, Source, SourceRun, has_events
from launcher.sheets.file import WORKBOOKS

FORMATS: dict[str, Callable[[Source], list[SourceRun]]] = {
    **{kind.name: partial(read_log, kinds=(kind,)) for kind in KINDS},
    "tensorboard": tensorboard.read,
    "sheet": sheet.read,
}
"""Name of a kind of source -> its reader."""

AUTO = "auto"
SHEETS = (".csv", ".tsv", ".md", *WORKBOOKS)


def read(
    source: Source, name: str = AUTO, parts: Sequence[LogPart] | None = None
) -> list[SourceRun]:
    """The runs of a source: one of a log, one a row of a sheet.

    Args:
        source: a file, a folder of event files, or one of the logs of one run.
        name: a key of `FORMATS`, or `AUTO`: by what it is called and by what lines it has.
        parts: the files of a log, where they have been read.

    Raises:
        ReadError: it cannot be read so.
    """
    if parts:
        return read_log(source, kinds(name), parts)
    if name != AUTO:
        return FORMATS[name](source)
    if source.path.match(EVENTS):
        return tensorboard.read(source)
    if source.path.is_dir():
        logs = source.files and not has_events(source.path)
        return read_log(source) if logs else tensorboard.read(source)
    return sheet.read(source) if source.path.suffix.lower() in SHEETS else read_log(source)


def kinds(name: str) -> Kinds:
    """Kinds of logs that a format asks for: all, one, or none of a format that is no log."""
    return KINDS if name == AUTO else tuple(kind for kind in KINDS if kind.name == name)
