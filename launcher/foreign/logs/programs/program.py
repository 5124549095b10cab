"""Base of the readers of programs' logs: one reads a file, several of them are joined to a run."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from launcher.foreign.logs.reader import LoggedStep, LogReader


@dataclass(kw_only=True)
class ProgramReader(LogReader):
    """A reader of one file of a run, of which others may have the rest."""

    def join(self, other: Self) -> None:
        """Take what another file of the same run says; what both say differently, this one's."""
        last = max((step for step in (self.last, other.last) if step is not None), default=None)
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, _joined(mine, theirs))
        self.last = last

    def has_figures(self, step: LoggedStep) -> bool:
        """Return True where a step line said how well or how fast it went: else it was not read."""
        speeds = (step.step_ms, step.samples_per_s, step.tokens_per_s_per_gpu, step.tflops)
        return step.loss is not None or any(speed is not None for speed in speeds)


def _joined(mine: Any, theirs: Any) -> Any:
    """One value of two; steps are completed, counts are those of the file with more."""
    if isinstance(mine, dict):
        both = mine.keys() & theirs.keys()
        completed = {key: _completed(mine[key], theirs[key]) for key in both}
        return theirs | mine | completed
    if isinstance(mine, list):
        return [*mine, *theirs]
    if isinstance(mine, int) and isinstance(theirs, int):  # a flag, or a count
        return max(mine, theirs)
    return theirs if mine is None else mine


def _completed(mine: Any, theirs: Any) -> Any:
    """A step with what only the other file says of it."""
    if not isinstance(mine, LoggedStep):
        return mine
    missing = [field.name for field in fields(mine) if getattr(mine, field.name) is None]
    return replace(mine, **{name: getattr(theirs, name) for name in missing})
