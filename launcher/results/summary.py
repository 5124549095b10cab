"""Summary of a run's folder once it has ended: one record, whatever engine trained."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median, quantiles, stdev
from typing import Any, TypedDict, get_args

from launcher.errors import ReadError
from launcher.results import metrics
from launcher.results.endings import collectives
from launcher.results.endings.classify import EndVerdict, classify, tail
from launcher.results.endings.collectives import Missing
from launcher.results.metrics import Brief
from launcher.results.outcomes import NEXT_STEP
from launcher.results.record import Figures, MemoryKind, Prediction, RunRecord, read_prediction
from launcher.results.run_folder import METRICS, RunFolder, Status
from launcher.spec.run import RunSpec


def record_of(spec: RunSpec, folder: RunFolder) -> RunRecord:
    """Read a run's folder as the record of a spec.

    A file that cannot be read makes a failed record with that cause; damaged lines of metrics are
    left out, with a remark.
    """
    try:
        status, result, events = folder.status(), folder.result(), folder.events()
        steps = metrics.read(folder.metrics, Brief)
    except ReadError as error:
        return RunRecord(spec=spec, outcome="failed", cause=str(error))
    verdict = _verdict(folder, status, spec.cluster.gpus, has_result=result is not None)
    outcome, cause = verdict.outcome, verdict.cause
    absent = (
        collectives.missing(collectives.read(folder, spec.cluster.gpus))
        if outcome == "hang"
        else None
    )
    if absent:
        cause = f"{cause}; {absent}"
    prediction = read_prediction(folder)
    figures = measured(spec, steps.lines, result or {}, events, prediction)
    if figures.mfu_pct is not None and figures.mfu_pct > 100:
        outcome, cause = "failed", _impossible(spec, figures.mfu_pct)
        figures = Figures(steps=figures.steps)
    return RunRecord(
        spec=spec,
        outcome=outcome,
        cause=cause,
        remark=steps.damage or _missing_end(steps.lines, result, spec),
        figures=figures,
        prediction=prediction,
        attempt=status.attempt if status else None,
        seconds=_seconds(status),
        ended=status.ended if status else None,
        commit=status.commit if status else None,
        code=status.code if status else None,
        optimizer=(result or {}).get("optimizer"),
        expert_product=(result or {}).get("expert_product"),
        job_id=status.job_id if status else None,
        hosts=status.nodes if status else (),
        bad_hosts=blamed_nodes(status, verdict, spec, absent) if status else (),
    )


def started_spec(folder: RunFolder, default: RunSpec) -> RunSpec:
    """Read the spec a run was started with; that of a stage may have had another layout.

    Raises:
        ReadError: somebody has changed that of a point since. A stage is known by its name.
    """
    try:
        started = folder.spec()
    except ReadError:
        return default
    if started.name != default.name:
        raise ReadError(
            f"{folder.spec_file}: is no longer the spec of {default.name}, but of {started.name}:"
            " a changed run is another one, in a folder of its own"
        )
    return started


def _missing_end(
    steps: Sequence[Brief], result: dict[str, Any] | None, spec: RunSpec
) -> str | None:
    """Remark on metrics that end before the run did, as in half a copy; else None."""
    if result is None or (steps and steps[-1].step >= spec.last):
        return None
    if not steps:
        return f"{METRICS} has no steps"
    return f"{METRICS} ends at step {steps[-1].step} of {spec.last}"


def _verdict(folder: RunFolder, status: Status | None, ranks: int, has_result: bool) -> EndVerdict:
    if has_result and not (status and any(status.exit_codes)):  # there may be a thousand logs
        return classify(status, (), has_result)
    tails = [tail(folder.log(rank)) for rank in range(ranks)]
    return classify(status, tails, has_result, tail(folder.srun_log))


def blamed_nodes(
    status: Status, verdict: EndVerdict, spec: RunSpec, absent: Missing | None = None
) -> tuple[str, ...]:
    """Nodes that a failure points at.

    ===================  ==========================================================
    failed check         the nodes that the check found unfit
    node, nccl, 1 node   that node
    nccl                 the silent nodes, unless all are: any of them may have failed
    elsewhere            (node and what else is to run elsewhere) the node of the rank that shows it
    hang                 the node of the ranks that are waited for, where it is one of several and
                         they all wrote what they had come to
    anything else        none
    ===================  ==========================================================
    """
    ranks_per_node = spec.cluster.gpus_per_node
    if absent and not absent.silent and len(status.nodes) > 1 and not status.bad_nodes:
        nodes = {_node_of_rank(status, rank, ranks_per_node) for rank in absent.ranks}
        return nodes.pop() if len(nodes) == 1 else ()
    if status.bad_nodes or NEXT_STEP[verdict.outcome] != "elsewhere":
        return status.bad_nodes
    if len(status.nodes) == 1:
        return status.nodes
    if verdict.outcome == "nccl":
        silent = _silent_nodes(status, ranks_per_node)
        return silent if len(silent) < len(status.nodes) else ()
    return _node_of_rank(status, verdict.rank, ranks_per_node)


def _node_of_rank(status: Status, rank: int | None, ranks_per_node: int) -> tuple[str, ...]:
    if rank is None:
        return ()
    index = rank // ranks_per_node
    return status.nodes[index : index + 1]


def _silent_nodes(status: Status, ranks_per_node: int) -> tuple[str, ...]:
    """Nodes of which no rank ended by itself.

    When a node fails, the ranks of the healthy ones see the collective fail and exit with a code
    of their own; those of the failed node are killed, or never heard of again.
    """
    silent = []
    for index, node in enumerate(status.nodes):
        codes = status.exit_codes[index * ranks_per_node : (index + 1) * ranks_per_node]
        if not any(code is not None and code >= 0 for code in codes):
            silent.append(node)
    return tuple(silent)


def measured(
    spec: RunSpec,
    steps: Sequence[Brief],
    result: dict[str, Any],
    events: list[dict[str, Any]],
    prediction: Prediction | None,
) -> Figures:
    """Compute the figures of a run's metrics; its speed leaves the untimed first steps out.

    Step times of a trial with fewer micro batches per step stand for those of the whole batch.
    """
    scale = _whole_step(spec, prediction)
    timed = [time * scale for time in _timed(spec, steps)] if scale else []
    times = step_figures(timed)
    p50 = times["step_ms_p50"]
    speed = spec.tokens_per_step / p50 * 1000 if p50 else None
    peak = spec.cluster.accelerator.peak_tflops(spec.train.precision)
    model = spec.model
    return Figures(
        steps=steps[-1].step - spec.first if steps else None,
        tokens_per_s=speed,
        **times,
        step_ms_error=_error(timed),
        tflops_per_gpu=_tflops(speed, model.flops_per_token, spec),
        mfu_pct=_share(_tflops(speed, model.flops_per_token, spec), peak),
        hfu_pct=_share(_tflops(speed, spec.layout.hardware_flops_per_token(model), spec), peak),
        mem_min_gib=_over_steps(max, [line.mem_min_gib for line in steps]),
        mem_max_gib=_over_steps(max, [line.mem_max_gib for line in steps]),
        memory_kind=next((kind for kind in KINDS if kind == result.get("memory_kind")), None),
        power_min_w=_over_steps(_mean, [line.power_min_w for line in steps]),
        power_max_w=_over_steps(_mean, [line.power_max_w for line in steps]),
        loss_first=finite(steps[0].loss) if steps else None,
        loss_last=finite(steps[-1].loss) if steps else None,
        grad_norm_max=_over_steps(max, [finite(line.grad_norm) for line in steps]),
        **_guarded(spec, events),
    )


def _whole_step(spec: RunSpec, prediction: Prediction | None) -> float | None:
    """Ratio of a whole step to one of the trial, by the formulas; None where that is not known."""
    if spec.train.probe_micro_batches is None:
        return 1.0
    whole = prediction.step_ms if prediction else None
    probe = prediction.probe_step_ms if prediction else None
    return whole / probe if whole and probe else None


def _timed(spec: RunSpec, steps: Sequence[Brief]) -> list[float]:
    """Milliseconds of the steps that show the speed: of the last attempt, at the full batch.

    An earlier attempt may have had another layout; it counts where the last has no timed step.
    """
    full_batch = steps
    if spec.train.batch_ramp:
        full_batch = [line for line in steps if spec.batch_at(line.step) == spec.train.global_batch]
    last_attempt = [line for line in full_batch if line.attempt == steps[-1].attempt]
    for lines in (last_attempt, full_batch):
        timed = [line.step_ms for line in lines[spec.train.untimed_steps :] if line.step_ms]
        if timed:
            return timed
    return []


SPIKES = {"loss_spike", "norm_spike", "nan", "inf", "creep"}
"""Kinds of events that each begin a spike."""


def _guarded(spec: RunSpec, events: list[dict[str, Any]]) -> dict[str, int]:
    if spec.train.spike_guard is None:
        return {}
    # A resumed run repeats steps, and with them their events: each counts once.
    distinct = {(event["kind"], event.get("of"), event["step"]) for event in events}
    kinds = Counter(kind for kind, *_ in distinct)
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


class StepTimes(TypedDict):
    """Fields of `Figures` that the times of the timed steps decide, ms."""

    step_ms_p50: float | None
    step_ms_p95: float | None


def step_figures(times: Sequence[float]) -> StepTimes:
    """Figures of step times in ms: of our own runs, and of those whose logs were imported."""
    p50 = median(times) if times else None
    return {"step_ms_p50": p50, "step_ms_p95": p95(times)}


def p95(values: Sequence[float]) -> float | None:
    """95th percentile; None without values."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=20, method="inclusive")[-1]


KINDS: tuple[MemoryKind, ...] = get_args(MemoryKind)

BLOCKS = 16
"""Stretches of a run whose medians are compared: neighbouring steps are alike, a run drifts."""


def _error(values: Sequence[float]) -> float | None:
    """Standard error of the median of steps in their order; None of less than two."""
    blocks = min(BLOCKS, len(values))
    if blocks < 2:
        return None
    ends = [len(values) * block // blocks for block in range(blocks + 1)]
    medians = [median(values[a:b]) for a, b in pairwise(ends)]
    return MEDIAN * stdev(medians) / math.sqrt(blocks)


MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of the median of normal values, relative to that of their mean."""


def _over_steps(
    statistic: Callable[[Sequence[float]], float], values: Sequence[float | None]
) -> float | None:
    """Statistic of the values that are known; None where none is."""
    measured_values = [value for value in values if value is not None]
    return float(statistic(measured_values)) if measured_values else None


def finite(value: float | None) -> float | None:
    """Return a figure of a table, where a run whose loss is nan has none: its outcome says so."""
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _seconds(status: Status | None) -> float | None:
    if status is None or status.started is None or status.ended is None:
        return None
    return status.ended - status.started
