"""What was generated from checkpoints, for the page: the flagged texts first."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from analysis.charts.names import short
from analysis.report import markup
from analysis.report.markup import Html, joined, tag
from launcher.errors import ReadError
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Answer, Sampled

RUNS = 6
"""Whose newest checkpoint's texts are shown, those with flagged ones first."""

PROMPTS = 8
"""Texts of each."""


def shown(folders: Iterable[str]) -> Html | None:
    """Texts of each run's newest sampled checkpoint; None where there are none."""
    found = [(folder, one) for folder in folders if (one := _newest(RunFolder(Path(folder))))]
    if not found:
        return None
    first = sorted(found, key=lambda pair: not _flagged(pair[1]))[:RUNS]
    rows = [row for folder, one in first for row in _rows(short(folder), one)]
    flagged = sum(_flagged(one) for _, one in found)
    count = sum(len(one.prompts) for _, one in found)
    said = f"{flagged} of {count} texts of the newest checkpoints are flagged."
    if len(found) > RUNS:
        said += f" Here are {RUNS} of {len(found)} runs, those with flagged texts first."
    losses = [line for folder, one in first for line in _losses(short(folder), one)]
    return joined([
        tag("h3", "Samples"),
        tag("p", said, _class="warn" if flagged else "dim"),
        markup.table(("run", "step", "prompt", "text", "flags"), rows, numbers=(1,)),
        tag("p", "Held-out loss: ", "; ".join(losses)) if losses else None,
    ])  # fmt: skip


def _newest(run: RunFolder) -> Sampled | None:
    for path in reversed(run.sample_files()):
        with suppress(ReadError):
            return samples.read(path)
    return None


def _flagged(one: Sampled) -> int:
    return sum(bool(answer.flags) for answer in one.prompts)


def _rows(name: str, one: Sampled) -> Iterator[list[str | Html]]:
    answers = sorted(one.prompts, key=lambda answer: not answer.flags)
    for answer in answers[:PROMPTS]:
        yield [name, str(one.step), tag("div", answer.prompt, _class="text"),
               tag("div", answer.text, _class="text"), _flags(answer)]  # fmt: skip


def _flags(answer: Answer) -> Html:
    return tag("span", ", ".join(answer.flags), _class="warn" if answer.flags else None)


def _losses(name: str, one: Sampled) -> Iterator[str]:
    for source, found in one.validation.items():
        if found.loss is not None:
            yield f"{name} {source} {found.loss:.4f}"
