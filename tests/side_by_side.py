"""All tests: tests/slurm, which mostly waits for SLURM, beside the rest; then what needs the cores.

What tests/slurm prints comes in one piece when both are done. Ctrl-C reaches them all, as they are
in the terminal's process group; SIGTERM is handed on as SIGINT, so that they clean up.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any

PYTEST = (sys.executable, "-m", "pytest")
# A cache of its own: both would write the list of tests that failed. Folders of tmp_path are
# numbered and locked by pytest.
SLURM = (*PYTEST, "-o", "cache_dir=.pytest_cache/slurm", "tests/slurm")
# The tracker takes what cores are idle (nice 19) and has 30 s to end: between two busy ones, none.
ALONE = "tests/launcher/workers/tracking/test_tracker.py"
NOT_SLURM = (*PYTEST, "--ignore=tests/slurm", f"--ignore={ALONE}")
INTERRUPTED = 2
"""Exit code of pytest after SIGINT, and where a test cannot be read."""


def main() -> int:
    """0 where all ended well."""
    started: list[subprocess.Popen[bytes]] = []

    def start(words: tuple[str, ...], **outputs: Any) -> None:
        started.append(subprocess.Popen(words, **outputs))

    with tempfile.TemporaryFile("w+") as output:
        start(SLURM, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        start(NOT_SLURM)
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(
            signal.SIGTERM, lambda *_: [process.send_signal(signal.SIGINT) for process in started]
        )
        codes = [process.wait() for process in started]
        output.seek(0)
        print(f"\n{' '.join(SLURM[1:])}", flush=True)
        shutil.copyfileobj(output, sys.stdout)
        sys.stdout.flush()
    if INTERRUPTED not in codes:
        start((*PYTEST, ALONE))
        codes.append(started[-1].wait())
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
