"""Folders of event files, written here by TensorBoard's own writer."""

import sys
from pathlib import Path
from typing import Any

import pytest

from launcher import foreign
from launcher.errors import ReadError
from launcher.results.imported import RunFacts
from tests.launcher.foreign.made import known_fields, source

Scalars = dict[str, dict[int, float]]


def write(folder: Path, scalars: Scalars, texts: dict[str, str] | None = None) -> Path:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))

    def add(value: Any, step: int) -> None:
        event = event_pb2.Event(step=step, wall_time=1000.0 + step)
        event.summary.value.append(value)
        writer.add_event(event)

    for tag, values in scalars.items():
        for step, number in values.items():
            add(summary_pb2.Summary.Value(tag=tag, simple_value=number), step)
    for tag, text in (texts or {}).items():
        tensor = tensor_pb2.TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        value = summary_pb2.Summary.Value(tag=f"{tag}/text_summary", tensor=tensor)
        value.metadata.plugin_data.plugin_name = "text"
        add(value, 0)
    writer.close()
    return folder


def test_megatron(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "lm loss": {1: 8.0, 2: 7.5, 3: 7.0},
            "lm loss vs samples": {64: 8.0, 128: 7.5, 192: 7.0},
            "grad-norm": {1: 2.0, 2: 1.5},
            "learning-rate": {1: 0.5, 2: 0.25, 3: 0.125},
            "iteration-time": {1: 9.0, 2: 2.0, 3: 2.5},
            "batch-size": {1: 64, 2: 64, 3: 64},
            "throughput": {1: 10.0, 2: 40.0, 3: 44.0},
        },
        {
            "train_iters": "4",
            "tensor_model_parallel_size": "2",
            "world_size": "8",
            "seq_length": "1024",
            "bf16": "True",
        },
    )
    (run,) = foreign.read(source(tmp_path))
    assert [known_fields(line) for line in run.lines][1:] == [
        {
            "step": 2,
            "loss": 7.5,
            "grad_norm": 1.5,
            "lr": 0.25,
            "step_ms": 2000.0,
            "tokens": 2 * 64 * 1024,
            "tokens_per_s": 64 * 512.0,
            "stated_tflops_per_gpu": 40.0,
        },
        {
            "step": 3,
            "loss": 7.0,
            "lr": 0.125,
            "step_ms": 2500.0,
            "tokens": 3 * 64 * 1024,
            "tokens_per_s": 64 * 1024 / 2.5,
            "stated_tflops_per_gpu": 44.0,
        },
    ]
    imported = run.imported
    assert (imported.format, imported.outcome, imported.stated_tflops_per_gpu) == (
        "tensorboard",
        "failed",
        44.0,
    )
    assert imported.cause == "the events end at step 3 of 4 without saying why"
    assert imported.known == RunFacts(
        backend="megatron-lm",
        gpus=8,
        dp=4,
        tp=2,
        pp=1,
        vpp=1,
        cp=1,
        ep=1,
        sp=False,
        zero=0,
        global_batch=64,
        recompute="none",
        seq_len=1024,
        precision="bf16",
    )


def test_deepspeed_counts_sequences(tmp_path: Path) -> None:
    write(tmp_path, {"Train/Samples/train_loss": {32: 8.0, 64: 7.0}})
    (run,) = foreign.read(source(tmp_path))
    assert [(line["step"], line["loss"]) for line in run.lines] == [(1, 8.0), (2, 7.0)]


def test_a_run_below_the_folder(tmp_path: Path) -> None:
    write(
        tmp_path / "a",
        {"loss_metrics/global_avg_loss": {5: 3.0}, "memory/max_reserved(GiB)": {5: 40.5}},
    )
    write(tmp_path / "b", {"hparam/metric": {0: 1.0}})
    (run,) = foreign.read(source(tmp_path))
    assert known_fields(run.lines[0]) == {"step": 5, "loss": 3.0, "mem_max_gib": 40.5}
    assert run.imported.known.backend == "torchtitan"
    write(tmp_path / "c", {"loss": {5: 3.0}})
    with pytest.raises(ReadError, match=r"event files of 2 runs; name one: .*/a, .*/c$"):
        foreign.read(source(tmp_path))


def test_no_events(tmp_path: Path) -> None:
    with pytest.raises(
        ReadError, match="no event files, and no log of a known kind; looked for files called"
    ):
        foreign.read(source(tmp_path))


def test_no_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "events.out.tfevents.1").write_text("")
    for name in [name for name in sys.modules if name.startswith("tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ReadError, match=r"needs tensorboard: pip install 'megalaunch\[import\]'"):
        foreign.read(source(tmp_path))
