"""A folder of TensorBoard's event files: scalars by step, arguments from their texts.

Names of scalars: ``training_log`` of Megatron-LM and Megatron-DeepSpeed, ``MetricsProcessor`` of
torchtitan, NeMo's ``ModelPT.log``, the Hugging Face Trainer, DeepSpeed's ``MonitorMaster``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from launcher.errors import ReadError
from launcher.foreign.logs.context import LogContext
from launcher.foreign.logs.lines import whole_number
from launcher.foreign.logs.read import source_run
from launcher.foreign.logs.reader import LoggedStep, LogReader
from launcher.foreign.source import EVENTS, Source, SourceRun
from launcher.results.endings.classify import EndVerdict

TAGS: dict[str, tuple[str, ...]] = {
    "loss": ("lm loss", "lm-loss-training/lm loss", "loss_metrics/global_avg_loss",
             "reduced_train_loss", "train/loss", "train_loss", "loss", "Train/Samples/train_loss"),
    "grad_norm": ("grad-norm", "grad-norm/grad-norm", "grad_norm", "train/grad_norm"),
    "lr": ("learning-rate", "learning-rate/learning-rate", "lr", "train/learning_rate",
           "Train/Samples/lr"),
    "seconds": ("iteration-time", "iteration-time/iteration-time", "train_step_timing in s",
                "time_metrics/end_to_end(s)"),
    "batch": ("batch-size", "batch-size/batch-size", "global_batch_size"),
    "samples": ("consumed_samples",),
    "tflops": ("throughput", "tflops", "TFLOPS_per_GPU", "throughput/tflops/device"),
    "tokens_per_s_per_gpu": ("throughput(tps)", "tokens_per_sec_per_gpu"),
    "memory_gib": ("memory/max_reserved(GiB)",),
    "memory_bytes": ("mem-reserved-bytes", "max_memory_reserved"),
}  # fmt: skip
"""Field -> what writers call it, the first one that is there counts."""

BY_SAMPLES = "Train/Samples/"
"""DeepSpeed counts sequences in place of steps."""

FIRST_SIGN = {"loss_metrics/global_avg_loss": "torchtitan", "reduced_train_loss": "nemo",
              "lm loss": "megatron-lm", "lm-loss-training/lm loss": "megatron-deepspeed",
              "Train/Samples/train_loss": "deepspeed"}  # fmt: skip

StepValues = dict[int, float]
"""Step -> value of a scalar."""


@dataclass(kw_only=True)
class Events(LogReader):
    """Scalars and texts of the event files of one folder."""

    name: ClassVar[str] = "tensorboard"
    looks_like: ClassVar[str] = "files called events.out.tfevents..."

    scalars: dict[str, StepValues] = field(default_factory=dict)
    context: LogContext = field(default_factory=LogContext)

    @property
    def backend(self) -> str | None:
        """Program that wrote them, by the names of its scalars."""
        return next((name for tag, name in FIRST_SIGN.items() if tag in self.scalars), None)

    def take(self, event: Any) -> None:
        """Keep the scalars and texts of an event; a later one of the same step counts."""
        for value in event.summary.value:
            if value.tag.endswith("/text_summary"):
                text = value.tensor.string_val
                self.arguments[value.tag.removesuffix("/text_summary")] = (
                    text[0].decode(errors="replace") if text else ""
                )
            elif (scalar := _scalar(value)) is not None:
                self.scalars.setdefault(value.tag, {})[event.step] = scalar
                time = event.wall_time
                self.context.began = min(time, self.context.began or time)
                self.context.ended = max(time, self.context.ended or time)

    def gather(self) -> None:
        """Make steps of the scalars."""
        series = {name: self._series(tags) for name, tags in TAGS.items()}
        logged = series["loss"] or series["seconds"] or series["tokens_per_s_per_gpu"]
        for number in sorted(logged):
            values = {name: by_step.get(number) for name, by_step in series.items()}
            seconds, memory_bytes = values.pop("seconds"), values.pop("memory_bytes")
            if values["memory_gib"] is None and memory_bytes is not None:
                values["memory_gib"] = memory_bytes / 2**30
            ms = None if seconds is None else 1000 * seconds
            self.add(LoggedStep(step=number, step_ms=ms, **values))  # type: ignore[arg-type]
        self.total = whole_number(self.arguments.get("train_iters"))

    def _series(self, tags: tuple[str, ...]) -> StepValues:
        tag = next((tag for tag in tags if self.scalars.get(tag)), None)
        if tag is None:
            return {}
        values = self.scalars[tag]
        if not tag.startswith(BY_SAMPLES):
            return values
        batch = min(values) or 1
        return {samples // batch: value for samples, value in values.items()}


def read(source: Source) -> list[SourceRun]:
    """The run whose events a folder or a file holds.

    Raises:
        ReadError: there are none, those of several runs, or no tensorboard to read them.
    """
    files = sorted(source.path.rglob(EVENTS)) if source.path.is_dir() else [source.path]
    if not files:
        raise ReadError(
            f"{source.path}: no event files, and no log of a known kind; looked for"
            f" {Events.looks_like}"
        )
    folders: dict[Path, Events] = {}
    for file in files:
        events = folders.setdefault(file.parent, Events())
        for event in _events(file):
            events.take(event)
    for events in folders.values():
        events.gather()
    full = {folder: events for folder, events in folders.items() if events.steps}
    if not full:
        raise ReadError(f"{source.path}: its event files have no loss and no step time")
    if len(full) > 1:
        examples = ", ".join(str(folder) for folder in list(full)[:3])
        raise ReadError(f"{source.path}: event files of {len(full)} runs; name one: {examples}")
    (log,) = full.values()
    return [source_run(source, log, log.context, _verdict(log))]


def _verdict(log: Events) -> EndVerdict:
    if log.done:
        return EndVerdict("ok")
    total = "" if log.total is None else f" of {log.total}"
    return EndVerdict("failed", f"the events end at step {log.last}{total} without saying why")


def _events(file: Path) -> Iterator[Any]:
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    except ImportError as error:
        raise ReadError(
            f"{file}: to read event files needs tensorboard: pip install 'megalaunch[import]'"
        ) from error
    return iter(EventFileLoader(str(file)).Load())


def _scalar(value: Any) -> float | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    tensor = value.tensor
    kinds = (tensor.float_val, tensor.double_val, tensor.int_val, tensor.int64_val)
    numbers = next((kind for kind in kinds if len(kind) == 1), None)
    return None if numbers is None else float(numbers[0])
