"""Steps of a first attempt take PACE_MS milliseconds: it is under way however long a test looks away.

Python imports it by itself where this folder is in PYTHONPATH, which the user's variables set.
"""

import os
import time

if "PACE_MS" in os.environ and os.environ.get("MEGALAUNCH_ATTEMPT") == "1":
    from launcher.workers.process.watchdog import Watchdog

    real = Watchdog.beat

    def beat(self: Watchdog, step: int) -> None:
        """Sleep after a step; its metrics are written by then."""
        time.sleep(int(os.environ["PACE_MS"]) / 1000)
        real(self, step)

    Watchdog.beat = beat  # type: ignore[method-assign]
