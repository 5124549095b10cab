"""Texts generated from checkpoints, for the page: the flagged ones first."""

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
"""Runs whose newest checkpoint's texts are shown, those with flagged ones first."""

PROMPTS = 8
"""Texts of each."""


def section(folders: Iterable[str]) -> Html | None:
    """Texts of each run's newest sampled checkpoint; None where there are none."""
    newest = ((folder, _newest(RunFolder(Path(folder)))) for folder in folders)
    by_run = [(short(folder), sampled) for folder, sampled in newest if sampled]
    if not by_run:
        return None
    first = sorted(by_run, key=lambda pair: not _flagged(pair[1]))[:RUNS]
    rows = [row for name, sampled in first for row in _rows(name, sampled)]
    flagged = sum(_flagged(sampled) for _, sampled in by_run)
    count = sum(len(sampled.prompts) for _, sampled in by_run)
    summary = f"{flagged} of {count} texts of the newest checkpoints are flagged."
    if len(by_run) > RUNS:
        summary += f" Here are {RUNS} of {len(by_run)} runs, those with flagged texts first."
    losses = [line for name, sampled in first for line in _losses(name, sampled)]
    return joined(
        [
            tag("h3", "Samples"),
            tag("p", summary, _class="warn" if flagged else "dim"),
            markup.table(("run", "step", "prompt", "text", "flags"), rows, numbers=(1,)),
            tag("p", "Held-out loss: ", "; ".join(losses)) if losses else None,
        ]
    )


def _newest(run: RunFolder) -> Sampled | None:
    for path in reversed(run.sample_files()):
        with suppress(ReadError):
            return samples.read(path)
    return None


def _flagged(sampled: Sampled) -> int:
    return sum(bool(answer.flags) for answer in sampled.prompts)


def _rows(name: str, sampled: Sampled) -> Iterator[list[str | Html]]:
    answers = sorted(sampled.prompts, key=lambda answer: not answer.flags)
    for answer in answers[:PROMPTS]:
        yield [
            name,
            str(sampled.step),
            tag("div", answer.prompt, _class="text"),
            tag("div", answer.text, _class="text"),
            _flags(answer),
        ]


def _flags(answer: Answer) -> Html:
    return tag("span", ", ".join(answer.flags), _class="warn" if answer.flags else None)


def _losses(name: str, sampled: Sampled) -> Iterator[str]:
    for source, validation in sampled.validation.items():
        if validation.loss is not None:
            yield f"{name} {source} {validation.loss:.4f}"
