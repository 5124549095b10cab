"""What local_cluster.sh says of itself; that it works is what all other tests here need."""

import subprocess

from tests.conftest import ROOT


def test_an_unknown_verb_is_shown_the_help() -> None:
    script = ROOT / "slurm" / "local_cluster.sh"
    done = subprocess.run([script, "strat"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "local_cluster: no verb strat\n")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("local_cluster.sh - ") and lines[-1].startswith("Runs as root ")
