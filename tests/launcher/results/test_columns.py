"""The columns: what one row of them decides, and that the types behind them agree.

Modules: launcher.results.columns, launcher.results.imported.
"""

from dataclasses import fields
from functools import reduce
from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.results import columns
from launcher.results.columns import CHOICES, COLUMNS, FIGURES, OF_RECORD, OF_SPEC
from launcher.results.imported import RunFacts
from launcher.results.record import Figures
from launcher.sheets import spelling
from tests.conftest import spec

PLACES = {"sweep", "folder"}
"""Columns that say where a run is, which only its reader knows."""

OF_ROWS = {"scaling_pct"}
"""Columns that are computed from several rows."""

OF_LOGS = {"stated_tflops_per_gpu"}
"""Columns that only an imported run fills."""


def test_figures_have_a_column_each() -> None:
    assert {*FIGURES, "memory_kind"} == {field.name for field in fields(Figures)}


def test_facts_of_an_imported_run_are_the_columns_that_a_spec_decides() -> None:
    assert [field.name for field in fields(RunFacts)] == [n for n in OF_SPEC if n != "stage"]


def test_every_column_is_filled_from_one_place() -> None:
    places = [*OF_SPEC, *OF_RECORD, *FIGURES, *PLACES, *OF_ROWS, *OF_LOGS]
    assert sorted(places) == sorted(COLUMNS)


def test_fields_of_a_spec_that_columns_name_are_there() -> None:
    for column in COLUMNS.values():
        if column.spec_field:
            reduce(getattr, column.spec_field.split("."), spec())


def test_what_is_compared_is_decided_by_a_spec_and_has_a_field() -> None:
    assert set(CHOICES) <= set(OF_SPEC)
    assert all(COLUMNS[name].spec_field for name in CHOICES)


def test_errors_of_predictions_and_texts_are_no_better_when_more() -> None:
    numbers = {name for name, column in COLUMNS.items() if column.form}
    assert numbers - set(columns.NUMERIC) == {
        "pred_mem_err_pct",
        "pred_step_err_pct",
        "scaling_pct",
    }


def test_a_title_of_a_sheet_means_one_column() -> None:
    names = {spelling.bare(name) for name in COLUMNS}
    titles = [title for column in COLUMNS.values() for title in column.from_sheet or ()]
    assert len(set(titles)) == len(titles)
    assert all(title == spelling.bare(title) for title in titles)
    # A sheet of others states its own TFLOP/s, whatever the column is called.
    assert names & set(titles) == {"tflopspergpu"}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("tokens_per_s", "tokens_per_s"),
        ("mbs", "micro_batch"),
        ("tflops", "tflops_per_gpu"),
        ("rss_gib", "mem_max_gib"),
        ("mem_gib", "mem_max_gib"),
    ],
)
def test_a_column_is_known_by_its_name_and_its_titles(title: str, name: str) -> None:
    assert columns.resolved(title, "--sort") == name


def test_an_unknown_column_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"--by: no 'mfu'; did you mean 'mfu_pct'\?"):
        columns.resolved("mfu", "--by")


@pytest.mark.parametrize(
    ("sort", "form", "path", "message"),
    [
        ("speed", "table", None, "--sort: no 'speed'"),
        (None, "parquet", None, "--format parquet is not text: say where with --output FILE"),
        (None, "csv", "missing/t.csv", "--output: no folder missing to write t.csv in"),
    ],
)
def test_a_table_that_cannot_be_made_is_refused_before(
    sort: str | None, form: str, path: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        columns.check(sort, form, path)
    assert str(raised.value).startswith(message)


def test_a_table_that_can_be_made_passes(tmp_path: Path) -> None:
    columns.check("-rss_gib", "csv", str(tmp_path / "t.csv"))
