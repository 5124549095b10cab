"""Who is told what happens in the loop: this one says nothing; see `launcher.cli.progress`."""

from typing import TYPE_CHECKING, Self

from launcher.results.record import RunRecord

if TYPE_CHECKING:
    from launcher.campaign.campaign import Loop


class Watch:
    """Told what happens; this one says nothing. See `launcher.cli.progress`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def start(self, loop: "Loop") -> None:
        """Everything is sorted out, nothing has been submitted."""

    def tick(self, loop: "Loop") -> None:
        """Another look at what runs."""

    def ended(self, loop: "Loop", found: RunRecord, again: bool) -> None:
        """A trial ended; ``again`` where it will be started once more."""
