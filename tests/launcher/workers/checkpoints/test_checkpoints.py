"""Interrupted runs: their remains, and that the attempt after them trains as if undisturbed.

Modules: launcher.workers.checkpoints.candidates, launcher.workers.metrics_history,
launcher.workers.process.stop_request.
"""

from pathlib import Path

from launcher.files import read_json
from launcher.results.run_folder import RunFolder, Status
from tests.launcher.workers import ranks

DS = {"backend": "deepspeed"}


def test_killed_and_resumed(tmp_path: Path, cache: Path) -> None:
    """Kill rank 1, and damage the newest checkpoint besides, so that the one before it serves."""
    kill = """
        import os, signal
        from launcher.workers.engines.megatron import MegatronEngine
        real = MegatronEngine.step
        def step(self, number, lr, apply):
            if number == 7 and os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, number, lr, apply)
        MegatronEngine.step = step
    """
    spec = ranks.spec(2, layout__zero=1)
    calm = ranks.train(spec, tmp_path / "calm", cache, env={"MEGALAUNCH_ALLREDUCE": "1:60"})
    assert read_json(calm.folder.path / "link.json")["gb_s"] > 0
    killed = ranks.train(spec, tmp_path / "run", cache, every=2, patch=kill)
    assert killed.codes[1] == -9
    assert names(killed.folder) == ["step-00000004", "step-00000006"], "the newest two stay"
    damage(killed.folder.checkpoints / "step-00000006" / "rank1.safetensors")
    (killed.folder.checkpoints / ".step-00000008.attempt1").mkdir()
    killed.folder.write_status(Status(state="ended"))
    assert killed.folder.next_attempt() == 2

    resumed = ranks.train(spec, tmp_path / "run", cache, every=2, env={"MEGALAUNCH_ATTEMPT": "2"})
    assert resumed.codes == [0, 0], resumed.log()
    warning = "WARNING checkpoint at step 6 skipped: rank1.safetensors is not what was written\n"
    assert warning in resumed.log(1)
    assert [line["step"] for line in resumed.steps] == list(range(1, 9))
    assert resumed.losses == calm.losses
    assert figures(resumed, "grad_norm") == figures(calm, "grad_norm")
    results = [run.folder.result() for run in (calm, resumed)]
    assert [result and result["resumed_from"] for result in results] == [None, 4]
    assert names(resumed.folder) == ["step-00000006", "step-00000008"]
    assert {rank: beat.attempt for rank, beat in resumed.folder.beats().items()} == {0: 2, 1: 2}


def test_a_full_disk_and_a_stop(tmp_path: Path, cache: Path) -> None:
    """Fail all saves of the first run on one rank; stop the second at the wish of another."""
    full = """
        import errno, os
        from launcher.workers.checkpoints import tensorfile
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")
        if os.environ["RANK"] == "1":
            tensorfile.HashedFile.write = write
    """
    ask = """
        import os, signal
        from launcher.workers.engines.deepspeed import DeepSpeedEngine
        real = DeepSpeedEngine.step
        def step(self, number, lr, apply):
            if number == 3 and os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGUSR1)
            return real(self, number, lr, apply)
        DeepSpeedEngine.step = step
    """
    spec = ranks.spec(2, **DS, layout__zero=2, train__steps=6)
    calm = ranks.train(spec, tmp_path / "calm", cache, every=2, patch=full)
    assert calm.codes == [0, 0], calm.log()
    for step in (2, 4, 6):
        line = f"WARNING checkpoint at step {step} failed: rank 1: No space left on device\n"
        assert line in calm.log(0)
    assert list(calm.folder.checkpoints.iterdir()) == []

    stopped = ranks.train(spec, tmp_path / "run", cache, every=100, patch=ask, all_ranks=True)
    assert stopped.codes == [75, 75], stopped.log()
    for rank in range(2):
        assert "stopped on request at step 3, checkpoint written\n" in stopped.log(rank)
    resumed = ranks.train(spec, tmp_path / "run", cache, every=100)
    assert resumed.codes == [0, 0], resumed.log()
    assert resumed.losses == calm.losses
    assert names(resumed.folder) == ["step-00000003", "step-00000006"]


def test_killed_while_it_saves(tmp_path: Path, cache: Path) -> None:
    """Kill rank 0 of a pipeline when all but the rename of the second checkpoint is done."""
    kill = """
        import os, pathlib, signal
        real = pathlib.Path.rename
        def rename(self, target):
            if target.name == "step-00000004":
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)
        pathlib.Path.rename = rename
    """
    spec = ranks.spec(2, **DS, layout__pp=2, layout__zero=1, train__steps=5)
    killed = ranks.train(spec, tmp_path / "run", cache, every=2, patch=kill)
    assert killed.codes[0] == -9, killed.log()
    assert names(killed.folder) == ["step-00000002"]
    assert (killed.folder.checkpoints / ".step-00000004.attempt1" / "manifest.json").exists()
    calm = killed.losses  # nothing had disturbed these
    resumed = ranks.train(spec, tmp_path / "run", cache, every=3)
    assert resumed.codes == [0, 0], resumed.log()
    assert resumed.losses[:4] == calm and len(resumed.losses) == 5
    assert names(resumed.folder) == ["step-00000003", "step-00000005"]
    assert not list(resumed.folder.checkpoints.glob(".*"))


def test_asked_during_set_up(tmp_path: Path, cache: Path) -> None:
    ask = "import os, signal\nos.kill(os.getpid(), signal.SIGUSR1)"
    spec = ranks.spec(1, train__steps=3)
    stopped = ranks.train(spec, tmp_path / "heeded", cache, every=2, patch=ask)
    assert stopped.codes == [75]
    assert stopped.log().endswith("stopped on request before step 1\n")
    ignored = ranks.train(spec, tmp_path / "probe", cache, patch=ask)
    assert ignored.codes == [0] and len(ignored.losses) == 3
    assert not ignored.folder.checkpoints.exists()


def test_a_superseded_rank_ends(tmp_path: Path, cache: Path) -> None:
    spec = ranks.spec(1, train__steps=10**6)
    folder = RunFolder(tmp_path)
    folder.create(spec)
    folder.write_status(Status(state="running", attempt=3))
    run = ranks.train(spec, tmp_path, cache, hang_after=4, env={"MEGALAUNCH_ATTEMPT": "2"})
    assert run.codes == [1]
    assert run.log().endswith("attempt 2 is superseded by attempt 3\n")
    assert folder.beats()[0].attempt == 2


def names(folder: RunFolder) -> list[str]:
    """Names of the checkpoints that are visible."""
    return sorted(path.name for path in folder.checkpoints.glob("step-*"))


def figures(run: ranks.Ended, key: str) -> list[float]:
    """One figure of every step."""
    return [line[key] for line in run.steps]


def damage(path: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
