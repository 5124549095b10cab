"""Measured figures of a sheet: speeds, seconds of a step, memory, and what did not fit."""

import numpy as np
import pytest

from tests.launcher.sheets.made import FULL, read, read_conf


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({}, "reserved"),
        ({"notes": "memory from nvidia-smi"}, "device"),
        ({"notes": "max_memory_allocated of rank 0"}, "allocated first"),
        ({"notes": "Allocated, last rank"}, "allocated last"),
        ({"mem_kind": "device", "notes": "allocated"}, "device"),
        ({"mem_kind": "reserved", "notes": "nvidia-smi"}, "reserved"),
    ],
)
def test_what_a_memory_figure_means(row: dict[str, str], kind: str) -> None:
    assert read(**row).memory_kinds == [kind]


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        # 64 x 1024 tokens, at 16 x 1000 tokens a second
        ({"tokens_per_s_per_gpu": "1000"}, 4.096),
        ({"tokens_per_s_per_gpu": "1000", "step_s": "3"}, 3.0),
        ({"step_s": "3"}, 3.0),
        ({"tokens_per_s_per_gpu": "1000", "global_batch": ""}, np.nan),  # of how many tokens?
        ({}, np.nan),
    ],
)
def test_seconds_of_a_step(row: dict[str, str], seconds: float) -> None:
    assert read(**{**FULL, **row}).step_seconds.tolist() == pytest.approx([seconds], nan_ok=True)


@pytest.mark.parametrize(
    ("row", "oom"),
    [
        ({"oom": "1"}, 1.0),
        ({"oom": "0"}, 0.0),
        ({"outcome": "OOM"}, 1.0),
        ({"outcome": "ok"}, 0.0),
        ({"outcome": "nccl"}, np.nan),
        ({"oom": "0", "outcome": "oom"}, 0.0),
        ({"oom": "True"}, 1.0),  # as pandas writes it
        ({"oom": "no", "outcome": "failed"}, 0.0),
    ],
)
def test_what_did_not_fit(row: dict[str, str], oom: float) -> None:
    assert read(**row).oom.tolist() == pytest.approx([oom], nan_ok=True)


def test_a_total_speed_is_of_all_cards() -> None:
    sheet = read_conf(n_gpus="16", steps="1000", **{"tokens/s": "48,000"})
    assert sheet.speed.tolist() == [3000]
    both_columns = read_conf(n_gpus="16", tgs="2,900", tokens_per_s="48k")
    assert both_columns.speed.tolist() == [2900]
    assert np.isnan(read_conf(tokens_per_s="48k").speed).all()  # of nobody knows how many


def test_how_many_steps_is_no_step_time() -> None:
    sheet = read_conf(n_gpus="16", steps="1000")
    assert np.isnan(sheet.speed).all() and np.isnan(sheet.step_seconds).all()
