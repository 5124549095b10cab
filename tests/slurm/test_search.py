"""A search on SLURM: several trials in flight, each chosen by what the ones before showed."""

from itertools import combinations

from tests.slurm.conftest import Make

GRID = (
    "-m",
    "sweep.strategy=best_first",
    "sweep.stop.trials=3",
    "parallel=2",
    "cluster.gpus_per_node=1",
    "layout.micro_batch=1,2,3,4,6,8",
    "layout.recompute=none,full",
    "train.global_batch=24",
    "train.steps=3",
    "hang_after=60",
)


def test_a_search_keeps_trials_in_flight_and_prunes_the_rest(sweep: Make) -> None:
    running = sweep(*GRID)
    code, output = running.end()
    assert code == 0, output
    rows = running.rows()
    ran = [row for row in rows if row["outcome"] == "ok"]
    assert (len(rows), len(ran)) == (12, 3)
    pruned = [row for row in rows if row["outcome"] == "pruned"]
    assert len(pruned) == 9
    assert "sweep.stop.trials=3 have run" in {row["cause"] for row in pruned}
    assert all(row["pred_step_ms"] for row in rows)

    spans = []
    for run in running.runs:
        status = run.status()
        assert status and status.started and status.ended and status.job_id
        spans.append((status.started, status.ended))
    overlaps = [a for a, b in combinations(spans, 2) if a[0] < b[1] and b[0] < a[1]]
    assert overlaps, spans  # two at once
    at_once = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    assert at_once == 2
    later = sum(start > min(end for _, end in spans) for start, _ in spans)
    assert later >= 1  # chosen once one had ended
    running.check()
