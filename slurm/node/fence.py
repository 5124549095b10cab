"""Waiting for the ranks of an attempt that SLURM gave up, but that may still run."""

import time

from launcher.results.run_folder import RunFolder

POLL = 0.2


def await_earlier_ranks(folder: RunFolder, attempt: int, hang_after: float) -> None:
    """Wait until no rank of an earlier attempt shows a sign of life any more.

    Ranks on a node that SLURM lost contact with may still train. They read in the status that
    another attempt has the run, and end; the steps they did meanwhile belong to their attempt.
    """
    interval = min(10.0, hang_after / 4)  # of the ranks' heartbeats
    beats = _beats(folder, attempt)
    if not any(time.time() - beat_time < 3 * interval for beat_time in beats.values()):
        return
    last_news = time.monotonic()
    while time.monotonic() - last_news < 1.5 * interval:
        time.sleep(POLL)
        if (newer := _beats(folder, attempt)) != beats:
            beats, last_news = newer, time.monotonic()
    folder.withdraw_result()
    if folder.metrics.exists():
        with folder.attempts()[0].metrics.open("ab") as aside:
            aside.write(folder.metrics.read_bytes())
        folder.metrics.unlink()


def _beats(folder: RunFolder, attempt: int) -> dict[int, float]:
    """Return the last signs of life of earlier attempts' ranks that are not known to have ended."""
    beats = folder.beats()
    ranks = 1 + max(beats, default=0)  # an earlier attempt may have had more than this one
    ended = {number: folder.exit_codes(number, ranks) for number in range(1, attempt)}
    return {
        rank: beat.time
        for rank, beat in beats.items()
        if beat.attempt < attempt and ended[beat.attempt][rank] is None
    }
