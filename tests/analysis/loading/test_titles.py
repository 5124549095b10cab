"""Titles of logged series: which column is the step, the loss and the norm, whoever wrote them."""

import json
import math
from pathlib import Path

import pytest

from analysis.loading import titles
from analysis.loading.series import read
from launcher import cli

EXPORT = "Step,{run} - {loss},{run} - {loss}__MIN,{run} - {loss}__MAX"
WANDB = EXPORT.format(run="lr 3e-4 - seed 1", loss="train/loss")


@pytest.mark.parametrize(
    ("head", "file_name", "step", "loss", "norm"),
    [
        ("iteration,lm_loss,grad_norm", "a.csv", "iteration", "lm_loss", "grad_norm"),
        ("Step,Loss,Grad Norm", "a.csv", "Step", "Loss", "Grad Norm"),
        ("ITERATION,LM Loss", "a.csv", "ITERATION", "LM Loss", None),
        ("Step,grad_norm", "a.csv", "Step", None, "grad_norm"),
        (WANDB, "wandb_export.csv", "Step", "lr 3e-4 - seed 1 - train/loss", None),
        ("train/global_step,bert - train/grad_norm", "w.csv", "train/global_step", None,
         "bert - train/grad_norm"),
        ("_step,_runtime,_timestamp,train/global_step,eval/loss,train/loss,train/grad_norm", "h.csv",
         "train/global_step", "train/loss", "train/grad_norm"),
        ("_step,_timestamp,loss/train/total,metrics/eval/loss,l2_norm/grad/global", "c.csv",
         "_step", "loss/train/total", "l2_norm/grad/global"),
        ("Wall time,Step,Value", "run-x-tag-lm_loss.csv", "Step", "Value", None),
        ("Wall time,Step,Value", "run-x-tag-grad-norm_grad-norm.csv", "Step", None, "Value"),
        ("step,val_loss,train_loss", "a.csv", "step", "train_loss", None),
        ("step,loss_metrics/global_avg_loss,loss_metrics/global_max_loss,grad_norm", "t.csv",
         "step", "loss_metrics/global_avg_loss", "grad_norm"),
        ("trainer/global_step,reduced_train_loss,val_loss", "n.csv", "trainer/global_step",
         "reduced_train_loss", None),
        ("iteration,ce loss,aux loss,router z loss", "a.csv", "iteration", "ce loss", None),
        ("epoch,step,training cross entropy loss", "a.csv", "step",
         "training cross entropy loss", None),
        ("current_steps,total_steps,loss,lr", "trainer_log.csv", "current_steps", "loss", None),
        ("global_step,loss scale,lm loss", "a.csv", "global_step", "lm loss", None),
    ],
)  # fmt: skip
def test_columns(head: str, file_name: str, step: str, loss: str | None, norm: str | None) -> None:
    names = head.split(",")
    (columns,) = titles.columns(names, file_name)
    chosen = [
        None if at is None else names[at] for at in (columns.step, columns.loss, columns.norm)
    ]
    assert chosen == [step, loss, norm]


@pytest.mark.parametrize("head", ["", "a,loss", "step,val_loss", "step,a loss,another loss",
                                  "step,params norm", "step,loss scale", "Wall time,Value"])  # fmt: skip
def test_no_columns(head: str) -> None:
    assert titles.columns(head.split(","), "a.csv") == []


def test_an_export_of_several_runs_is_a_series_for_each(tmp_path: Path) -> None:
    path = tmp_path / "wandb.csv"
    heads = ["Step"]
    for run in ("small", "large - 2"):
        heads += [f'"{run} - train/loss"', f'"{run} - train/loss__MIN"']
    path.write_text(
        f"{','.join(heads)}\n1,2.5,2.4,,\n2,,,3.5,3.4\n3,NaN,NaN,3.25,3.2\n", encoding="utf-8"
    )
    small, large = read(path, "wandb.csv")
    assert (small.name, large.name) == ("wandb.csv: small", "wandb.csv: large - 2")
    assert [(point.step, repr(point.loss)) for point in small.points] == [(1, "2.5"), (3, "nan")]
    assert [(point.step, point.loss) for point in large.points] == [(2, 3.5), (3, 3.25)]
    assert small.skipped == large.skipped == ()


def test_rows_of_one_step_are_one_point(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("_step,train/loss,train/grad_norm\n1,2.5,\n1,,0.5\n1,,\n2,2.25,0.75\n2,2.0,\n")
    (series,) = read(path, "history")
    points = [(point.step, point.loss, point.norm) for point in series.points]
    assert points == [(1, 2.5, 0.5), (2, 2.25, 0.75), (2, 2.0, None)]


def test_other_separators(tmp_path: Path) -> None:
    for separator in "\t;":
        path = tmp_path / "a.tsv"
        path.write_text("step,loss\n1,2.5\n".replace(",", separator))
        assert read(path, "a")[0].points[0].loss == 2.5


def test_a_series_of_norms_alone_has_its_spikes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    norms = [1.5 + 0.01 * (step % 7) for step in range(1, 61)]
    norms[40], norms[50] = 30.0, math.nan
    lines = [f"{step},{norm}" for step, norm in enumerate(norms, 1)]
    path = tmp_path / "norm.csv"
    path.write_text("\n".join(["Step,grad_norm", *lines]))
    assert cli.main(["spikes", str(path), "--format", "json"]) == 0
    events = json.loads(capsys.readouterr().out)["events"]
    kinds = [(event["kind"], event["of"], event["step"]) for event in events]
    assert kinds == [("norm_spike", "grad_norm", 41), ("nan", "grad_norm", 51)]
