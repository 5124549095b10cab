"""Samples of a run in the forms of Weights & Biases and TensorBoard; for the tracker: no torch."""

import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.errors import ReadError
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Answer, Sampled

STEP = "samples/step"
"""W&B metric over which validation losses are drawn, as W&B's own step has gone on since."""


def newest(folder: RunFolder) -> int:
    """Time at which the newest samples were written, ns by the clock of their file system."""
    return max(_stamps(folder).values(), default=0)


class NewSamples:
    """Samples that appear while a run is followed."""

    def __init__(self, folder: RunFolder, since: int) -> None:
        """``since`` is the value of `newest` before the run began."""
        self._folder = folder
        self._known = {p: stamp for p, stamp in _stamps(folder).items() if stamp <= since}

    def take(self) -> Iterator[Sampled]:
        """Read the samples that have appeared since the last call; print what is unreadable."""
        stamps = _stamps(self._folder)
        new = [path for path, stamp in stamps.items() if self._known.get(path) != stamp]
        self._known = stamps
        for path in new:
            try:
                yield samples.read(path)
            except ReadError as error:
                print(error, flush=True)


def define(run: Any) -> None:
    """Let W&B draw validation losses over the step of their checkpoint."""
    run.define_metric(STEP)
    run.define_metric("validation/*", step_metric=STEP)


def wandb_row(wandb: Any, sampled: Sampled) -> dict[str, Any]:
    """Values to log in W&B: losses, and a table of the texts."""
    rows = [[sampled.step, a.prompt, a.text, ", ".join(a.flags)] for a in sampled.prompts]
    table = wandb.Table(columns=["step", "prompt", "text", "flags"], data=rows)
    return {STEP: sampled.step, **_losses(sampled)} | ({"samples/texts": table} if rows else {})


def tensorboard_summary(sampled: Sampled) -> Any:
    """Summary for TensorBoard: losses, and a text for each prompt."""
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.summary import text

    values = [Summary.Value(tag=tag, simple_value=loss) for tag, loss in _losses(sampled).items()]
    for number, answer in enumerate(sampled.prompts, 1):
        values.extend(text(f"samples/{number}", _markdown(answer)).value)
    return Summary(value=values)


def _losses(sampled: Sampled) -> dict[str, float]:
    return {
        f"validation/{source}": validation.loss
        for source, validation in sampled.validation.items()
        if validation.loss is not None
    }


def _markdown(answer: Answer) -> str:
    """Markdown that shows the texts as they are: indented, so that nothing in them is markup."""
    parts = [textwrap.indent(part, "    ", lambda _: True) for part in (answer.prompt, answer.text)]
    return "\n\ngoes on with\n\n".join(parts) + f"\n\n{', '.join(answer.flags)}"


def _stamps(folder: RunFolder) -> dict[Path, int]:
    """Modification time of each file of samples, ns."""
    stamps = {}
    for path in folder.sample_files():
        with suppress(OSError):  # a rollback has just removed it
            stamps[path] = path.stat().st_mtime_ns
    return stamps
