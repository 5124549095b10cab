"""Logs and sheets of runs that this project did not start, as records and metrics."""

from collections.abc import Callable
from functools import partial

from launcher.foreign import sheet, tensorboard
from launcher.foreign.logs.deepspeed import DeepSpeed
from launcher.foreign.logs.huggingface import HuggingFace
from launcher.foreign.logs.megatron import Megatron
from launcher.foreign.logs.nemo import Nemo
from launcher.foreign.logs.read import read as read_log
from launcher.foreign.logs.torchtitan import Torchtitan
from launcher.foreign.source import EVENTS, Source, SourceRun
from launcher.sheets.file import WORKBOOKS

FORMATS: dict[str, Callable[[Source], list[SourceRun]]] = {
    "megatron": partial(read_log, kinds=(Megatron,)),
    "nemo": partial(read_log, kinds=(Nemo,)),
    "torchtitan": partial(read_log, kinds=(Torchtitan,)),
    "huggingface": partial(read_log, kinds=(HuggingFace,)),
    "deepspeed": partial(read_log, kinds=(DeepSpeed,)),
    "tensorboard": tensorboard.read,
    "sheet": sheet.read,
}
"""Name of a kind of source -> its reader."""

AUTO = "auto"
SHEETS = (".csv", ".tsv", ".md", *WORKBOOKS)


def read(source: Source, name: str = AUTO) -> list[SourceRun]:
    """The runs of a source: one of a log, one a row of a sheet.

    Args:
        source: a file, or a folder of event files.
        name: a key of `FORMATS`, or `AUTO`: by what it is called and by what lines it has.

    Raises:
        ReadError: it cannot be read so.
    """
    if name != AUTO:
        return FORMATS[name](source)
    if source.path.is_dir() or source.path.match(EVENTS):
        return tensorboard.read(source)
    return sheet.read(source) if source.path.suffix.lower() in SHEETS else read_log(source)
