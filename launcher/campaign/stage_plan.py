"""The stages of a curriculum before anything starts: what each takes, and whether it can be had."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from launcher.backends import BACKENDS
from launcher.campaign import preflight
from launcher.campaign.campaign import Loop
from launcher.campaign.trials import kept
from launcher.data import sizes
from launcher.errors import ConfigError, LayoutError
from launcher.results.record import Planned
from launcher.results.run_folder import RunFolder
from launcher.spec.curriculum import most_samples
from launcher.spec.run import SECONDS_A_DAY, RunSpec
from slurm.node.disk_check import format_bytes

CERTAIN = 0.99
"""Probability of not fitting from which on a stage is refused."""


def rows(loop: Loop) -> Iterator[dict[str, Any]]:
    """One row per stage; what is not known is None."""
    for planned in loop.plan():
        spec = planned.spec
        assert spec.stage
        yield {
            "stage": spec.name,
            "state": _state(loop, spec),
            "tokens": spec.tokens_through(spec.last) - spec.stage.tokens_before,
            "steps": spec.train.steps,
            "until_step": spec.last,
            "sequence": spec.model.sequence,
            "global_batch": _batch(spec),
            "lr_first": spec.rate(spec.first + 1),
            "lr_last": spec.rate(spec.last),
            "layout": _layout(spec),
            "nodes": spec.cluster.nodes,
            "precision": spec.train.precision,
            "epochs": _epochs(loop, spec),
            "pred_mem_gib": planned.prediction.memory_gib,
            "pred_oom_prob": planned.prediction.oom,
            "checkpoint_gib": BACKENDS[spec.backend].checkpoint_bytes(spec) / 2**30,
            "checkpoints": kept(loop.request, spec),
            **_cost(planned),
        }


def check(loop: Loop) -> None:
    """Refuse now what would fail in week three.

    Raises:
        LayoutError: a stage whose layout is impossible, or does not fit in memory.
        ConfigError: a source that would be read more often than max_epochs.
    """
    for name, reason in loop.refused.items():
        said = reason.replace("train.batch_ramp", "batch_ramp")
        raise LayoutError(f"curriculum.stages.{name.split('-', 1)[1]}: {said}")
    for planned in loop.plan():
        spec, expected = planned.spec, planned.prediction
        assert spec.stage
        where = f"curriculum.stages.{spec.stage.name}"
        if spec.cluster.nodes > 1 and loop.request.scheduler.name == "local":
            raise LayoutError(
                f"{where}: nodes {spec.cluster.nodes}, scheduler.name local runs on one"
            )
        there = spec.cluster.accelerator.memory_gib
        if expected.oom is not None and expected.oom >= CERTAIN and not _done(loop, spec):
            raise LayoutError(
                f"{where}: predicted {expected.memory_gib:,.1f} GiB on the fullest card, which has"
                f" {there:g}; another layout, or layout.recompute=full"
            )
        for source, (taken, known, exact) in _reads(loop, spec).items():
            if exact and taken > spec.stage.max_epochs * known:
                raise ConfigError(
                    f"{where}.blend: {source} has {known:,} tokens, and {taken:,} are taken from it"
                    f" by then: {taken / known:.3g} epochs,"
                    f" curriculum.max_epochs is {spec.stage.max_epochs:g}"
                )


def too_little_disk(loop: Loop) -> str | None:
    """That there is no room for the checkpoints of all stages; None where there is."""
    left = [spec for spec in loop.candidates if not _done(loop, spec)]
    needed = sum(
        kept(loop.request, one) * BACKENDS[one.backend].checkpoint_bytes(one) for one in left
    )
    # Those of stages that have begun are part of what is needed.
    needed -= sum(_taken(RunFolder(loop.folder / one.name)) for one in left)
    free = shutil.disk_usage(preflight.first_there(loop.folder)).free
    if needed <= free:
        return None
    return (
        f"output: {loop.folder} has {format_bytes(free)} free, the checkpoints of all stages take"
        f" {format_bytes(needed)} more; fewer with a lower checkpoints.keep_last or a higher"
        " keep_every"
    )


def _taken(run: RunFolder) -> int:
    """Bytes of the checkpoints of a run, which a job that is running may remove meanwhile."""
    taken = 0
    for step in run.checkpoint_steps():
        with suppress(OSError):
            taken += sum(file.stat().st_size for file in run.checkpoint(step).iterdir())
    return taken


def _done(loop: Loop, spec: RunSpec) -> bool:
    return (loop.folder / spec.name / "result.json").exists()


def _state(loop: Loop, spec: RunSpec) -> str:
    run = RunFolder(loop.folder / spec.name)
    if _done(loop, spec):
        return "done"
    newest = run.newest_checkpoint()
    return f"at {newest}" if newest else "to train"


def _reads(loop: Loop, spec: RunSpec) -> dict[str, tuple[int, int, bool]]:
    """Source -> tokens taken up to the end of a stage, tokens there are, whether that is exact."""
    assert spec.stage
    cache, found = preflight.cache_folder(loop.request), {}
    for source, samples in most_samples(spec).items():
        taken = spec.stage.source_tokens[source] + samples * spec.model.sequence
        there, exact = sizes.tokens(spec.data, source, cache)
        found[source] = (taken, int(there * (1 - spec.data.held_out)), exact)
    return found


def _epochs(loop: Loop, spec: RunSpec) -> str:
    """Passes over each source by the end of a stage; ~ where its tokens are estimated."""
    reads = _reads(loop, spec)
    names = _short_names(list(reads))
    return ", ".join(
        f"{names[source]} {'' if exact else '~'}{taken / max(there, 1):.2g}"
        for source, (taken, there, exact) in reads.items()
    )


def _short_names(sources: Sequence[str]) -> dict[str, str]:
    """The last part of each path, where that tells them apart."""
    last = {source: source.rsplit("/", 1)[-1] for source in sources}
    return last if len(set(last.values())) == len(last) else {source: source for source in sources}


def _batch(spec: RunSpec) -> str:
    ramp = spec.train.batch_ramp
    return f"{ramp.start}..{spec.train.global_batch}" if ramp else str(spec.train.global_batch)


def _layout(spec: RunSpec) -> str:
    layout = spec.layout
    sizes_of = [("tp", layout.tp), ("pp", layout.pp), ("vpp", layout.vpp), ("cp", layout.cp),
                ("ep", layout.ep)]  # fmt: skip
    split = " ".join(f"{name}{value}" for name, value in sizes_of if value > 1)
    return f"{spec.backend} {split} dp{spec.dp} zero{layout.zero}".replace("  ", " ")


def _cost(planned: Planned) -> dict[str, float | None]:
    """By the predicted step time."""
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
