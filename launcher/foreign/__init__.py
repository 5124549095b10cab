"""Logs and sheets of runs that this project did not start, as records and metrics."""

from collections.abc import Callable
from functools import partial

from launcher.foreign import logs, sheet, tensorboard
from launcher.foreign.deepspeed import DeepSpeed
from launcher.foreign.huggingface import HuggingFace
from launcher.foreign.megatron import Megatron
from launcher.foreign.nemo import Nemo
from launcher.foreign.source import EVENTS, Found, Source
from launcher.foreign.torchtitan import Torchtitan
from launcher.sheets.file import WORKBOOKS

FORMATS: dict[str, Callable[[Source], list[Found]]] = {
    "megatron": partial(logs.read, kinds=(Megatron,)),
    "nemo": partial(logs.read, kinds=(Nemo,)),
    "torchtitan": partial(logs.read, kinds=(Torchtitan,)),
    "huggingface": partial(logs.read, kinds=(HuggingFace,)),
    "deepspeed": partial(logs.read, kinds=(DeepSpeed,)),
    "tensorboard": tensorboard.read,
    "sheet": sheet.read,
}
"""What a source may be."""

AUTO = "auto"
SHEETS = (".csv", ".tsv", *WORKBOOKS)


def read(source: Source, name: str = AUTO) -> list[Found]:
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
    return sheet.read(source) if source.path.suffix.lower() in SHEETS else logs.read(source)
