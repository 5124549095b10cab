"""Print docs/keys.md's tables: every key of a run, from the dataclasses that define them.

python -m tests.benchmarks.keys
"""

import dataclasses
from typing import Any, get_args, get_type_hints

from launcher.cli.json_types import field_texts
from launcher.schedulers.options import Checks, Container, SchedulerOptions
from launcher.spec.batch_ramp import BatchRamp
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.curriculum import Curriculum, Schedule, StagePlan
from launcher.spec.layout import ParallelLayout
from launcher.spec.optimizer import Optimizer
from launcher.spec.run import Data, Train
from launcher.spec.sampling import Sampling
from launcher.spec.shape import ModelShape
from launcher.spec.spike_guard import SpikeGuard
from launcher.spec.tracking import Tracking

GROUPS: dict[str, Any] = {
    "model": ModelShape,
    "layout": ParallelLayout,
    "cluster": Cluster,
    "cluster.accelerator": Accelerator,
    "train": Train,
    "train.optimizer": Optimizer,
    "train.batch_ramp": BatchRamp,
    "train.spike_guard": SpikeGuard,
    "data": Data,
    "curriculum": Curriculum,
    "curriculum.stages.NAME": StagePlan,
    "curriculum.stages.NAME.schedule": Schedule,
    "checkpoints": Checkpointing,
    "sampling": Sampling,
    "tracking": Tracking,
    "scheduler": SchedulerOptions,
    "scheduler.checks": Checks,
    "scheduler.container": Container,
}


def tables() -> str:
    """One Markdown table per group."""
    return "\n\n".join(_table(name, kind) for name, kind in GROUPS.items())


def _table(group: str, kind: Any) -> str:
    head = f"## {group}\n\n| key | default | |\n| --- | --- | --- |\n"
    texts, hints = field_texts(kind), get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if not dataclasses.is_dataclass(hints[f.name])]
    return head + "\n".join(
        f"| `{group}.{f.name}` | {_default(f)} | {_choices(hints[f.name])}{texts.get(f.name, '').replace('|', '/')} |"
        for f in fields
    )


def _choices(kind: Any) -> str:
    inner = [
        choice for arg in get_args(kind) for choice in get_args(arg)
    ]  # of ``Literal[...] | None``
    values = [v for v in (*get_args(kind), *inner) if isinstance(v, str | int)]
    return f"{', '.join(map(str, values))}. " if values else ""


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return str(field.default_factory())
    if field.default is dataclasses.MISSING:
        return "required"
    return "null" if field.default is None else str(field.default).lower()


if __name__ == "__main__":
    print(tables())
