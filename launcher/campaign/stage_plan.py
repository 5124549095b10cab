"""Stages of a curriculum before anything starts: their costs, and checks of these."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from launcher.backends import BACKENDS
from launcher.campaign import workspace
from launcher.campaign.plan import Plan
from launcher.campaign.trials import checkpoints_on_disk
from launcher.data import sizes
from launcher.errors import ConfigError, LayoutError
from launcher.files import format_bytes
from launcher.results.record import Planned
from launcher.results.run_folder import RunFolder
from launcher.spec.curriculum import most_samples
from launcher.spec.layout import layout_label
from launcher.spec.run import SECONDS_A_DAY, RunSpec

CERTAIN = 0.99
"""Probability of not fitting from which on a stage is refused."""


def rows(plan: Plan, planned: Sequence[Planned]) -> Iterator[dict[str, Any]]:
    """Yield one row per stage; what is not known is None."""
    for stage in planned:
        spec = stage.spec
        assert spec.stage
        yield {
            "stage": spec.name,
            "state": _state(plan.folder.run(spec.name)),
            "tokens": spec.tokens_through(spec.last) - spec.stage.tokens_before,
            "steps": spec.train.steps,
            "until_step": spec.last,
            "sequence": spec.model.sequence,
            "global_batch": spec.train.global_batch,
            "batch_start": spec.train.batch_ramp.start if spec.train.batch_ramp else None,
            "lr_first": spec.rate(spec.first + 1),
            "lr_last": spec.rate(spec.last),
            "layout": _layout(spec),
            "nodes": spec.cluster.nodes,
            "precision": spec.train.precision,
            "epochs": _epochs(plan, spec),
            "pred_mem_gib": stage.prediction.memory_gib,
            "pred_oom_prob": stage.prediction.oom,
            "checkpoint_gib": BACKENDS[spec.backend].checkpoint_bytes(spec) / 2**30,
            "checkpoints": checkpoints_on_disk(plan.request, spec),
            **_cost(stage),
        }


def readable(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table for people, where a batch that grows is ``8..64``."""
    return [
        {
            **row,
            "global_batch": _batch(row["batch_start"], row["global_batch"]),
            "batch_start": None,
        }
        for row in rows
    ]


def _batch(start: int | None, global_batch: int) -> str:
    return f"{start}..{global_batch}" if start else str(global_batch)


def check(plan: Plan, planned: Sequence[Planned]) -> None:
    """Refuse now what would fail in week three.

    Raises:
        LayoutError: a stage whose layout is impossible, or does not fit in memory.
        ConfigError: a source that would be read more often than max_epochs.
    """
    for name, reason in plan.refusals.items():
        reason = reason.replace("train.batch_ramp", "batch_ramp")
        raise LayoutError(f"curriculum.stages.{name.split('-', 1)[1]}: {reason}")
    for stage in planned:
        _check_layout(plan, stage)
        _check_epochs(plan, stage.spec)


def _check_layout(plan: Plan, planned: Planned) -> None:
    spec, prediction = planned.spec, planned.prediction
    assert spec.stage
    key = f"curriculum.stages.{spec.stage.name}"
    if spec.cluster.nodes > 1 and not plan.request.scheduler_class.several_nodes:
        scheduler = plan.request.scheduler.name
        raise LayoutError(
            f"{key}: nodes {spec.cluster.nodes}, scheduler.name {scheduler} runs on one"
        )
    if prediction.oom is not None and prediction.oom >= CERTAIN and not plan.is_done(spec):
        raise LayoutError(
            f"{key}: predicted {prediction.memory_gib:,.1f} GiB on the fullest card, which has"
            f" {spec.cluster.accelerator.memory_gib:g}; another layout, or layout.recompute=full"
        )


def _check_epochs(plan: Plan, spec: RunSpec) -> None:
    assert spec.stage
    for source, reading in _readings(plan, spec).items():
        if reading.exact and reading.consumed > spec.stage.max_epochs * reading.available:
            raise ConfigError(
                f"curriculum.stages.{spec.stage.name}.blend: {source} has"
                f" {reading.available:,} tokens, and {reading.consumed:,} are taken from it"
                f" by then: {reading.consumed / reading.available:.3g} epochs,"
                f" curriculum.max_epochs is {spec.stage.max_epochs:g}"
            )


def too_little_disk(plan: Plan) -> str | None:
    """Message that the checkpoints of all stages do not fit on the disk; None if they do."""
    stages = [spec for spec in plan.candidates if not plan.is_done(spec)]
    needed = sum(
        checkpoints_on_disk(plan.request, spec) * BACKENDS[spec.backend].checkpoint_bytes(spec)
        for spec in stages
    )
    # Checkpoints of stages that have begun are part of the need, and on the disk already.
    needed -= sum(_checkpoint_bytes(plan.folder.run(spec.name)) for spec in stages)
    free = shutil.disk_usage(workspace.nearest_existing(plan.folder.path)).free
    if needed <= free:
        return None
    return (
        f"output: {plan.folder.path} has {format_bytes(free)} free, the checkpoints of all stages"
        f" take {format_bytes(needed)} more; fewer with a lower checkpoints.keep_last or a higher"
        " keep_every"
    )


def _checkpoint_bytes(run: RunFolder) -> int:
    """Bytes of the checkpoints of a run, which a job that is running may remove meanwhile."""
    total = 0
    for step in run.checkpoint_steps():
        with suppress(OSError):
            total += sum(file.stat().st_size for file in run.checkpoint(step).iterdir())
    return total


def _state(run: RunFolder) -> str:
    if run.is_done:
        return "done"
    newest = run.newest_checkpoint()
    return f"at {newest}" if newest else "to train"


@dataclass(frozen=True, slots=True)
class _Reading:
    """Tokens of one source, up to the end of a stage."""

    consumed: int
    available: int
    exact: bool
    """True where tokens have been counted; else an estimate by the size of the text."""


def _readings(plan: Plan, spec: RunSpec) -> dict[str, _Reading]:
    """Count the tokens of each source of a stage's blend: consumed and available."""
    assert spec.stage
    cache, readings = workspace.cache_folder(plan.request), {}
    for source, samples in most_samples(spec).items():
        tokens, exact = sizes.tokens(spec.data, source, cache)
        readings[source] = _Reading(
            consumed=spec.stage.source_tokens[source] + samples * spec.model.sequence,
            available=int(tokens * (1 - spec.data.held_out)),
            exact=exact,
        )
    return readings


def _epochs(plan: Plan, spec: RunSpec) -> str:
    """Passes over each source by the end of a stage; ~ where its tokens are estimated."""
    readings = _readings(plan, spec)
    names = _short_names(list(readings))
    return ", ".join(
        f"{names[source]} {'' if reading.exact else '~'}"
        f"{reading.consumed / max(reading.available, 1):.2g}"
        for source, reading in readings.items()
    )


def _short_names(sources: Sequence[str]) -> dict[str, str]:
    """Shorten each path to its last part, where that tells them apart."""
    names = {source: source.rsplit("/", 1)[-1] for source in sources}
    distinct = len(set(names.values())) == len(names)
    return names if distinct else {source: source for source in sources}


def _layout(spec: RunSpec) -> str:
    label = layout_label(spec.layout.degrees, f"dp{spec.dp}", f"zero{spec.layout.zero}")
    return f"{spec.backend} {label}"


def _cost(planned: Planned) -> dict[str, float | None]:
    """Compute days, GPU hours and price by the predicted step time."""
    step, price = planned.prediction.step_ms, planned.price_per_gpu_hour
    if step is None:
        return {"days": None, "gpu_hours": None, "price": None}
    seconds = planned.spec.train.steps * step / 1e3
    hours = seconds / 3600 * planned.spec.cluster.gpus
    return {
        "days": seconds / SECONDS_A_DAY,
        "gpu_hours": hours,
        "price": None if price is None else hours * price,
    }
