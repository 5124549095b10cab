"""The help of local_cluster.sh; all other tests here need it to work."""

import subprocess

from tests.conftest import ROOT


def test_an_unknown_verb_is_shown_the_help() -> None:
    script = ROOT / "slurm" / "local_cluster.sh"
    completed = subprocess.run([script, "strat"], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (2, "local_cluster: no verb strat\n")
    lines = completed.stdout.splitlines()
    assert lines[0].startswith("local_cluster.sh - ") and lines[-1].startswith("Runs as root ")
