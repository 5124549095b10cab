"""Waiting for the ranks of an attempt that SLURM gave up, but that may still be at work."""

import time

from launcher.results.run_folder import RunFolder

POLL = 0.2


def outlast(folder: RunFolder, attempt: int, hang_after: float) -> None:
    """Wait until no rank of an earlier attempt shows a sign of life any more.

    A node that SLURM lost sight of may still be at work. Its ranks read in the status that another
    attempt has the run, and end; the steps they did meanwhile are of their attempt.
    """
    between = min(10.0, hang_after / 4)
    before = _beats(folder, attempt)
    if not any(time.time() - at < 3 * between for at in before.values()):
        return
    last = time.monotonic()
    while time.monotonic() - last < 1.5 * between:
        time.sleep(POLL)
        if (now := _beats(folder, attempt)) != before:
            before, last = now, time.monotonic()
    folder.withdraw_result()
    if folder.metrics.exists():
        with folder.attempts()[0].metrics.open("ab") as aside:
            aside.write(folder.metrics.read_bytes())
        folder.metrics.unlink()


def _beats(folder: RunFolder, attempt: int) -> dict[int, float]:
    """The last signs of life of earlier attempts' ranks that are not known to have ended."""
    beats = folder.beats()
    ranks = 1 + max(beats, default=0)  # an earlier attempt may have had more than this one
    ended = {number: folder.exit_codes(number, ranks) for number in range(1, attempt)}
    return {
        rank: beat.time
        for rank, beat in beats.items()
        if beat.attempt < attempt and ended[beat.attempt][rank] is None
    }
