"""The samples of a run in Weights & Biases and TensorBoard: for the tracker, which has no torch."""

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
"""In W&B, whose own step has gone on since: the step that validation losses are drawn over."""


def newest(folder: RunFolder) -> int:
    """When the last samples there are were written, in ns by the clock of their file system."""
    return max(_stamps(folder).values(), default=0)


class News:
    """Samples that appear while a run is followed."""

    def __init__(self, folder: RunFolder, known: int) -> None:
        """``known``: what `newest` said before the run began."""
        self._folder = folder
        self._known = {p: stamp for p, stamp in _stamps(folder).items() if stamp <= known}

    def taken(self) -> Iterator[Sampled]:
        """Those that have appeared since the last call; a line on what cannot be read."""
        there = _stamps(self._folder)
        new = [path for path, stamp in there.items() if self._known.get(path) != stamp]
        self._known = there
        for path in new:
            try:
                yield samples.read(path)
            except ReadError as error:
                print(error, flush=True)


def define(run: Any) -> None:
    """Tell W&B over what validation losses are drawn."""
    run.define_metric(STEP)
    run.define_metric("validation/*", step_metric=STEP)


def logged(wandb: Any, one: Sampled) -> dict[str, Any]:
    """What W&B is told."""
    rows = [[one.step, a.prompt, a.text, ", ".join(a.flags)] for a in one.prompts]
    table = wandb.Table(columns=["step", "prompt", "text", "flags"], data=rows)
    return {STEP: one.step, **_losses(one)} | ({"samples/texts": table} if rows else {})


def summary(one: Sampled) -> Any:
    """What TensorBoard is told: losses, and a text for each prompt."""
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.summary import text

    values = [Summary.Value(tag=tag, simple_value=loss) for tag, loss in _losses(one).items()]
    for number, answer in enumerate(one.prompts, 1):
        values.extend(text(f"samples/{number}", _markdown(answer)).value)
    return Summary(value=values)


def _losses(one: Sampled) -> dict[str, float]:
    found = one.validation.items()
    return {f"validation/{name}": of.loss for name, of in found if of.loss is not None}


def _markdown(answer: Answer) -> str:
    """The texts as they are: indented lines are not Markdown."""
    parts = [textwrap.indent(part, "    ", lambda _: True) for part in (answer.prompt, answer.text)]
    return "\n\ngoes on with\n\n".join(parts) + f"\n\n{', '.join(answer.flags)}"


def _stamps(folder: RunFolder) -> dict[Path, int]:
    found = {}
    for path in folder.sample_files():
        with suppress(OSError):  # a rollback has just removed it
            found[path] = path.stat().st_mtime_ns
    return found
