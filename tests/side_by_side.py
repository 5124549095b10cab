"""All tests, in two processes at once: tests/slurm, which mostly waits for SLURM, beside the rest.

What tests/slurm prints comes in one piece at the end. Ctrl-C reaches both, as they are in the
terminal's process group; SIGTERM is handed on as SIGINT, so that both clean up after themselves.
"""

import shutil
import signal
import subprocess
import sys
import tempfile

PYTEST = (sys.executable, "-m", "pytest")
# A cache of its own: both would write the list of tests that failed. Folders of tmp_path are
# numbered and locked by pytest.
SLURM = (*PYTEST, "-o", "cache_dir=.pytest_cache/slurm", "tests/slurm")
REST = (*PYTEST, "--ignore=tests/slurm")


def main() -> int:
    """0 where both ended well."""
    with tempfile.TemporaryFile("w+") as said:
        slurm = subprocess.Popen(
            SLURM, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        both = (subprocess.Popen(REST), slurm)
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: [each.send_signal(signal.SIGINT) for each in both])
        codes = [each.wait() for each in both]
        said.seek(0)
        print(f"\n{' '.join(SLURM[1:])}", flush=True)
        shutil.copyfileobj(said, sys.stdout)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
