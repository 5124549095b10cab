"""The seam of whoever follows a campaign: a terminal, a notebook, a test."""

from collections.abc import Mapping
from typing import Protocol, Self

from launcher.campaign.plan import Plan
from launcher.results.record import RunRecord
from launcher.spec.run import RunSpec


class Watched(Protocol):
    """The part of a campaign that an observer reads."""

    @property
    def plan(self) -> Plan:
        """Points, and everything else that does not change."""

    @property
    def records(self) -> Mapping[str, RunRecord]:
        """Records so far, by the names of their points."""

    @property
    def running(self) -> Mapping[str, RunSpec]:
        """Points that have been submitted and have not ended."""

    @property
    def adopted(self) -> set[str]:
        """Those of them that an earlier launcher submitted."""


class Observer:
    """Follows a campaign; this one does nothing, a subclass overrides what it wants to know.

    `launcher.cli.progress.Progress` is that of a terminal.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def started(self, campaign: Watched) -> None:
        """Everything is sorted out, nothing has been submitted."""

    def refreshed(self, campaign: Watched) -> None:
        """Another look at what runs, ten times a second."""

    def trial_ended(self, campaign: Watched, record: RunRecord, again: bool) -> None:
        """A trial ended; ``again`` where it will be started once more."""
