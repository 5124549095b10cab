"""The table: its columns, its order, and every form it is printed in."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import plan, table
from launcher.results.record import Figures, Planned, Prediction, RunRecord
from launcher.spec.layout import ParallelLayout
from tests.conftest import spec

HEADER = (
    "row,sweep,spec_id,outcome,cause,remark,stage,backend,model,params_b,nodes,gpus,dp,tp,pp,vpp,pipeline_layout,cp,ep,dispatcher,sp,zero,"
    "global_batch,micro_batch,recompute,recompute_modules,recompute_layers,recompute_method,seq_len,precision,reduce_precision,probe_micro_batches,tflops_per_gpu,stated_tflops_per_gpu,mfu_pct,hfu_pct,"
    "tokens_per_s,scaling_pct,step_ms_p50,step_ms_p95,step_ms_error,mem_min_gib,mem_max_gib,power_min_w,power_max_w,"
    "loss_first,loss_last,grad_norm_max,spikes,skipped,rollbacks,steps,attempt,seconds,eta_days,bad_hosts,hosts,"
    "job_id,commit,code,optimizer,expert_product,pred_mem_gib,pred_oom_prob,pred_step_ms,pred_mem_err_pct,pred_step_err_pct,folder"
)

FAST = RunRecord(
    spec=spec(ParallelLayout(tp=2), tokens=86_400_000), outcome="ok", row=3, attempt=1, seconds=9.5,
    figures=Figures(steps=4, tokens_per_s=1000.0, step_ms_p50=256.0, mem_max_gib=0.5, loss_last=7.25),
)  # fmt: skip
SLOW = RunRecord(
    spec=spec(ParallelLayout(zero=0)), outcome="ok", row=1, figures=Figures(tokens_per_s=999.0)
)
FAILED = RunRecord(
    spec=spec(ParallelLayout(micro_batch=4)), outcome="oom", cause="out of memory", row=4,
    figures=Figures(tokens_per_s=5000.0),
)  # fmt: skip
REJECTED = RunRecord(
    spec=spec(ParallelLayout(tp=4)), outcome="rejected", cause="tp 4 does not divide 2 gpus", row=2
)
RECORDS = [REJECTED, SLOW, FAILED, FAST]


def test_columns_are_these_in_this_order() -> None:
    assert table.render(table.frame(RECORDS), "csv").splitlines()[0] == HEADER


def test_best_first_then_failures_then_rejections() -> None:
    assert list(table.frame(RECORDS)["row"]) == [3, 1, 4, 2]


@pytest.mark.parametrize(
    ("sort", "rows"),
    [("row", [1, 2, 3, 4]), ("-row", [4, 3, 2, 1]), ("-tokens_per_s", [4, 3, 1, 2])],
)
def test_sorted_by_a_column_with_the_unknown_last(sort: str, rows: list[int]) -> None:
    assert list(table.frame(RECORDS, sort)["row"]) == rows


def test_unknown_is_empty_and_never_zero() -> None:
    rows = list(csv.DictReader(io.StringIO(table.render(table.frame(RECORDS, "row"), "csv"))))
    rejected = rows[1]
    assert rejected["dp"] == rejected["tokens_per_s"] == rejected["attempt"] == ""
    assert (rejected["tp"], rejected["sp"], rejected["spec_id"]) == ("4", "True", REJECTED.spec.id)
    assert rows[2]["eta_days"] == "1.0"  # 86.4 M tokens at 1,000 a second
    assert rows[0]["eta_days"] == ""  # no train.tokens


def test_json_has_null_for_unknown() -> None:
    first = json.loads(table.render(table.frame(RECORDS), "json"))[0]
    assert (first["row"], first["mfu_pct"], first["loss_last"]) == (3, None, 7.25)
    assert ",".join(first) == HEADER


def test_a_terminal_gets_what_tells_rows_apart() -> None:
    text = table.render(table.frame(RECORDS), "table").splitlines()
    assert text[0].startswith(
        "backend megatron  model test  params_b 0.0002  nodes 1  gpus 2  pp 1"
    )
    assert text[1].split()[:3] == ["row", "outcome", "dp"]
    assert text[-1].endswith("tp 4 does not divide 2 gpus")
    assert "mfu_pct" not in text[1] and "spec_id" not in text[1]


def test_one_row_still_has_its_outcome_and_cause() -> None:
    text = table.render(table.frame([REJECTED]), "table")
    assert "rejected" in text and "tp 4 does not divide 2 gpus" in text


@pytest.mark.parametrize("form", ["csv", "json", "html", "parquet"])
def test_every_form_can_be_a_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{form}"
    rows = table.frame(RECORDS)
    table.put(rows, form, str(path))
    back = {
        "csv": lambda: pd.read_csv(path),
        "json": lambda: pd.read_json(path),
        "html": lambda: _from_html(path),
        "parquet": lambda: pd.read_parquet(path),
    }[form]()
    assert [int(row) for row in back["row"]] == [3, 1, 4, 2]


def test_no_record_is_a_header() -> None:
    assert table.render(table.frame([]), "csv") == HEADER


def test_a_plan_says_why_not() -> None:
    points = [
        Planned(row=1, spec=REJECTED.spec, rejected=REJECTED.cause, prediction=Prediction()),
        Planned(row=2, spec=SLOW.spec, rejected=None, pruned="hopeless", prediction=Prediction()),
        Planned(
            row=3,
            spec=FAST.spec,
            rejected=None,
            price_per_gpu_hour=2.5,
            prediction=Prediction(memory_gib=1.5, step_ms=256.0),
        ),
    ]
    rows = plan.frame(points)
    plans = [(3, "run"), (2, "pruned"), (1, "rejected")]
    assert list(zip(rows["row"], rows["plan"], strict=True)) == plans
    assert list(rows["reason"].dropna()) == ["hopeless", "tp 4 does not divide 2 gpus"]
    assert list(rows["pred_mem_gib"].dropna()) == [1.5]
    # 86.4 M tokens at 1,000 a second: one day, of two cards, at 2.5 an hour
    figures = rows[["tokens_per_s", "days", "gpu_hours", "price"]].iloc[0]
    assert list(figures) == [1000.0, 1.0, 48.0, 120.0]
    assert not {"loss_last", "attempt"} & set(rows.columns)


def test_predictions_are_beside_what_was_measured() -> None:
    predicted = replace(FAST, prediction=Prediction(memory_gib=0.4, step_ms=250.0))
    (row,) = table.frame([predicted]).to_dict(orient="records")
    assert (row["pred_mem_gib"], row["pred_step_ms"], row["step_ms_p50"]) == (0.4, 250.0, 256.0)
    assert row["pred_step_err_pct"] == pytest.approx(-2.34375)
    assert row["pred_mem_err_pct"] == pytest.approx(-20.0)


def _from_html(path: Path) -> pd.DataFrame:
    names = re.findall(r"<th>(.*?)</th>", path.read_text())
    cells = re.findall(r"<td>(.*?)</td>", path.read_text())
    assert not {"None", "&lt;NA&gt;", "NaN"} & set(cells)
    rows = [cells[n : n + len(names)] for n in range(0, len(cells), len(names))]
    return pd.DataFrame(rows, columns=names)


def test_a_plain_table_may_hold_text_in_any_column() -> None:
    rows = table.plain([{"row": "3", "zero": "1", "rows": 12, "tflops_per_gpu": 0.033}])
    assert table.render(rows, "table").splitlines()[1].split() == ["3", "1", "12", "0.033"]


def test_markdown_for_a_pull_request() -> None:
    """As a person reads it: what all share is above, and a bar does not end a cell."""
    failed = replace(REJECTED, cause="1 | 2")
    lines = table.render(table.frame([FAST, failed], "row"), "md").splitlines()
    assert lines[0].startswith("backend megatron  model test  ")
    assert lines[1:] == [
        "",
        "|   row | outcome   |   dp |   tp |   tokens_per_s |   step_ms |   mem_gib |   loss_last | cause   |",
        "|-------|-----------|------|------|----------------|-----------|-----------|-------------|---------|",
        r"|     2 | rejected  |      |    4 |                |           |           |             | 1 \| 2  |",
        "|     3 | ok        |    1 |    2 |          1,000 |     256.0 |      0.50 |      7.2500 |         |",
    ]


def test_a_table_for_a_paper() -> None:
    lines = table.render(table.frame([FAST, SLOW], "row"), "latex").splitlines()
    assert lines[0].startswith("% backend megatron  model test")
    assert [line.split() for line in lines[1:5]] == [
        [],
        ["\\begin{tabular}{rlrrlrrrrr}"],
        ["\\toprule"],
        [
            r"row",
            r"&",
            r"outcome",
            r"&",
            r"dp",
            r"&",
            r"tp",
            r"&",
            r"sp",
            r"&",
            r"zero",
            r"&",
            r"tokens\_per\_s",
            r"&",
            r"step\_ms",
            r"&",
            r"mem\_gib",
            r"&",
            r"loss\_last",
            r"\\",
        ],
    ]


def test_the_goal_of_a_sweep_decides_what_is_best() -> None:
    losses = (7.25, 6.5, None)
    records = [
        RunRecord(
            spec=spec(seed=seed),
            outcome="ok",
            figures=Figures(loss_last=loss, tokens_per_s=9.0 - seed),
        )
        for seed, loss in enumerate(losses)
    ]
    rows = table.frame(records, goal="loss_last")
    assert list(rows["tokens_per_s"]) == [8.0, 9.0, 7.0]
    assert [line[0] for line in table.render(rows, "table").splitlines()[-3:]] == ["*", " ", " "]
    assert list(table.frame(records)["tokens_per_s"]) == [9.0, 8.0, 7.0]
