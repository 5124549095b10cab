"""Settings for writing and keeping checkpoints; nothing here changes what a run computes."""

import math
from dataclasses import dataclass

from launcher.decode import Count, Positive
from launcher.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpointing:
    """Ways of writing checkpoints, and which of them stay; the interval is checkpoint_every."""

    asynchronous: bool | None = None
    """Write while training goes on, from a copy in the memory of the host; null does so on cards,
    where there is that much memory."""
    keep_last: Count = 2
    """Newest checkpoints that stay. More than one, because the newest may turn out damaged."""
    keep_every: Count | None = None
    """Every checkpoint whose step is a multiple of this stays as well."""
    keep_best: bool = False
    """The one after the lowest mean training loss stays as well."""
    mtbf_hours: Positive | None = None
    """Mean time between failures of the whole run; with it the interval of Young and Daly for the
    measured time of a save is printed."""

    def check(self, every: int | None) -> None:
        """Raise ConfigError where checkpoints are to stay that are never made."""
        if self.keep_every and every and self.keep_every % every:
            raise ConfigError(
                f"checkpoints.keep_every: {self.keep_every} is not a multiple of"
                f" checkpoint_every {every}"
            )

    def max_on_disk(self, steps: int, rolls_back: bool) -> int:
        """Largest number of checkpoints on disk at once, the one being written included.

        Args:
            steps: optimizer steps of the run.
            rolls_back: a spike guard may go back to an earlier one.
        """
        every_nth = steps // self.keep_every if self.keep_every else 0
        for_rollback = 2 if rolls_back else 0  # the one to go back to, and its successor
        return self.keep_last + 1 + every_nth + self.keep_best + for_rollback


def young_daly(save_s: float, mtbf_s: float) -> float:
    """Seconds between two checkpoints that lose least, sqrt(2 x save x MTBF).

    Young 1974, doi:10.1145/361147.361115; the first term of Daly 2006, doi:10.1016/
    j.future.2004.11.016, which holds where a save takes much less than the MTBF.
    """
    return math.sqrt(2 * save_s * mtbf_s)
