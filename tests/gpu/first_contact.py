"""First contact with a card: what works on it, how fast it is, and how wrong the planner is.

    tests/gpu/first_contact.sh [--tiny] [--minutes N] [--output FOLDER]      starts it

Parts in the order of their worth, each with a share of the time that is left: a sweep of eight
layouts through `launch`, the MFU benchmark, tests/gpu. ``--tiny`` is the same on a CPU. FOLDER then
has first_contact.json with every figure (``launch plan --fit`` takes it), conf/ with the card as a
cluster, and a log of each part. Exit code 0 where every part ran well, else 1; 2 without a card.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import launcher
from analysis import table
from launcher.campaign.plan import Plan
from launcher.decode import encode
from launcher.errors import LaunchError
from launcher.files import read_json, write_json
from launcher.results.endings.classify import tail
from launcher.results.record import Figures, Prediction, RunRecord
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.run import RunSpec
from tests.gpu import time_left
from tests.gpu.card import CONTEXT_GIB, cluster_of

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CONF = "conf"
"""Folder with the sweep; beside the results one with the card as a cluster too."""

MINUTES = 8.0
LEAST_SECONDS = 15.0
"""Seconds below which a part is not begun."""
LAST_TEST_SECONDS = 30.0
"""Seconds that a test on a card may take, and so the last one that begins."""
GRACE = 20.0
"""Seconds in which what was interrupted ends its ranks."""

MODELS = ("llama_1b", "gpt_125m")
"""Models for a card, of which the first counts with which every layout is predicted to fit."""
ON_CARD = ("train=pretrain", "train.global_batch=8", "train.steps=8", "train.untimed_steps=3",
           "train.tokens=null")  # fmt: skip
ON_CPU = ("train=probe", "train.global_batch=8", "train.steps=4", "train.untimed_steps=1")

State = Literal["ok", "failed", "not run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Result of one part."""

    name: str
    state: State
    summary: str
    """What it came to, in words: why it failed, what of it did not run."""
    seconds: float = 0.0
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """One run of this script."""

    folder: Path
    tiny: bool
    until: float
    """Moment at which it has to be over, seconds since 1970."""
    words: tuple[str, ...]
    """Overrides of the sweep."""
    plan: Plan
    """Plan of the sweep, before anything has run."""

    def records(self) -> list[RunRecord]:
        """Records of the layouts that have ended."""
        try:
            records = self.plan.folder.records()
        except LaunchError:
            return []
        return [record for record in records if record.spec.name in self.plan.points]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="first_contact", description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--output", type=Path, default=Path("first_contact"))
    options = parser.parse_args(arguments)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in a script's background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.time()
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    card = look_at_card()
    print(card_line(card))
    if card["name"] is None and not options.tiny:
        print("first_contact: no card answers; --tiny runs on the CPU", file=sys.stderr)
        return 2
    write_conf(folder, this_machine(None if options.tiny else card))
    words, plan = chosen(folder, options.tiny)
    until = began + 60 * options.minutes
    contact = Contact(folder=folder, tiny=options.tiny, until=until, words=words, plan=plan)
    parts = []
    for name, (share, run_part) in PARTS.items():
        parts.append(part := timed(name, run_part, contact, share))
        print(f"{name:6} {part.state:8} {part.seconds:5.0f} s  {part.summary}", flush=True)
    records = contact.records()
    rows = layouts(plan, records)
    print()
    print(table.render(as_table(rows, records), "table"))
    write_json(
        folder / "first_contact.json",
        {
            "card": card,
            "tiny": options.tiny,
            "command": ["launch", *contact.words, "--config-dir", str(folder / CONF)],
            "began": began,
            "seconds": round(time.time() - began, 1),
            "parts": [asdict(part) for part in parts],
            "layouts": rows,
            "records": [encode(record) for record in records],
        },
    )
    print(f"\nevery figure: {folder / 'first_contact.json'}")
    if any(record.outcome == "ok" for record in records):
        print(f"a planner of this card: launch plan --fit {folder / 'first_contact.json'} -o FILE")
    code, line = verdict(parts)
    print(f"first_contact: {line}, after {time.time() - began:.0f} s")
    return code


# The card.


def look_at_card() -> dict[str, Any]:
    """Facts of `tests.gpu.card`, asked in a process of its own."""
    command = [sys.executable, "-m", "tests.gpu.card"]
    process = subprocess.run(
        command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(json.loads(process.stdout.splitlines()[-1]))


def card_line(card: Mapping[str, Any]) -> str:
    """Name, memory and versions on one line."""
    name = "no card" if card["name"] is None else f"{card['name']}, {card['memory_gib']:g} GiB"
    versions = {key: value for key, value in card["versions"].items() if value}
    return "  ".join([name, *(f"{key} {value}" for key, value in versions.items())])


def this_machine(card: Mapping[str, Any] | None) -> Cluster:
    """One card of this machine as a cluster; None is a CPU rank.

    Peaks are those that conf/cluster has of its kind; of a kind that is not there they are not
    known, and the planner takes those of an A100.
    """
    accelerator = Accelerator(name="cpu")
    if card is not None:
        known = cluster_of(card["name"])
        accelerator = known.accelerator if known else Accelerator(name=card["name"])
        accelerator = replace(accelerator, memory_gib=card["memory_gib"] - CONTEXT_GIB)
    return Cluster(name="this_card", nodes=1, gpus_per_node=1, accelerator=accelerator)


def write_conf(folder: Path, cluster: Cluster) -> None:
    """Write the folder that the sweep is composed from, for ``--config-dir``."""
    shutil.copytree(HERE / CONF, folder / CONF, dirs_exist_ok=True)
    content = {"cluster": encode(cluster), "scheduler": {"name": "local"}}
    text = f"# @package _global_\n{json.dumps(content, indent=2)}\n"  # JSON is YAML
    (folder / CONF / "cluster").mkdir(exist_ok=True)
    (folder / CONF / "cluster" / "this_card.yaml").write_text(text, encoding="utf-8")


def chosen(folder: Path, tiny: bool) -> tuple[tuple[str, ...], Plan]:
    """Overrides of the sweep, of the largest model that fits, and the plan of it."""
    models, settings = (("tiny",), ON_CPU) if tiny else (MODELS, ON_CARD)
    for model in models:
        words = ("sweep=first_contact", "cluster=this_card", f"model={model}", *settings)
        words += ("parallel=1", f"output={folder}", "name=layouts")
        plan = launcher.plan(*words, config_dir=str(folder / CONF))
        if all((prediction.oom or 0.0) < 0.5 for prediction in plan.predictions.values()):
            break
    return words, plan


# The parts.


def timed(
    name: str, run_part: "Callable[[Contact, float], Part]", contact: Contact, share: float
) -> Part:
    """Run a part in its share of the time that is left; one that gets too little is not begun."""
    began = time.time()
    seconds = share * (contact.until - began)
    if seconds < LEAST_SECONDS:
        return Part(name=name, state="not run", summary="no time left")
    return replace(run_part(contact, seconds), seconds=round(time.time() - began, 1))


def sweep(contact: Contact, seconds: float) -> Part:
    """Train eight layouts, one after the other."""
    # One layout that hangs may take a third of the time, or a minute: the first one builds kernels.
    words = [*contact.words, f"time_limit={max(seconds / 3, 60):.0f}"]
    code = "import sys; from launcher.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *words, "--config-dir", str(contact.folder / CONF)]
    ended = run(command, seconds, contact.folder / "sweep.txt")
    return judged_sweep(contact.plan, contact.records(), ended, last_line(contact, "sweep"))


def judged_sweep(plan: Plan, records: Sequence[RunRecord], ended: int | None, last: str) -> Part:
    """The sweep as a part: out of memory is a result, anything else that fails is a failure."""
    outcomes = [record.outcome for record in records]
    counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
    words = [f"{count} {name}" for name, count in counts.items()]
    state: State = "ok" if "ok" in counts and counts.keys() <= {"ok", "oom"} else "failed"
    if left := len(plan.points) - len(records):
        if ended is None:
            words.append(f"{left} not run for want of time")
        else:
            state = "failed"
            words.append(f"{left} not run: launch ended with {ended}: {last}")
    return Part(name="sweep", state=state, summary=", ".join(words))


def mfu(contact: Contact, seconds: float) -> Part:
    """Compare both engines with a plain loop, for speed."""
    file = contact.folder / "mfu.json"
    file.unlink(missing_ok=True)
    words = ["-m", "tests.benchmarks.mfu", "--rounds", "1", "--json", str(file)]
    words += ["--tiny"] if contact.tiny else ["--steps", "9"]
    ended = run([sys.executable, *words], seconds, contact.folder / "mfu.txt")
    return judged_mfu(read_json(file) if file.exists() else {}, ended, last_line(contact, "mfu"))


def judged_mfu(figures: Mapping[str, Any], ended: int | None, last: str) -> Part:
    """The benchmark as a part; to be slower than the plain loop is a result."""
    contenders = figures.get("contenders", {})
    words = [
        f"{name} {row['tflops']:.4g} TFLOP/s"
        + (f" ({row['peak_pct']:.1f} %)" if row["peak_pct"] is not None else "")
        + (f" {row['times_plain']:.2f} x plain" if name != "plain" else "")
        for name, row in contenders.items()
        if row["step_ms"] is not None
    ]
    missing = [name for name, row in contenders.items() if row["step_ms"] is None]
    if ended is None:
        words += [f"not run for want of time: {', '.join(missing)}"] if missing else []
    elif missing or not contenders:
        words.append(f"ended with {ended}: {last}")
    ran_well = bool(contenders) and (not missing or (ended is None and "plain" not in missing))
    return Part(
        name="mfu",
        state="ok" if ran_well else "failed",
        summary=", ".join(words) or "nothing of it ran in its time",
        figures=figures,
    )


def tests(contact: Contact, seconds: float) -> Part:
    """Run tests/gpu but for the test of this script; those without a card skip themselves."""
    report = contact.folder / "tests.xml"
    report.unlink(missing_ok=True)
    until = time.time() + max(seconds - LAST_TEST_SECONDS, seconds / 2)
    words = ["-m", "pytest", "tests/gpu", "--ignore=tests/gpu/test_first_contact.py"]
    words += ["-p", time_left.__name__, f"--until={until}", f"--junitxml={report}"]
    words += ["-p", "no:cacheprovider"]
    ended = run([sys.executable, *words], seconds, contact.folder / "tests.txt")
    text = report.read_text(encoding="utf-8") if report.exists() else None
    return judged_tests(text, ended, last_line(contact, "tests"), needs_card=not contact.tiny)


def judged_tests(report: str | None, ended: int | None, last: str, needs_card: bool) -> Part:
    """The tests as a part, by pytest's report in XML; None where it wrote none."""
    if report is None:
        why = (
            "it did not end in its time" if ended is None else f"pytest ended with {ended}: {last}"
        )
        return Part(name="tests", state="failed", summary=why)
    cases = ElementTree.fromstring(report).iter("testcase")
    names: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": [], "not run": []}
    reasons = dict[str, None]()
    for case in cases:
        ends = {child.tag: child.get("message", "") for child in case}
        kind = "failed" if ends.keys() & {"failure", "error"} else "passed"
        if "skipped" in ends:
            kind = "not run" if time_left.REASON in ends["skipped"] else "skipped"
            reasons |= {ends["skipped"]: None} if kind == "skipped" else {}
        names[kind].append(str(case.get("name")))
    words = [f"{len(tests)} {kind}" for kind, tests in names.items() if tests]
    if names["not run"]:
        words[-1] += " for want of time"
    words += ["stopped when its time was up"] if ended is None else []
    words += [f"skipped: {'; '.join(reasons)}"] if reasons else []
    words += [f"failed: {', '.join(names['failed'])}"] if names["failed"] else []
    stopped = ended is None or bool(names["failed"]) or (needs_card and not names["passed"])
    return Part(
        name="tests",
        state="failed" if stopped or not any(names.values()) else "ok",
        summary=", ".join(words) or f"no test ran: {last}",
        figures=names,
    )


def run(command: Sequence[str], seconds: float, log: Path) -> int | None:
    """Run a command with its output in a file; its exit code, None where its time was up."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt a command and what it has started, which then ends its ranks; kill what stays."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)


def environment() -> dict[str, str]:
    """Environment of all parts: this checkout, and no tracking."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "WANDB_MODE": "disabled"}


def last_line(contact: Contact, part: str) -> str:
    """Last line that a part has printed."""
    lines = tail(contact.folder / f"{part}.txt").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")


# What came of it.


def layouts(plan: Plan, records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row for each layout, whether it ran or not, in the columns of the product's table."""
    by_name = {record.spec.name: record for record in records}
    return [
        layout(number, spec, by_name.get(name), plan.predictions.get(name, Prediction()))
        for number, (name, spec) in enumerate(plan.points.items(), 1)
    ]


def layout(
    number: int, spec: RunSpec, record: RunRecord | None, prediction: Prediction
) -> dict[str, Any]:
    """Row of one layout: predicted before anything had run, measured, measured / predicted."""
    figures = record.figures if record else Figures()
    on_card = figures.memory_kind == "cuda reserved"
    outcome = record.outcome if record else "not run"
    timed = figures.step_ms_p50 if outcome == "ok" else None
    return {
        "row": number,
        "outcome": outcome,
        "backend": spec.backend,
        "zero": spec.layout.zero,
        "micro_batch": spec.layout.micro_batch,
        "recompute": spec.layout.recompute,
        "offload": spec.layout.offload,
        "pred_mem_gib": prediction.memory_gib,
        "mem_max_gib": figures.mem_max_gib,
        # The memory of a process has Python and torch in it, which no prediction of a card has.
        "mem_ratio": ratio(figures.mem_max_gib if on_card else None, prediction.memory_gib),
        "pred_step_ms": prediction.step_ms,
        "step_ms_p50": timed,
        "step_ratio": ratio(timed, prediction.step_ms),
        "tflops_per_gpu": figures.tflops_per_gpu,
        "loss_last": figures.loss_last,
        "cause": record.cause if record else "no time left",
    }


def ratio(value: float | None, prediction: float | None) -> float | None:
    """Measured / predicted."""
    return round(value / prediction, 3) if value and prediction else None


def as_table(rows: Sequence[Mapping[str, Any]], records: Sequence[RunRecord]) -> Any:
    """The rows as the product prints such tables."""
    shown = table.plain(rows)
    kinds = {record.figures.memory_kind for record in records} - {None}
    shown.attrs["titles"] = {}
    shown.attrs["memory"] = "rss_gib" if kinds == {"rss"} else "mem_max_gib"
    return shown


def verdict(parts: Sequence[Part]) -> tuple[int, str]:
    """Exit code, and what it means in words."""
    bad = [f"{part.name} {part.state}: {part.summary}" for part in parts if part.state != "ok"]
    if not bad:
        return 0, f"all {len(parts)} parts ran"
    return 1, f"{len(bad)} of {len(parts)} parts did not run well: {'; '.join(bad)}"


PARTS = {"sweep": (0.5, sweep), "mfu": (0.55, mfu), "tests": (1.0, tests)}
"""Parts in their order, each with its share of the time that is left then."""


if __name__ == "__main__":
    sys.exit(main())
