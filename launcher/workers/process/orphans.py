"""End this rank when the launcher that started it is gone. Standard library only."""

import os
import threading
import time

POLL_SECONDS = 0.5


def die_with_parent() -> None:
    """Watch the process named by MEGALAUNCH_PARENT, if it is set, from a daemon thread.

    A launcher killed with SIGKILL cannot end its ranks, and the next run would lack what they hold
    on to: memory, a card, a port.
    """
    parent = os.environ.get("MEGALAUNCH_PARENT")
    if parent:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
