"""The script for a first card, on a CPU: its parts, its table, its JSON, and what it says of failures."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import launcher
from launcher.cli import main as launch
from launcher.decode import encode
from launcher.planner.constants import constants_of
from launcher.results.record import Figures, RunRecord
from launcher.spec.cluster import Accelerator
from tests import limits
from tests.conftest import ROOT, environment
from tests.gpu import first_contact, time_left
from tests.gpu.first_contact import Contact, Part

SCRIPT = ROOT / "tests" / "gpu" / "first_contact.sh"
NO_CARD = {
    "name": None,
    "memory_gib": None,
    "capability": None,
    "cards": 0,
    "versions": {"torch": "2"},
}
H100 = {**NO_CARD, "name": "NVIDIA H100 80GB HBM3", "memory_gib": 79.1}


def script(*words: str) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, "COLUMNS": "200"}
    variables.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(SCRIPT), *words],
        env=variables,
        timeout=limits.COMMAND,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Ended:
    """A run of the script that is over."""

    process: "subprocess.CompletedProcess[str]"
    folder: Path

    @property
    def json(self) -> dict[str, Any]:
        """Content of first_contact.json."""
        content: dict[str, Any] = json.loads((self.folder / "first_contact.json").read_text())
        return content


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One run of the whole script on the CPU, with this Python."""
    folder = tmp_path_factory.mktemp("contact")
    words = ["--tiny", "--python", sys.executable, "--output", str(folder), "--minutes", "60"]
    return Ended(script(*words), folder)


def test_every_part_runs(tiny: Ended) -> None:
    assert tiny.process.returncode == 0, tiny.process.stdout + tiny.process.stderr
    parts = {part["name"]: part for part in tiny.json["parts"]}
    assert {name: part["state"] for name, part in parts.items()} == {
        "sweep": "ok", "mfu": "ok", "tests": "ok",
    }  # fmt: skip
    assert parts["sweep"]["summary"] == "8 ok"
    assert list(parts["mfu"]["figures"]["contenders"]) == ["plain", "megatron", "deepspeed"]
    assert not parts["tests"]["figures"]["failed"] and not parts["tests"]["figures"]["not run"]
    assert re.search(r"\nfirst_contact: all 3 parts ran, after \d+ s\n$", tiny.process.stdout)
    versions = tiny.json["card"]["versions"]
    assert versions["torch"] and versions["megatron_core"] and versions["deepspeed"]


def test_the_table_has_predicted_beside_measured(tiny: Ended) -> None:
    lines = tiny.process.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("row  outcome"))
    assert lines[start].split() == [
        "row", "outcome", "backend", "zero", "mbs", "recompute", "offload", "pred_mem_gib",
        "rss_gib", "pred_step_ms", "step_ms", "step_ratio", "tflops", "loss_last",
    ]  # fmt: skip
    table = [line.split() for line in lines[start + 1 : start + 9]]
    assert [row[0] for row in table] == [str(number) for number in range(1, 9)]
    rows = tiny.json["layouts"]
    assert len({row["loss_last"] for row in rows}) >= 1
    assert max(row["loss_last"] for row in rows) - min(row["loss_last"] for row in rows) < 1e-4
    for row in rows:
        assert row["step_ratio"] == pytest.approx(
            row["step_ms_p50"] / row["pred_step_ms"], abs=1e-3
        )
        assert row["mem_ratio"] is None and row["mem_max_gib"] > row["pred_mem_gib"] > 0


def test_the_layouts_are_of_every_kind(tiny: Ended) -> None:
    rows = tiny.json["layouts"]
    values = {name: {row[name] for row in rows} for name in rows[0]}
    assert values["micro_batch"] == {1, 2, 4}
    assert values["recompute"] == {"none", "selective", "full"}
    assert values["zero"] == {0, 1, 3}
    assert values["offload"] == {False, True}
    assert values["backend"] == {"megatron", "deepspeed"}


def test_a_fit_takes_the_json_and_changes_the_forecast(
    tiny: Ended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    constants = tmp_path / "constants.json"
    fit = ["plan", "--fit", str(tiny.folder / "first_contact.json"), "-o", str(constants)]
    assert launch(fit) == 0
    assert "step time" in capsys.readouterr().out
    assert constants_of(str(constants)).time != constants_of(None).time
    words = ["--config-dir", str(tiny.folder / "conf"), *tiny.json["command"][1:-2]]
    steps = []
    for other in ([], [f"constants={constants}"]):
        assert launch(["plan", *words, *other, "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        steps.append({row["row"]: row["pred_step_ms"] for row in rows})
    assert [steps[0][row["row"]] for row in tiny.json["layouts"]] == pytest.approx(
        [row["pred_step_ms"] for row in tiny.json["layouts"]]
    )
    assert all(steps[0][row] != steps[1][row] for row in steps[0])


def test_the_same_folder_again_runs_no_layout_twice(tiny: Ended, tmp_path: Path) -> None:
    """What had no time is what runs then."""
    attempts = [record["attempt"] for record in tiny.json["records"]]
    words = tiny.json["command"][1:]
    process = subprocess.run(
        [sys.executable, "-c", "import sys; from launcher.cli import main; sys.exit(main())", *words],
        env=environment(tmp_path), capture_output=True, text=True, check=False,
        timeout=limits.COMMAND,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "8 points, 8 ok, 0 to run" in process.stderr
    assert attempts == [1] * 8


# What ends badly.


def contact(folder: Path, seconds: float = 1000.0) -> Contact:
    first_contact.write_conf(folder, first_contact.this_machine(None))
    words, plan = first_contact.chosen(folder, tiny=True)
    return Contact(folder=folder, tiny=True, until=time.time() + seconds, words=words, plan=plan)


def stub(state: first_contact.State, summary: str) -> Callable[[Contact, float], Part]:
    return lambda *_: Part(name="it", state=state, summary=summary)


@pytest.mark.parametrize(
    ("parts", "code", "line"),
    [
        ([("a", "ok", "fine"), ("b", "ok", "fine")], 0, "all 2 parts ran"),
        ([("a", "ok", "fine"), ("b", "failed", "3 oom")], 1,
         "1 of 2 parts did not run well: b failed: 3 oom"),
        ([("a", "failed", "x"), ("b", "not run", "no time left")], 1,
         "2 of 2 parts did not run well: a failed: x; b not run: no time left"),
    ],
)  # fmt: skip
def test_the_verdict(parts: list[tuple[str, Any, str]], code: int, line: str) -> None:
    results = [Part(name=name, state=state, summary=words) for name, state, words in parts]
    assert first_contact.verdict(results) == (code, line)


def test_a_part_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the table, the JSON and the other parts are there all the same."""
    monkeypatch.setattr(first_contact, "look_at_card", lambda: NO_CARD)
    parts = {
        "sweep": (0.5, stub("failed", "2 hang")),
        "tests": (1.0, stub("ok", "4 passed")),
    }
    monkeypatch.setattr(first_contact, "PARTS", parts)
    assert first_contact.main(["--tiny", "--output", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert re.search(
        r"first_contact: 1 of 2 parts did not run well: it failed: 2 hang, after \d+ s\n$", output
    )
    assert output.count("no time left") == 8  # the cause of each layout
    assert "launch plan --fit" not in output  # there is nothing to fit to
    content = json.loads((tmp_path / "first_contact.json").read_text())
    assert [row["outcome"] for row in content["layouts"]] == ["not run"] * 8
    assert [part["state"] for part in content["parts"]] == ["failed", "ok"]


def test_without_a_card_there_is_no_contact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_contact, "look_at_card", lambda: NO_CARD)
    assert first_contact.main(["--output", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == "no card  torch 2\n"
    assert output.err == "first_contact: no card answers; --tiny runs on the CPU\n"


def test_a_part_without_time_is_not_begun(tmp_path: Path) -> None:
    late = contact(tmp_path, seconds=20.0)
    part = first_contact.timed("mfu", stub("ok", "it ran"), late, 0.5)
    assert part == Part(name="mfu", state="not run", summary="no time left")
    assert first_contact.timed("mfu", stub("ok", "it ran"), late, 1.0).summary == "it ran"


SLEEPS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep({always})"])
print(child.pid, flush=True)
{deaf}
time.sleep({always})
"""


@pytest.mark.parametrize(
    "deaf", ["", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"]
)
def test_what_is_late_is_ended_with_all_that_it_started(
    deaf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_contact, "GRACE", 0.5)
    log = tmp_path / "log.txt"
    code = SLEEPS.format(always=limits.ALWAYS, deaf=deaf)

    class Process(subprocess.Popen[bytes]):
        """One whose time is up once its child is there."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout == 7.0:
                limits.until(lambda: log.read_text().endswith("\n"))
                raise subprocess.TimeoutExpired("it", 7.0)
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Process)
    assert first_contact.run([sys.executable, "-c", code], 7.0, log) is None
    child = int(log.read_text().split()[0])
    limits.until(
        lambda: (
            not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        )
    )


def test_what_ends_by_itself_has_its_exit_code(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert first_contact.run([sys.executable, "-c", "raise SystemExit('no')"], 600.0, log) == 1
    assert log.read_text() == "no\n"


def recorded(place: Contact, *outcomes: Any) -> list[RunRecord]:
    """Records of as many layouts, with memory of a card and a time where they ended well."""
    figures = Figures(step_ms_p50=200.0, mem_max_gib=30.0, memory_kind="cuda reserved")
    return [
        RunRecord(
            spec=spec,
            outcome=outcome,
            figures=figures if outcome == "ok" else Figures(mem_max_gib=70.0),
            cause=None if outcome == "ok" else f"{outcome} it was",
        )
        for spec, outcome in zip(place.plan.points.values(), outcomes, strict=False)
    ]


@pytest.mark.parametrize(
    ("outcomes", "ended", "state", "summary"),
    [
        (["ok"] * 8, 0, "ok", "8 ok"),
        (["ok"] * 6 + ["oom"] * 2, 0, "ok", "6 ok, 2 oom"),
        (["oom"] * 8, 1, "failed", "8 oom"),
        (["ok"] * 7 + ["hang"], 0, "failed", "7 ok, 1 hang"),
        (["ok"] * 3, None, "ok", "3 ok, 5 not run for want of time"),
        ([], None, "failed", "8 not run for want of time"),
        ([], 2, "failed", "8 not run: launch ended with 2: launch: no"),
    ],
)  # fmt: skip
def test_a_sweep_is_judged(
    outcomes: list[str], ended: int | None, state: str, summary: str, tmp_path: Path
) -> None:
    place = contact(tmp_path)
    part = first_contact.judged_sweep(place.plan, recorded(place, *outcomes), ended, "launch: no")
    assert (part.state, part.summary) == (state, summary)


def test_a_layout_is_a_row_whatever_came_of_it(tmp_path: Path) -> None:
    place = contact(tmp_path)
    rows = first_contact.layouts(place.plan, recorded(place, "ok", "oom"))
    assert len(rows) == 8
    names = ("outcome", "step_ms_p50", "mem_ratio", "cause")
    fits, oom, not_run = ([row[name] for name in names] for row in rows[:3])
    assert fits == ["ok", 200.0, pytest.approx(30 / rows[0]["pred_mem_gib"], abs=1e-3), None]
    assert oom == ["oom", None, None, "oom it was"]
    assert not_run == ["not run", None, None, "no time left"]


def contenders(**steps: float | None) -> dict[str, Any]:
    return {
        "contenders": {
            name: {"step_ms": ms, "tflops": ms and 100.0, "peak_pct": None,
                   "times_plain": ms and 0.98}
            for name, ms in steps.items()
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("figures", "ended", "state", "summary"),
    [
        (contenders(plain=1.0, megatron=1.0), 1, "ok",
         "plain 100 TFLOP/s, megatron 100 TFLOP/s 0.98 x plain"),
        (contenders(plain=1.0, megatron=None), None, "ok",
         "plain 100 TFLOP/s, not run for want of time: megatron"),
        (contenders(plain=1.0, megatron=None), 1, "failed",
         "plain 100 TFLOP/s, ended with 1: AssertionError"),
        ({}, 1, "failed", "ended with 1: AssertionError"),
        ({}, None, "failed", "nothing of it ran in its time"),
    ],
)  # fmt: skip
def test_the_benchmark_is_judged(
    figures: dict[str, Any], ended: int | None, state: str, summary: str
) -> None:
    part = first_contact.judged_mfu(figures, ended, "AssertionError")
    assert (part.state, part.summary) == (state, summary)


def report(*cases: tuple[str, str]) -> str:
    """Report of pytest: the name of each test, and what stands below it."""
    lines = [f'<testcase name="{name}">{inside}</testcase>' for name, inside in cases]
    return f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>"


PASSED, FAILED = ("a", ""), ("b", '<failure message="assert 1"/>')
SKIPPED = ("c", '<skipped message="no card"/>')
LATE = ("d", f'<skipped message="{time_left.REASON}"/>')


@pytest.mark.parametrize(
    ("text", "ended", "needs_card", "state", "summary"),
    [
        (report(PASSED, PASSED), 0, True, "ok", "2 passed"),
        (report(PASSED, FAILED), 1, True, "failed", "1 passed, 1 failed, failed: b"),
        (report(PASSED, LATE, LATE), 0, True, "ok", "1 passed, 2 not run for want of time"),
        (report(SKIPPED), 0, False, "ok", "1 skipped, skipped: no card"),
        (report(SKIPPED), 0, True, "failed", "1 skipped, skipped: no card"),
        (report(PASSED), None, True, "failed", "1 passed, stopped when its time was up"),
        (None, 4, True, "failed", "pytest ended with 4: no such folder"),
        (None, None, True, "failed", "it did not end in its time"),
    ],
)
def test_the_tests_are_judged(
    text: str | None, ended: int | None, needs_card: bool, state: str, summary: str
) -> None:
    part = first_contact.judged_tests(text, ended, "no such folder", needs_card)
    assert (part.state, part.summary) == (state, summary)


def test_no_test_begins_too_late(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_a(): ...\ndef test_b(): ...\n")
    texts = []
    for until in ("0", "9e9"):
        file = tmp_path / "report.xml"
        words = ["-p", time_left.__name__, f"--until={until}", f"--junitxml={file}", "-q"]
        subprocess.run(
            [sys.executable, "-m", "pytest", *words, str(tmp_path)],
            cwd=ROOT, check=True, capture_output=True, timeout=limits.COMMAND,
        )  # fmt: skip
        texts.append(first_contact.judged_tests(file.read_text(), 0, "", False).summary)
    assert texts == ["2 not run for want of time", "2 passed"]


# The card.


@pytest.mark.parametrize(
    ("card", "name", "memory", "peak"),
    [
        (H100, "H100-SXM5-80GB", 78.6, 989.4),
        ({**H100, "name": "NVIDIA L40S", "memory_gib": 44.5}, "NVIDIA L40S", 44.0, None),
        (None, "cpu", None, None),
    ],
)
def test_the_card_as_a_cluster(
    card: dict[str, Any] | None, name: str, memory: float | None, peak: float | None, tmp_path: Path
) -> None:
    """With its own memory, and the peaks of its kind where there is a file of it."""
    first_contact.write_conf(tmp_path, first_contact.this_machine(card))
    request = launcher.compose("cluster=this_card", config_dir=str(tmp_path / "conf"))
    accelerator = request.cluster.accelerator
    assert (request.cluster.gpus, request.scheduler.name) == (1, "local")
    assert (accelerator.name, accelerator.bf16_tflops) == (name, peak)
    assert accelerator.memory_gib == (memory and pytest.approx(memory))


@pytest.mark.parametrize(
    ("gib", "model"),
    [(140.0, "llama_1b"), (79.1, "llama_1b"), (39.4, "llama_1b"), (15.0, "gpt_125m")],
)
def test_the_model_is_one_that_fits_the_card(gib: float, model: str, tmp_path: Path) -> None:
    """At every layout by prediction: what each takes is to be measured."""
    first_contact.write_conf(tmp_path, first_contact.this_machine({**H100, "memory_gib": gib}))
    words, plan = first_contact.chosen(tmp_path, tiny=False)
    assert f"model={model}" in words
    assert len(plan.points) == 8 and not plan.refusals
    assert all((prediction.oom or 0) < 0.5 for prediction in plan.predictions.values())
    steps = [prediction.step_ms or 0 for prediction in plan.predictions.values()]
    assert 8 * sum(steps) / 1000 < 60, "half of four minutes are for the starts"


# The script.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fast"], "--fast is no option; usage: first_contact.sh [--tiny]"),
        (["--wheels"], "--wheels needs a value; usage: "),
        (["--output", "OUT", "--wheels", "none"], "--wheels: none is no folder"),
        (["--output", "OUT", "--python", "no-python"], "no-python does not run"),
    ],
)
def test_a_wrong_call_is_one_line(words: Sequence[str], message: str, tmp_path: Path) -> None:
    process = script(*(str(tmp_path / "out") if word == "OUT" else word for word in words))
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith(f"first_contact: {message}")


def wheel(folder: Path, name: str, extra: str = "") -> None:
    """A package with nothing in it."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{extra}"
    described = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{name}-1.0.dist-info/METADATA", metadata)
        file.writestr(f"{name}-1.0.dist-info/WHEEL", described)
        file.writestr(f"{name}-1.0.dist-info/RECORD", "")


def test_wheels_are_installed_without_network(tmp_path: Path) -> None:
    """Into an environment beside the results; what they lack is named."""
    wheels, output = tmp_path / "wheels", tmp_path / "out"
    wheels.mkdir()
    words = ["--tiny", "--wheels", str(wheels), "--python", sys.executable, "--output", str(output)]
    process = script(*words)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1] == (
        f"first_contact: --wheels: {wheels} lacks what pip names above"
    )
    wheel(wheels, "megalaunch", "Provides-Extra: train\nRequires-Dist: torch; extra == 'train'\n")
    wheel(wheels, "pytest")
    wheel(wheels, "torch")
    process = script(*words)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1] == (
        f"first_contact: {output}/venv/bin/python has no hydra megatron deepspeed: give --wheels"
        " FOLDER, or --python PYTHON that has them"
    )
    assert [*output.glob("venv/lib/python*/site-packages/torch.py")]


def test_the_accelerator_of_a_cpu_is_what_conf_has() -> None:
    local = launcher.compose("cluster=local").cluster.accelerator
    assert encode(local) == encode(Accelerator(name="cpu"))
