"""Ends of a rank: done, failed, diverged, hanging, orphaned; and what it leaves behind.

Modules: launcher.workers.collectives, launcher.workers.errors, launcher.workers.process.orphans,
launcher.workers.process.watchdog, launcher.workers.process.flight_recorder,
launcher.workers.data.batches, launcher.workers.measure.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from launcher.results.endings import collectives
from tests import limits
from tests.launcher.workers import ranks

METRICS = {
    *("step", "tokens", "loss", "grad_norm", "lr", "step_ms", "tokens_per_s", "tflops_per_gpu"),
    *("mem_min_gib", "mem_max_gib", "mem_allocated_max_gib", "power_min_w", "power_max_w"),
    *("stage", "action", "attempt", "samples"),
}


def test_metrics_and_result(tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(2, layout__tp=2, train__steps=4)
    run = ranks.train(spec, tmp_path, cache, fresh=True)
    assert run.codes == [0, 0], run.log()
    assert [line["step"] for line in run.steps] == [1, 2, 3, 4]
    assert [line["tokens"] for line in run.steps] == [256, 512, 768, 1024]
    last = run.steps[-1]
    assert set(last) == METRICS
    assert math.isclose(last["lr"], spec.train.optimizer.min_lr)
    assert math.isclose(last["tokens_per_s"] * last["step_ms"] / 1000, 256, rel_tol=1e-9)
    flops = last["tokens_per_s"] * spec.model.flops_per_token / 2 / 1e12
    assert math.isclose(last["tflops_per_gpu"], flops, rel_tol=1e-9)
    assert 0.1 < last["mem_min_gib"] <= last["mem_max_gib"] < 4
    result = run.folder.result()
    assert result is not None
    assert result["params"] == spec.model.params
    assert result["layers"] == 4 and result["steps"] == 4
    assert result["optimizer"] == "DistributedOptimizer(torch.AdamW)"
    assert result["versions"]["megatron_core"] == metadata.version("megatron-core")
    assert result["versions"]["deepspeed"] is None, "it was imported for nothing"
    assert set(result["seconds"]) == {"import", "setup", "train"}


def test_divergence_is_told_on_every_rank(tmp_path: Path, cache: Path) -> None:
    patch = """
        from launcher.workers.engines.megatron import MegatronEngine
        import dataclasses
        real = MegatronEngine.step
        def step(self, number, lr, apply):
            def spoilt(rank_step):
                if number == 3 and self._place.tp == 0:
                    rank_step = dataclasses.replace(rank_step, loss_sum=float("nan"))
                return apply(rank_step)
            real(self, number, lr, spoilt)
        MegatronEngine.step = step
    """
    spec = ranks.spec(2, layout__tp=2)
    run = ranks.train(spec, tmp_path, cache, patch=patch, all_ranks=True)
    assert run.codes == [1, 1]
    for rank in range(2):
        assert (
            run.log(rank)
            .strip()
            .splitlines()[-1]
            .startswith("launcher.workers.errors.DivergedError: step 3: loss nan, grad norm ")
        )
    assert [line["loss"] == "nan" for line in run.steps] == [False, False, True]
    assert run.folder.result() is None


def test_an_exception_ends_a_rank_at_once(tmp_path: Path, cache: Path) -> None:
    patch = """
        import os
        from launcher.workers.engines.megatron import MegatronEngine
        def step(self, number, lr, apply):
            raise ValueError("no such luck")
        if os.environ["RANK"] == "1":
            MegatronEngine.step = step
    """
    run = ranks.train(ranks.spec(2, layout__tp=2), tmp_path, cache, patch=patch)
    assert run.codes[1] == 1
    assert run.log(1).strip().endswith("ValueError: no such luck")


def test_a_hang_shows_the_stacks_of_every_rank(tmp_path: Path, cache: Path) -> None:
    patch = """
        import os, time
        from launcher.workers.process import watchdog
        from launcher.workers.engines.megatron import MegatronEngine
        real = MegatronEngine.step
        def step(self, number, lr, apply):
            if number == 4 and os.environ["RANK"] == "1":
                time.sleep(10**6)
            real(self, number, lr, apply)
        MegatronEngine.step = step
    """
    run = ranks.train(
        ranks.spec(2, layout__tp=2), tmp_path, cache, patch=patch, hang_after=4, all_ranks=True
    )
    assert run.codes == [1, 1]
    for rank, where in ((0, "engines/megatron.py"), (1, "in step")):
        log = run.log(rank)
        assert "HangError: no step finished within 4 s (last step 3)\n" in log
        assert where in log[log.index("HangError") :]
    absent = collectives.missing(collectives.read(run.folder, 2))
    assert absent and absent.ranks == (1,)
    assert re.match(r"rank 1 is missing from all_\w+ number \d+ of tensor_model_", str(absent))
    assert json.loads(run.folder.trace(0).read_text())["entries"]


def test_a_rank_that_holds_the_interpreter_is_ended_too(tmp_path: Path) -> None:
    """End a rank in which no thread can run any more: the backstop is in C."""
    code = (
        "import ctypes\n"
        "from launcher.workers.process import watchdog\n"
        "watchdog.BACKSTOP_SECONDS = 0.5\n"
        "watchdog.Watchdog(0.05)\n"
        f"ctypes.PyDLL(None).sleep({limits.ALWAYS})\n"
    )
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=limits.COMMAND)
    assert ended.returncode == 1
    assert "Timeout (0:00:01" in ended.stderr and "line 5" in ended.stderr


def test_ranks_end_with_their_launcher(tmp_path: Path, cache: Path) -> None:
    """Kill the launcher with SIGKILL, so that it can do nothing about its ranks."""
    code = (
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "from tests.launcher.workers import ranks\n"
        "started = ranks.start(ranks.spec(2, layout__tp=2, train__steps=10**6),\n"
        "    Path(sys.argv[1]), Path(sys.argv[2]),\n"
        "    env={'MEGALAUNCH_PARENT': str(os.getpid())}, fresh=True)\n"
        "print(json.dumps([process.pid for process in started]), flush=True)\n"
        f"time.sleep({limits.ALWAYS})\n"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(cache)], stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    pids = json.loads(launcher.stdout.readline())
    try:
        assert all(map(alive, pids))
        time.sleep(1)  # in the middle of their imports
        launcher.kill()
        launcher.wait()
        limits.until(lambda: not any(map(alive, pids)))
    finally:
        launcher.kill()
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_a_model_that_is_not_what_was_asked_for(tmp_path: Path, cache: Path) -> None:
    patch = """
        from launcher.workers.model import gpt as model
        real = model._model
        model._model = lambda shape: real(shape) | {"ffn_hidden_size": 2 * shape.ffn}
    """
    spec = ranks.spec(1)
    run = ranks.train(spec, tmp_path, cache, patch=patch)
    assert run.codes == [1]
    built = spec.model.params + 4 * 3 * 64 * 128
    assert (
        run.log()
        .strip()
        .endswith(f"AssertionError: built {built} params, asked for {spec.model.params}")
    )


def alive(pid: int) -> bool:
    """Return True if a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
