"""The batch script: one line for each thing a user says, and nothing a user says is code."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import RequestError, WorkError
from slurm import script
from tests.slurm.fakes import Commands, make_job, make_submission

PYTHON = sys.executable

PLAIN = f"""\
#!/bin/bash

# Parameters
#SBATCH --job-name=s-0123456789ab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --open-mode=append
#SBATCH --output=%j.txt
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --time=60

# setup
trap '' USR1
export PYTHONPATH=/shared/code/abc${{PYTHONPATH:+:$PYTHONPATH}}

# command
export SUBMITIT_EXECUTOR=slurm
exec {PYTHON} -P -m slurm.node.supervisor
"""


def test_nothing_is_said() -> None:
    """Options that are not set are not in the script: the cluster's own defaults hold."""
    assert script.batch_script(make_submission(make_job()), make_job(), None) == PLAIN


CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[str], list[str]]] = [
    # what is said, of what kind of job; lines that join the script, and lines that leave it
    ("partition", {"partition": "h100"}, {}, ["partition=h100"], []),
    ("account", {"account": "proj"}, {}, ["account=proj"], []),
    ("qos", {"qos": "high"}, {}, ["qos=high"], []),
    ("reservation", {"reservation": "r1"}, {}, ["reservation=r1"], []),
    ("constraint", {"constraint": "h100&ib"}, {}, ["constraint='h100&ib'"], []),
    ("exclude", {"exclude": ("n1", "n2")}, {}, ["exclude=n1,n2"], []),
    ("avoid", {}, {"avoid": ("n3",)}, ["exclude=n3"], []),
    ("exclude and avoid", {"exclude": ("n1", "n2")}, {"avoid": ("n2", "n3")},
     ["exclude=n1,n2,n3"], []),
    ("exclusive", {"exclusive": True}, {}, ["exclusive"], []),
    ("a second", {}, {"time_limit": 1.0}, ["time=1"], ["time=60"]),
    ("a minute", {}, {"time_limit": 60.0}, ["time=1"], ["time=60"]),
    ("above a minute", {}, {"time_limit": 60.1}, ["time=2"], ["time=60"]),
    ("nodes", {}, {"nodes": 3, "ranks_per_node": 8}, ["nodes=3", "ntasks-per-node=8"],
     ["nodes=2", "ntasks-per-node=2"]),
    ("cpus", {"cpus_per_task": 14}, {}, ["cpus-per-task=14"], []),
    ("memory", {"memory_per_task_gib": 1.5}, {}, ["mem=3072M"], []),
    ("half a MiB of memory", {"memory_per_task_gib": 0.0001}, {}, ["mem=1M"], []),
    ("cards", {}, {"cards_per_node": 8}, ["gpus-per-node=8"], []),
    ("cards of one's own", {"sbatch": {"gres": "gpu:h100:8"}}, {"cards_per_node": 8},
     ["gres=gpu:h100:8"], []),
    ("cards per task", {"sbatch": {"gpus_per_task": 1}}, {"cards_per_node": 8},
     ["gpus-per-task=1"], []),
    ("no cards asked for", {"sbatch": {"gpus-per-node": False}}, {"cards_per_node": 8}, [], []),
    ("signal", {"signal_before": 89.5}, {}, ["signal=B:USR1@90"], ["signal=B:USR1@120"]),
    ("more parameters", {"sbatch": {"mail_type": "END", "mail-user": "me@x.org", "hold": True}},
     {}, ["mail-type=END", "mail-user=me@x.org", "hold"], []),
    ("a parameter's text", {"sbatch": {"comment": "it's \"x\" $(touch HACKED) #ü漢 %j"}}, {},
     ["comment='it'\"'\"'s \"x\" $(touch HACKED) #ü漢 %j'"], []),
    ("a partition's text", {"partition": "a b;c"}, {}, ["partition='a b;c'"], []),
    ("memory wins", {"sbatch": {"mem": 0}, "memory_per_task_gib": 4.0}, {}, ["mem=0"], []),
    ("time wins", {"sbatch": {"time": "2-0"}}, {}, ["time=2-0"], ["time=60"]),
    ("cpus win", {"sbatch": {"cpus_per_task": 7}, "cpus_per_task": 14}, {},
     ["cpus-per-task=7"], []),
    ("tasks win", {"sbatch": {"ntasks-per-node": 1}}, {}, ["ntasks-per-node=1"],
     ["ntasks-per-node=2"]),
    ("partition wins", {"sbatch": {"partition": "b"}, "partition": "a"}, {}, ["partition=b"], []),
    ("requeue is removed", {"sbatch": {"requeue": False}}, {}, [], ["requeue"]),
    ("exclusive is removed", {"sbatch": {"exclusive": False}, "exclusive": True}, {}, [], []),
    ("false of what is not there", {"sbatch": {"hold": False}}, {}, [], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "shape", "more", "less"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_what_is_said_is_a_line(
    settings: dict[str, Any], shape: dict[str, Any], more: list[str], less: list[str]
) -> None:
    job = make_job(**shape)
    expected = set(PLAIN.splitlines()) - {f"#SBATCH --{line}" for line in less}
    lines = script.batch_script(make_submission(job, **settings), job, None).splitlines()
    assert set(lines) == expected | {f"#SBATCH --{line}" for line in more}
    names = [line.split("=")[0] for line in lines if line.startswith("#SBATCH")]
    assert len(names) == len(set(names)), "a parameter is there twice"


@pytest.mark.parametrize(
    ("throttle", "array"), [(None, "0-2%3"), (2, "0-2%2"), (1, "0-2%1"), (9, "0-2%3")]
)
def test_several_jobs_are_an_array(throttle: int | None, array: str) -> None:
    jobs = [make_job("a"), make_job("b"), make_job("c")]
    lines = set(script.batch_script(make_submission(*jobs), jobs[0], throttle).splitlines())
    expected = set(PLAIN.splitlines()) - {"#SBATCH --output=%j.txt"}
    assert lines == expected | {f"#SBATCH --array={array}", "#SBATCH --output=%A_%a.txt"}


def test_modules_and_setup() -> None:
    """A module's name is data; a line of setup is shell, as it is."""
    settings = {
        "modules": ("cuda/12.4", "a b; touch HACKED"),
        "setup": ("ulimit -l unlimited", "export X=$(hostname) # mine"),
    }
    head, _, tail = PLAIN.partition("# setup\ntrap '' USR1\n")
    assert script.batch_script(make_submission(make_job(), **settings), make_job(), None) == (
        head + "# setup\ntrap '' USR1\nmodule load cuda/12.4\nmodule load 'a b; touch HACKED'\n"
        "ulimit -l unlimited\nexport X=$(hostname) # mine\n" + tail
    )


def test_the_folder_of_the_code_is_data() -> None:
    from dataclasses import replace

    submission = replace(make_submission(make_job()), path=("/a b/$(touch HACKED)/it's",))
    line = next(
        text
        for text in script.batch_script(submission, make_job(), None).splitlines()
        if "PYTHONPATH" in text
    )
    completed = subprocess.run(
        ["sh", "-c", f'{line}\nprintf %s "$PYTHONPATH"'],
        env={"PYTHONPATH": "/own"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout == "/a b/$(touch HACKED)/it's:/own"


TITLES = [
    ("parallelism_grid", "parallelism_grid-tok"),
    ("a b", "a_b-tok"),
    ('it\'s "x" $(touch HACKED)\nü漢%j', "it_s_x_touch_HACKED_j-tok"),
    ("x" * 99, "x" * 40 + "-tok"),
    ("漢", "_-tok"),
]


@pytest.mark.parametrize(("name", "title"), TITLES)
def test_a_title_stumbles_over_nothing(name: str, title: str) -> None:
    assert script.title(name, "tok") == title


def test_sbatch_refuses(tmp_path: Path, commands: Commands) -> None:
    commands.say("sbatch", errors="sbatch: error: same\nsbatch: error: same\n", code=1)
    with pytest.raises(RequestError, match=r"^scheduler: sbatch refuses: same$"):
        script.submit("#!/bin/sh\n", make_submission(make_job()), tmp_path)
    commands.say("sbatch", code=1)
    with pytest.raises(RequestError, match=r"^scheduler: sbatch refuses: exit code 1$"):
        script.submit("#!/bin/sh\n", make_submission(make_job()), tmp_path)


def test_sbatch_takes_it(tmp_path: Path, commands: Commands) -> None:
    commands.say("sbatch", output="Submitted batch job 4711 on cluster big\n")
    assert script.submit("#!/bin/sh\n", make_submission(make_job()), tmp_path) == "4711"
    assert commands.calls("sbatch") == [
        [f"--chdir={tmp_path}", f"--output={tmp_path}/%j.txt", f"{tmp_path}/job.sh"]
    ]
    assert (tmp_path / "job.sh").read_text() == "#!/bin/sh\n"


def test_there_is_no_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkError, match=r"^sbatch: No such file or directory$"):
        script.submit("#!/bin/sh\n", make_submission(make_job()), tmp_path)


def test_sbatch_is_asked_without_a_file(tmp_path: Path, commands: Commands) -> None:
    commands.write("sbatch", f"#!/bin/sh\ncat > {tmp_path}/read\necho sbatch: fine, $3 >&2\n")
    folder = tmp_path / "not there"
    assert (
        script.validate("#!/bin/sh\n", make_submission(make_job("a"), make_job("b")), folder)
        == "fine, --test-only"
    )
    assert (tmp_path / "read").read_text() == "#!/bin/sh\n" and not folder.exists()
