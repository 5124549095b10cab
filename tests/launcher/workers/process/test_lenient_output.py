"""Output to a full disk is dropped, and the process goes on."""

import subprocess
import sys


def test_a_full_disk_is_no_error() -> None:
    code = (
        "import sys\n"
        "from launcher.workers.process import lenient_output\n"
        "lenient_output.install()\n"
        "print('x' * 100_000, flush=True)\n"
        "print('seen', file=sys.stderr)\n"
    )
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (process.returncode, process.stderr) == (0, "seen\n")
