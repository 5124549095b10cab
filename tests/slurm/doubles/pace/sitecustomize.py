"""Steps of a first attempt take PACE seconds each: it is under way however long a test looks away.

Python imports it by itself where this folder is in PYTHONPATH, which the user's variables set.
"""

import os
import time

if "PACE" in os.environ and os.environ.get("MEGALAUNCH_ATTEMPT") == "1":
    from launcher.workers.process.watchdog import Watchdog

    real = Watchdog.beat

    def beat(self: Watchdog, step: int) -> None:
        """Sleep after a step; its metrics are written by then."""
        time.sleep(float(os.environ["PACE"]))
        real(self, step)

    Watchdog.beat = beat  # type: ignore[method-assign]
