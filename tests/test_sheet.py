"""A hand-kept grid of 64 real runs, pushed through `check` before anything would run."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from launcher.backends import check
from launcher.decode import decode
from launcher.errors import RequestError
from launcher.spec.cluster import Accelerator, Cluster
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import Data, RunSpec, Train
from launcher.spec.shape import ModelShape
from tests.conftest import ROOT

SHEET = Path(__file__).parent / "data" / "tanuki_phase1_grid.csv"

UNEXPLAINED = {
    "8": "an assertion whose text is not on the sheet; every number on the row divides",
    "66": "pp 6 on 16 GPUs cannot have run: a number on the row is wrong (3 nodes would fit)",
}
"""Rows on which the sheet and arithmetic disagree."""


def rows() -> list[dict[str, str]]:
    lines = [line for line in SHEET.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def model(params_b: str) -> ModelShape:
    """The sheet names sizes only; 10B and 2.7B are Llama-like shapes of that size."""
    if params_b in ("7", "13"):
        text = (ROOT / "conf" / "model" / f"llama_{params_b}b.yaml").read_text()
        return decode(ModelShape, yaml.safe_load(text))
    if params_b == "10":
        return replace(model("13"), name="10b", layers=30)
    return replace(model("7"), name="2.7b", hidden=2560, ffn=6912)


def spec(row: dict[str, str], backend: str) -> RunSpec:
    gpus = 8 * int(row["nodes"])
    layout = ParallelLayout(
        tp=int(row["tp"]),
        pp=int(row["pp"]),
        zero=int(row["zero"]),  # type: ignore[arg-type]
        recompute=row["recompute"],  # type: ignore[arg-type]
    )
    batch = int(row["global_batch"])
    micro = int(row["micro_batch"] or batch // max(layout.dp(gpus), 1))
    card = Accelerator(name="h100")
    return RunSpec(
        model=model(row["params_b"]),
        layout=replace(layout, micro_batch=micro),
        cluster=Cluster(name="h100", nodes=int(row["nodes"]), gpus_per_node=8, accelerator=card),
        train=Train(global_batch=batch, steps=20),
        data=Data(blend={"bundled/prose": 1.0}),
        backend=backend,
    )


def refusal(row: dict[str, str], backend: str = "megatron") -> str | None:
    try:
        check(spec(row, backend))
    except RequestError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("10", "tp 6 x pp 6 (36) does not divide 16 gpus"),
        ("52", "micro_batch 3 x dp 8 (24) does not divide global_batch 512"),
        ("75", "micro_batch 3 x dp 24 (72) does not divide global_batch 1536"),
    ],
)
@pytest.mark.parametrize("backend", ["megatron", "deepspeed"])
def test_an_assertion_is_found_before_anything_runs(
    number: str, message: str, backend: str
) -> None:
    row = next(row for row in rows() if row["row"] == number)
    assert row["outcome"] == "assertion"
    assert refusal(row, backend) == message


def test_the_sheet_and_check_agree_on_all_rows_but_two() -> None:
    sheet = rows()
    disagree = [
        row["row"] for row in sheet if (row["outcome"] == "assertion") != (refusal(row) is not None)
    ]
    assert (len(sheet), disagree) == (64, sorted(UNEXPLAINED, key=int))


def test_layers_that_do_not_divide_by_the_stages_are_not_refused() -> None:
    row = next(row for row in rows() if row["row"] == "69")  # 13B, 40 layers, pp 6: it ran
    assert refusal(row) is None
    assert spec(row, "megatron").layout.stages(40) == [6, 7, 7, 7, 7, 6]
