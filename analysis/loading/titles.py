"""Columns of logged series by their titles, as trainers, W&B and TensorBoard write them.

W&B's export of a chart has a column ``Step`` and, for each run, ``run - train/loss`` with its
``__MIN`` and ``__MAX``; that of a run's history has ``_step`` and a column a metric. TensorBoard's
has ``Wall time,Step,Value``, and the name of the quantity only in the name of the file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

STEP = ("iteration", "step", "iter", "iterations", "steps", "global_step", "optimizer_step",
        "train_global_step", "trainer_global_step", "train_step", "batch", "_step",
        "current_steps")  # fmt: skip
"""Names of the step, the best first; W&B's own ``_step`` counts its calls of log."""

LOSS = ("lm_loss", "loss", "train_loss", "train_lm_loss", "reduced_train_loss", "training_loss",
        "loss_train", "loss_metrics_global_avg_loss", "global_avg_loss", "loss_train_total",
        "train_loss_step", "lm_loss_training_lm_loss", "train_samples_train_loss",
        "train_cross_entropy", "train_crossentropyloss", "train_ce_loss",
        "total_loss")  # fmt: skip
"""Names of the loss of training, the best first."""

NORM = ("grad_norm", "train_grad_norm", "gradient_norm", "global_grad_norm", "gnorm",
        "grad_norm_grad_norm", "total_grad_norm", "optim_total_grad_norm", "l2_norm_grad_global",
        "grad_norm_step", "gradients_norm")  # fmt: skip
"""Names of the norm of the whole gradient, the best first."""

NOT_OF_TRAINING = re.compile(r"(?:^|_)(?:val|valid|validation|eval|test)(?:_|$)")
OF_TRAINING = re.compile(r"(?:^|_)train(?:ing)?(?:_|$)")
PART = re.compile(
    r"(?:^|_)(?:aux|load|balanc\w+|router|mtp|z|min|max|layers?|blocks?|scale|per)(?:_|$)"
)
"""Words of a loss or norm that is only a part of it, or another statistic."""
EXPORT_RANGE = re.compile(r"__(?:min|max)$", re.IGNORECASE)
TENSORBOARD = ("wall_time", "step", "value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Positions of the columns of one run; None where there is no such column."""

    run: str | None = None
    """Name of the run, where a file has several."""
    step: int
    loss: int | None
    norm: int | None


def plain(title: str) -> str:
    """Return a title in lower case, with one ``_`` for all that is no letter or digit."""
    words = re.sub(r"[^a-z0-9]+", "_", title.strip().lower()).rstrip("_")
    return "_step" if words == "_step" else words.lstrip("_")


def columns(titles: Sequence[str], file_name: str) -> list[Columns]:
    """Return the columns of each run of a file; none where it has no step, or nothing to look at.

    Args:
        titles: of its columns.
        file_name: TensorBoard's exports name their quantity there alone.
    """
    names = [plain(title) for title in titles]
    step = _best(names, STEP)
    if step is None:
        return []
    if tuple(names) == TENSORBOARD:
        is_norm = "norm" in plain(file_name)
        return [Columns(step=step, loss=None if is_norm else 2, norm=2 if is_norm else None)]
    runs: dict[str | None, dict[int, str]] = {}
    for position, title in enumerate(titles):
        run, dash, metric = title.rpartition(" - ")
        if position != step and not EXPORT_RANGE.search(title):
            runs.setdefault(run if dash else None, {})[position] = plain(metric)
    by_run = [
        Columns(run=run, step=step, loss=_quantity(metrics, LOSS), norm=_quantity(metrics, NORM))
        for run, metrics in runs.items()
    ]
    return [run for run in by_run if run.loss is not None or run.norm is not None]


def _best(names: Sequence[str], known_names: Sequence[str]) -> int | None:
    """Return the position of the best known name that is there."""
    return next((names.index(name) for name in known_names if name in names), None)


def _quantity(metrics: dict[int, str], known_names: Sequence[str]) -> int | None:
    """Position of a quantity: by a known name, else by the one title that can only mean it."""
    positions, names = list(metrics), list(metrics.values())
    best = _best(names, known_names)
    if best is not None:
        return positions[best]
    word = "loss" if known_names is LOSS else "norm"
    candidates = [
        position
        for position, name in metrics.items()
        if word in name.split("_")
        and not NOT_OF_TRAINING.search(name)
        and not PART.search(name)
        and (word == "loss" or re.search(r"(?:^|_)g(?:rad(?:ients?)?)?_?norm", name))
    ]
    of_training = [position for position in candidates if OF_TRAINING.search(metrics[position])]
    chosen = of_training or candidates
    return chosen[0] if len(chosen) == 1 else None
