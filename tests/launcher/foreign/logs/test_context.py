"""Context of a log: where and when it was written."""

from datetime import UTC, datetime

import pytest

from launcher.foreign.logs.context import LogContext


def test_times_are_those_at_the_beginning_of_a_line() -> None:
    context = LogContext()
    for line in (
        "2024-01-01 10:00:00 start",
        "2024-01-01T11:30:00 end",
        f"{' ' * 80}a file of 2019-01-01 00:00:00",
        "2024-99-99 10:00:00 is no date",
    ):
        context.feed(line)
    began = datetime(2024, 1, 1, 10, tzinfo=UTC).timestamp()
    assert (context.began, context.ended) == (began, began + 5400)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (
            "slurmstepd: error: *** JOB 17 ON node-3 CANCELLED AT 2024-01-01T10:00:00 ***",
            "job_id",
            "17",
        ),
        ("export SLURM_JOB_ID=42", "job_id", "42"),
        ("node-3:123:456 [0] NCCL INFO Bootstrap", "hosts", {"node-3"}),
        ("+ NNODES=4", "arguments", {"NNODES": "4"}),
        ("export GPUS_PER_NODE=8", "arguments", {"GPUS_PER_NODE": "8"}),
        (
            "CUDA capacity: NVIDIA H100 80GB HBM3 with 79.1GiB memory",
            "card",
            "NVIDIA H100 80GB HBM3",
        ),
        (
            "|   0  NVIDIA A100-SXM4-40GB          On  | 00000000:07:00.0 Off |",
            "card",
            "NVIDIA A100-SXM4-40GB",
        ),
        ("git_hash=0123abc git_branch=main", "commit", "0123abc"),
        ("Megatron-LM git_hash=unknown", "commit", None),
    ],
)
def test_a_line(line: str, field: str, value: object) -> None:
    context = LogContext()
    context.feed(line)
    assert getattr(context, field) == value
