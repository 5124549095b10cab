"""Folders of runs that nobody had to train, for tests and benchmarks of the report."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.results import record, samples
from launcher.results.record import Prediction, RunRecord
from launcher.results.run_folder import RunFolder, Status
from launcher.results.samples import Answer, Sampled, Validation
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import Data, RunSpec, Stage, Train
from tests.conftest import shape

START = 1_795_000_000.0
"""When everything here began."""

HOSTILE = "</script><b>\"quoted\" & 'odd'</b> \x1b[31m \udcff ${title} = $body"
"""A text that would end a script, an attribute, a template, and that is no text of Unicode."""

CLUSTER = Cluster(
    name="made", nodes=2, gpus_per_node=8,
    accelerator=Accelerator(name="H100", memory_gib=79.6, bf16_tflops=989.0),
)  # fmt: skip


def specs() -> Iterator[RunSpec]:
    """2,016 of them."""
    axes = itertools.product(
        (1, 2, 4, 8),
        (1, 2, 4),
        (1, 2, 4, 8),
        (0, 1),
        ("none", "selective", "full"),
        (16, 32, 64, 128, 256, 512, 1024),
    )
    for tp, pp, micro, zero, recompute, batch in axes:
        layout = ParallelLayout(tp=tp, pp=pp, micro_batch=micro, zero=zero, recompute=recompute)  # type: ignore[arg-type]
        yield spec(layout, Train(global_batch=batch, steps=20))


def spec(layout: ParallelLayout, train: Train, stage: Stage | None = None) -> RunSpec:
    """A run on two nodes of cards."""
    return RunSpec(
        model=shape(name="made-7b"),
        layout=layout,
        cluster=CLUSTER,
        train=train,
        backend="megatron",
        data=Data(blend={"bundled/prose": 1.0}, tokenizer="bytes"),
        stage=stage,
    )


def sweep(
    place: Path, count: int, cause: str = "CUDA out of memory. Tried to allocate 2 GiB"
) -> Path:
    """A folder of ``count`` points: most ran well, some ran out of memory, some were rejected."""
    place.mkdir(parents=True)
    chance, records, names = random.Random(1), [], []
    for number, point in enumerate(itertools.islice(specs(), count), 1):
        names.append(point.name)
        if number % 10 == 3:
            text = f"tp {point.layout.tp} x pp {point.layout.pp} does not divide {number} layers"
            records.append(RunRecord(spec=point, outcome="rejected", cause=text, row=number))
            continue
        error = f"torch.OutOfMemoryError: {cause}" if number % 7 == 5 else None
        _trial(RunFolder(place / point.name), point, chance, error)
    record.write(place / "records.jsonl", records)
    (place / "points.json").write_text(json.dumps(names))
    return place


def _trial(folder: RunFolder, point: RunSpec, chance: random.Random, error: str | None) -> None:
    layout = point.layout
    step_ms = 40 * point.train.global_batch**0.9 * (1 + 0.1 * math.log2(layout.tp * layout.pp))
    memory = 12 * layout.micro_batch / layout.tp + 30 / layout.pp
    record_prediction = Prediction(memory_gib=memory, oom=0.1, step_ms=step_ms)
    folder.create(point)
    record.write_prediction(folder, record_prediction)
    lines = [_line(point, step, step_ms * chance.gauss(1, 0.05), memory) for step in range(1, 21)]
    steps(folder, lines[:3] if error else lines)
    ended = Status(
        state="ended",
        started=START,
        ended=START + 60,
        host="node-1",
        commit="0123abc",
        exit_codes=(1 if error else 0,) * point.cluster.gpus,
    )
    folder.write_status(ended)
    if error:
        folder.log(0).write_text(error, errors="surrogateescape")
    else:
        folder.write_result({"steps": 20, "memory_kind": "cuda reserved"})


def _line(point: RunSpec, step: int, step_ms: float, memory: float) -> dict[str, Any]:
    number = point.first + step
    return {
        "step": number,
        "tokens": point.tokens_through(number),
        "attempt": 1,
        "loss": 3
        + 8 * math.exp(-number / 50)
        + 1e-4 * math.sin(37 * number)
        + point.layout.micro_batch * 1e-7,
        "grad_norm": 1 + 1 / step,
        "lr": 1e-4,
        "step_ms": step_ms,
        "tokens_per_s": point.tokens_per_step / step_ms * 1000,
        "mem_min_gib": memory * 0.9,
        "mem_max_gib": memory,
    }


def steps(folder: RunFolder, lines: Sequence[dict[str, Any]]) -> None:
    """Write the metrics of a run."""
    folder.metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def curriculum(place: Path) -> Path:
    """Three stages: one that lost a node, one that spiked and rolled back, one that runs."""
    place.mkdir(parents=True)
    names = ("web", "english", "synthetic")
    runs = [_stage(place, number, name) for number, name in enumerate(names, 1)]
    (place / "points.json").write_text(json.dumps([run.path.name for run in runs]))
    _lost_a_node(runs[0])
    _spiked(runs[1])
    _sampled(runs[1])
    runs[2].write_status(_status(3, 1, None))
    return place


def _stage(place: Path, number: int, name: str) -> RunFolder:
    steps_before = (number - 1) * 100
    stage = Stage(
        number=number,
        name=name,
        steps_before=steps_before,
        tokens_before=steps_before * 512,
        parent=None,
        schedule_after=0,
        schedule_steps=300,
        samples_before={},
        source_tokens={},
        max_epochs=4,
    )
    point = spec(ParallelLayout(tp=2), Train(global_batch=16, steps=100), stage)
    folder = RunFolder(place / point.name)
    folder.create(point)
    count = 40 if number == 3 else 100
    steps(folder, [_line(point, step, 500.0, 40.0) for step in range(1, count + 1)])
    if number < 3:
        folder.write_result({"steps": 100, "memory_kind": "cuda reserved"})
    folder.write_status(_status(number, 1, 0))
    return folder


def _status(stage: int, attempt: int, code: int | None) -> Status:
    began = START + 3600 * stage + 300 * attempt
    return Status(
        state="running" if code is None else "ended",
        attempt=attempt,
        started=began,
        ended=None if code is None else began + 240,
        host="node-1",
        nodes=("node-1", "node-2"),
        exit_codes=() if code is None else (code,) * 16,
        commit="0123abc",
        code="feed",
    )


def _lost_a_node(folder: RunFolder) -> None:
    aside = folder.path / "attempts" / "1"
    aside.mkdir(parents=True)
    lost = RunFolder(aside)
    fields = {"stopped": "node", "reason": HOSTILE.replace("\udcff", "")}
    first = _status(1, 1, 1)
    lost.write_status(type(first)(**{n: getattr(first, n) for n in first.__slots__} | fields))
    folder.write_status(_status(1, 2, 0))
    event(folder, "start", 41, START + 3900, attempt=2)


def _spiked(folder: RunFolder) -> None:
    time = START + 2 * 3600 + 400
    event(folder, "start", 101, time - 90, attempt=1)
    event(folder, "loss_spike", 150, time, of="loss", value=9.5, baseline=3.4, size=6.1, start=150)
    event(
        folder,
        "divergence",
        158,
        time + 5,
        of="loss",
        value=None,
        baseline=3.4,
        size=None,
        start=150,
    )
    event(folder, "rollback", 158, time + 6, to=140, reason="loss", steps_lost=18, tokens_lost=9216)
    event(folder, "save_failed", 170, time + 30, reason="No space left on device")
    event(folder, "skip", 180, time + 40, reason="norm 1e9")


def event(folder: RunFolder, kind: str, step: int, when: float, **figures: Any) -> None:
    """Write that something happened."""
    with folder.event_log.open("a") as file:
        file.write(json.dumps({"kind": kind, "step": step, "time": when} | figures) + "\n")


def _sampled(folder: RunFolder) -> None:
    folder.samples.mkdir()
    answers = (
        Answer(prompt="Once", text=" upon a time", tokens=4, flags=()),
        Answer(prompt="def", text=f" loop loop loop {HOSTILE[:30]}", tokens=9, flags=("loop",)),
    )
    sampled = Sampled(
        step=200,
        spec=folder.spec().id,
        seconds=3.0,
        prompts=answers,
        validation={"bundled/prose": Validation(loss=3.25, tokens=1000)},
    )
    samples.write(sampled, folder.sample_file(200))
