"""Seam of whoever follows a campaign: a terminal, a notebook, a test."""

from collections.abc import Mapping
from typing import Protocol, Self

from launcher.campaign.plan import Plan
from launcher.results.record import RunRecord
from launcher.spec.run import RunSpec


class Watched(Protocol):
    """Part of a campaign that an observer reads."""

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
        """Points among them that an earlier launcher submitted."""


class Observer:
    """Follows a campaign; this one does nothing, a subclass overrides what it wants to know.

    `launcher.cli.progress.Progress` is that of a terminal.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def started(self, campaign: Watched) -> None:
        """Begin to follow: everything is sorted out, nothing has been submitted."""

    def refreshed(self, campaign: Watched) -> None:
        """Take another look at what runs, ten times a second."""

    def trial_ended(self, campaign: Watched, record: RunRecord, again: bool) -> None:
        """Take note of a trial's end; ``again`` where it will be started once more."""
