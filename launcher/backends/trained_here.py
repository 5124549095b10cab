"""What every engine that trains in ``launcher.workers`` shares: its command and its record."""

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from launcher.checkpointing import Checkpointing
from launcher.decode import encode
from launcher.errors import ReadError
from launcher.folder import RunFolder, Status
from launcher.outcome import Verdict, classify, tail
from launcher.record import Figures, RunRecord, read_prediction
from launcher.sampling import Sampling
from launcher.spec import RunSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Conduct:
    """How a run is gone about; nothing here changes what it computes."""

    cache: Path
    """Folder of tokenised data."""
    hang_after: float
    """Seconds without a finished step after which a rank counts as hung."""
    checkpoint_every: int | None = None
    """Optimizer steps from one checkpoint to the next; None for a run that makes none."""
    checkpoints: Checkpointing = field(default_factory=Checkpointing)
    start: Path | None = None
    """Folder of the run that this one goes on from."""
    prepare: tuple[Path, ...] = ()
    """Folders of runs to come, whose data is looked at now."""
    sampling: Sampling | None = None
    """What is tried with each checkpoint; None is nothing."""
    python: str = sys.executable
    """The interpreter, as the machines that train know it."""


class TrainedHere:
    """The command and the record of an engine; a subclass says what the framework refuses."""

    packages: tuple[str, ...] = ()

    def command(self, folder: Path, conduct: Conduct) -> tuple[str, ...]:
        """One rank: it reads ``spec.json`` of the folder, and its rank from the environment."""
        words = [conduct.python, "-P", "-m", "launcher.workers.train"]
        words += ["--folder", str(folder), "--cache", str(conduct.cache)]
        words += ["--hang-after", str(conduct.hang_after)]
        if conduct.checkpoint_every is not None:
            words += ["--checkpoint-every", str(conduct.checkpoint_every)]
            words += ["--checkpoints", json.dumps(encode(conduct.checkpoints))]
        if conduct.start is not None:
            words += ["--start", str(conduct.start)]
        if conduct.prepare:
            words += ["--prepare", *map(str, conduct.prepare)]
        if conduct.sampling is not None:
            words += ["--sampling", json.dumps(encode(conduct.sampling))]
        return tuple(words)

    def checkpoint_bytes(self, spec: RunSpec) -> int:
        """Of its tensors, over all ranks: an fp32 weight and two moments, each written once."""
        return 12 * spec.model.params

    def record(self, spec: RunSpec, path: Path) -> RunRecord:
        """Read a run's folder. What cannot be read makes a failed record that says so."""
        folder = RunFolder(path)
        try:
            status, steps, result = folder.status(), folder.steps(), folder.result()
            events = folder.events()
        except ReadError as error:
            return RunRecord(spec=spec, outcome="failed", cause=str(error))
        tails = [tail(folder.log(rank)) for rank in range(spec.cluster.gpus)]
        around = tail(folder.logs / "srun.txt")
        verdict = classify(status, tails, result is not None, around)
        outcome, cause = verdict.outcome, verdict.cause
        figures = measured(spec, steps, result or {}, events)
        if figures.mfu_pct is not None and figures.mfu_pct > 100:
            outcome, cause = "failed", _impossible(spec, figures.mfu_pct)
            figures = Figures(steps=figures.steps)
        return RunRecord(
            spec=spec,
            outcome=outcome,
            cause=cause,
            figures=figures,
            prediction=read_prediction(folder),
            attempt=status.attempt if status else None,
            seconds=_seconds(status),
            ended=status.ended if status else None,
            commit=status.commit if status else None,
            code=status.code if status else None,
            job_id=status.job_id if status else None,
            hosts=status.nodes if status else (),
            bad_hosts=_to_blame(status, verdict, spec) if status else (),
        )


def _to_blame(status: Status, verdict: Verdict, spec: RunSpec) -> tuple[str, ...]:
    """The nodes a failure points at: none where it is not one of a node, or any could be it."""
    if status.bad_nodes or verdict.outcome not in ("node", "nccl"):
        return status.bad_nodes
    if len(status.nodes) == 1:
        return status.nodes
    per_node = spec.cluster.gpus_per_node
    if verdict.outcome == "nccl":  # healthy ranks say so: to blame is a node that says nothing
        codes = [status.exit_codes[i : i + per_node] for i in range(0, spec.cluster.gpus, per_node)]
        mute = [
            node for node, of in zip(status.nodes, codes, strict=False) if not any(map(_said, of))
        ]
        return tuple(mute) if len(mute) < len(status.nodes) else ()
    index = None if verdict.rank is None else verdict.rank // per_node
    return status.nodes[index : index + 1] if index is not None else ()


def _said(code: int | None) -> bool:
    """Whether a rank ended by itself."""
    return code is not None and code >= 0


def measured(
    spec: RunSpec,
    steps: list[dict[str, Any]],
    result: dict[str, Any],
    events: list[dict[str, Any]],
) -> Figures:
    """The figures of a run's metrics lines; speed leaves the untimed first steps out."""
    timed = _timed(spec, steps)
    p50 = median(timed) if timed else None
    speed = spec.tokens_per_step / p50 * 1000 if p50 else None
    peak = spec.cluster.accelerator.peak_tflops(spec.train.precision)
    model = spec.model
    return Figures(
        steps=steps[-1]["step"] - spec.first if steps else None,
        tokens_per_s=speed,
        step_ms_p50=p50,
        step_ms_p95=_p95(timed),
        tflops_per_gpu=_tflops(speed, model.flops_per_token, spec),
        mfu_pct=_share(_tflops(speed, model.flops_per_token, spec), peak),
        hfu_pct=_share(
            _tflops(speed, model.hardware_flops_per_token(spec.layout.recompute), spec), peak
        ),
        mem_min_gib=_of(max, steps, "mem_min_gib"),
        mem_max_gib=_of(max, steps, "mem_max_gib"),
        memory_kind=result.get("memory_kind"),
        power_min_w=_of(_mean, steps, "power_min_w"),
        power_max_w=_of(_mean, steps, "power_max_w"),
        loss_first=steps[0]["loss"] if steps else None,
        loss_last=steps[-1]["loss"] if steps else None,
        grad_norm_max=_of(max, steps, "grad_norm"),
        **_guarded(spec, events),
    )


def _timed(spec: RunSpec, steps: list[dict[str, Any]]) -> list[float]:
    """Milliseconds of the steps that tell the speed: of the last attempt, at the whole batch.

    An earlier one may have had another layout.
    """
    whole = [s for s in steps if spec.batch_at(s["step"]) == spec.train.global_batch]
    last = [s for s in whole if s.get("attempt") == steps[-1].get("attempt")]
    for some in (last, whole):
        timed = [s["step_ms"] for s in some[spec.train.untimed_steps :] if s["step_ms"]]
        if timed:
            return timed
    return []


SPIKES = {"loss_spike", "norm_spike", "nan", "inf", "creep"}
"""Kinds of events with which something begins."""


def _guarded(spec: RunSpec, events: list[dict[str, Any]]) -> dict[str, int]:
    if spec.train.spike_guard is None:
        return {}
    # What a resumed run trains once more happens once more.
    once = {(event["kind"], event.get("of"), event["step"]) for event in events}
    kinds = Counter(kind for kind, *_ in once)
    spikes = sum(kinds[kind] for kind in SPIKES)
    return {"spikes": spikes, "skipped": kinds["skip"], "rollbacks": kinds["rollback"]}


def _tflops(tokens_per_s: float | None, flops_per_token: int, spec: RunSpec) -> float | None:
    return tokens_per_s * flops_per_token / spec.cluster.gpus / 1e12 if tokens_per_s else None


def _share(tflops: float | None, peak: float | None) -> float | None:
    return 100 * tflops / peak if tflops is not None and peak is not None else None


def _impossible(spec: RunSpec, mfu: float) -> str:
    accelerator = spec.cluster.accelerator
    peak = accelerator.peak_tflops(spec.train.precision)
    return (
        f"MFU {mfu:.0f} % is impossible: cluster.accelerator {accelerator.name} has a peak of"
        f" {peak:g} TFLOPs in {spec.train.precision}, which is not what this ran on"
    )


def _p95(values: list[float]) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=20, method="inclusive")[-1]


def _of(summary: Any, steps: list[dict[str, Any]], key: str) -> float | None:
    values = [step[key] for step in steps if step.get(key) is not None]
    return float(summary(values)) if values else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _seconds(status: Status | None) -> float | None:
    if status is None or status.started is None or status.ended is None:
        return None
    return status.ended - status.started
