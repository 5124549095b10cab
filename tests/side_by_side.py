"""All tests: tests/slurm, which mostly waits for SLURM, beside the rest.

What tests/slurm prints comes in one piece when both are done. Ctrl-C reaches them all, as they are
in the terminal's process group; SIGTERM is handed on as SIGINT, so that they clean up.
"""

import shutil
import signal
import subprocess
import sys
import tempfile

PYTEST = (sys.executable, "-m", "pytest", "--durations=15")
# A cache of its own: both would write the list of tests that failed. Folders of tmp_path are
# numbered and locked by pytest.
SLURM = (*PYTEST, "-o", "cache_dir=.pytest_cache/slurm", "tests/slurm")
NOT_SLURM = (*PYTEST, "--ignore=tests/slurm")


def main() -> int:
    """0 where all ended well."""
    with tempfile.TemporaryFile("w+") as output:
        started = [
            subprocess.Popen(
                SLURM, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            ),
            subprocess.Popen(NOT_SLURM),
        ]
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(
            signal.SIGTERM, lambda *_: [process.send_signal(signal.SIGINT) for process in started]
        )
        codes = [process.wait() for process in started]
        output.seek(0)
        print(f"\n{' '.join(SLURM[1:])}", flush=True)
        shutil.copyfileobj(output, sys.stdout)
        sys.stdout.flush()
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
