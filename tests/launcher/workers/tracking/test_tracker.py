"""Content of W&B runs and TensorBoard files; training never waits for either."""

import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.results import tracking
from launcher.results.run_folder import RunFolder
from launcher.spec.tracking import Tracking
from launcher.workers.tracking.tracker import METRIC_NAMES, STEP, WAIT_SECONDS
from tests import limits
from tests.launcher.workers import ranks

KEY = "5ecre7" * 6 + "5ecr"
NAMES = Tracking(
    project="my 'own' \"project\"", group="Größe\n2 ' \"", tags=("a tag", 'it\'s "one"\n', "日本")
)


SAMPLED = """
    from launcher.results import samples
    from launcher.results.samples import Answer, Sampled, Validation
    from launcher.workers.tracking import tracker as tracking
    real = tracking.start
    def start(folder):
        folder.samples.mkdir()
        def write(step, loss):
            answer = Answer(prompt="The", text=" cat\\n# sat", tokens=3, flags=("loop", "script"))
            validation = {"prose": Validation(loss=loss, tokens=9),
                          "code": Validation(loss=None, tokens=0, why="no")}
            sampled = Sampled(
                step=step, spec="", seconds=1.0, prompts=(answer,), validation=validation
            )
            samples.write(sampled, folder.sample_file(step))
        write(1, 7.5)
        tracker = real(folder)
        write(2, 2.5)
        return tracker
    tracking.start = start
"""
"""Patch: samples of a step that are there before the tracker is, and of one that comes later."""


PATIENT = f"""
    import subprocess
    from launcher.workers.tracking import tracker as patient
    class Patient(subprocess.Popen):
        def __init__(self, words, **options):
            assert words[1:4] == ["-P", "-m", "launcher.workers.tracking.tracker"]
            code = "from launcher.workers.tracking import tracker; tracker.ENDING_SECONDS = {limits.EVENT}; tracker.main()"
            super().__init__([words[0], "-P", "-c", code, *words[4:]], **options)
    patient.subprocess = type("Doubled", (), {{**vars(subprocess), "Popen": Patient}})
"""
"""Patch: a tracker that has the time it needs where others take the cores."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ranks.Ended:
    """A run that cannot reach the server, although there is a key for it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    env = {"WANDB_MODE": "", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    return tracked(folder, cache, NAMES, patch=SAMPLED, **env)


def test_every_step_is_in_the_offline_run(finished: ranks.Ended) -> None:
    assert finished.codes == [0] and tracker_log(finished) == ""
    records = wandb_records(finished)
    history = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]
    assert [line["train/loss"] for line in history] == finished.losses
    assert [line["_step"] for line in history] == list(range(1, 9))
    assert [line[STEP] for line in history] == list(range(1, 9))
    expected = {*METRIC_NAMES.values(), STEP, "samples/step", "validation/prose", "samples/texts"}
    assert {name for line in history for name in line if "/" in name} <= expected
    assert [line["validation/prose"] for line in history if "validation/prose" in line] == [2.5]
    assert [line["samples/step"] for line in history if "samples/step" in line] == [2]
    (table,) = (finished.folder.path / "wandb").glob("offline-run-*/files/media/table/**/*.json")
    assert json.loads(table.read_text())["data"] == [[2, "The", " cat\n# sat", "loop, script"]]
    summary = {i.key: i.value_json for r in records for i in r.summary.update}
    assert json.loads(summary["loss_last"]) == finished.losses[-1]
    assert "tflops_per_gpu" in summary
    (end,) = [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"]
    assert end == 0


def test_any_text_reaches_wandb_unharmed(finished: ranks.Ended) -> None:
    (run,) = [r.run for r in wandb_records(finished) if r.WhichOneof("record_type") == "run"][:1]
    spec = finished.folder.spec()
    assert run.project == NAMES.project and run.run_group == NAMES.group
    assert set(run.tags) == {*NAMES.tags, "megatron", "tiny", "tp1", "pp1", "zero1", "here"}
    assert run.display_name == f"tiny ({spec.id})" and run.run_id.startswith(f"{spec.id}-")
    config = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in run.config.update}
    assert config["train"]["global_batch"] == 8 and config["dp"] == 1
    assert not run.git.remote_url


def test_tensorboard_has_the_same_numbers(finished: ranks.Ended) -> None:
    (events,) = (finished.folder.path / "tensorboard").iterdir()
    values = list(scalars(events))
    losses = [value for step, tag, value in values if tag == "train/loss"]
    assert losses == pytest.approx(finished.losses, rel=1e-6)  # they are fp32 there
    assert [step for step, tag, _ in values if tag == "speed/step_ms"] == list(range(1, 9))
    validation = [scalar for scalar in values if "validation" in scalar[1]]
    assert validation == [(2, "validation/prose", 2.5)]
    (text,) = [
        value.tensor.string_val[0].decode()
        for event in events_of(events)
        for value in event.summary.value
        if value.tag == "samples/1/text_summary"
    ]
    assert text == "    The\n\ngoes on with\n\n     cat\n    # sat\n\nloop, script"


def test_the_key_is_in_no_file(finished: ranks.Ended) -> None:
    files = [path for path in finished.folder.path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("double", "line"),
    [
        ("import time\nclass Settings:\n def __init__(self, **_): time.sleep(3600)\n", ""),
        ("def Settings(**_): raise RuntimeError('no\\nluck')\n", "wandb: RuntimeError: no luck\n"),
        ("raise SystemExit(3)\n", "wandb: SystemExit: 3\n"),
    ],
)
def test_a_tracker_in_trouble_changes_nothing(
    double: str, line: str, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "double").mkdir()
    (tmp_path / "double" / "wandb.py").write_text(double)
    path = os.pathsep.join([str(tmp_path / "double"), os.environ.get("PYTHONPATH", "")])
    offline = Tracking(wandb="offline")
    run = tracked(tmp_path / "run", cache, offline, PYTHONPATH=path, SLURM_JOB_ID="1", waits=False)
    assert run.codes == [0] and run.folder.result() is not None
    hangs = not line
    assert bool(trackers(run.folder.path)) or not hangs, "the rank has waited for its end"
    limits.until(lambda: list((run.folder.path / "tensorboard").glob("*")))
    if hangs:
        assert f"tracking: not done within {WAIT_SECONDS:g} s\n" in run.log()
        for process in trackers(run.folder.path):
            process.kill()
    wait_for_trackers(run.folder.path)
    assert tracker_log(run) == line


def test_a_server_that_refuses_is_one_line(tmp_path: Path, cache: Path) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        run = tracked(tmp_path / "run", cache, Tracking(), WANDB_MODE="", WANDB_BASE_URL=url)
        server.shutdown()
    assert run.codes == [0]
    (line,) = tracker_log(run).splitlines()
    assert line.startswith("wandb: offline: ") and KEY not in line
    assert sum(r.WhichOneof("record_type") == "history" for r in wandb_records(run)) == 8


def test_a_killed_run_keeps_its_steps(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "run"
    spec = ranks.spec(train__steps=10**6)
    followed(path, spec, Tracking(wandb="offline"))
    env = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    (rank,) = ranks.start(spec, path, cache, env=env, patch=PATIENT)
    folder = RunFolder(path)
    limits.until(lambda: len(folder.steps()) >= 5)
    rank.kill()
    rank.wait()
    wait_for_trackers(path)
    run = ranks.Ended(folder, [None])
    records = wandb_records(run)
    assert sum(r.WhichOneof("record_type") == "history" for r in records) == len(run.steps)
    assert [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"] == [1]


def test_a_continued_run_stays_one_run_and_forgets_what_it_does_again(
    tmp_path: Path, cache: Path
) -> None:
    first = tracked(tmp_path / "run", cache, Tracking(wandb="off"))
    name = tracking.read(first.folder)
    time.sleep(1)  # names of event files have seconds
    first.folder.next_attempt()
    second = tracked(tmp_path / "run", cache, Tracking(wandb="off", tags=("more",)))
    changed = tracking.read(second.folder)
    assert name and changed and (name.id, "more") == (changed.id, changed.tags[0])
    files = sorted((tmp_path / "run" / "tensorboard").iterdir())
    starts = [
        event.step for file in files for event in events_of(file) if event.HasField("session_log")
    ]
    assert len(files) == 2 and starts == [1, 1]
    assert not (tmp_path / "run" / "wandb").exists()


def test_nothing_is_started_where_nothing_is_wanted(tmp_path: Path, cache: Path) -> None:
    run = tracked(tmp_path / "run", cache, Tracking(tensorboard=False), WANDB_MODE="disabled")
    assert run.codes == [0]
    assert not (run.folder.logs / "tracking.txt").exists()


def followed(path: Path, spec: Any, settings: Tracking) -> None:
    """Write the files that the campaign writes before a tracked run starts."""
    folder = RunFolder(path)
    folder.create(spec)
    tracking.write(folder, settings, spec, spec.id)


def tracked(
    path: Path, cache: Path, settings: Tracking, waits: bool = True, patch: str = "", **env: str
) -> ranks.Ended:
    """Train for 8 steps, and wait for the end of the tracker."""
    spec = ranks.spec()
    followed(path, spec, settings)
    run = ranks.train(spec, path, cache, patch=PATIENT + patch, env={"WANDB_API_KEY": KEY, **env})
    if waits:
        wait_for_trackers(path)
    return run


def trackers(path: Path) -> list[psutil.Process]:
    """Processes of the trackers that follow a run."""
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("launcher.workers.tracking" in word for word in words) and str(path) in words:
            processes.append(process)
    return processes


def wait_for_trackers(path: Path) -> None:
    assert not psutil.wait_procs(trackers(path), timeout=limits.EVENT)[1]


def tracker_log(run: ranks.Ended) -> str:
    return (run.folder.logs / "tracking.txt").read_text()


def wandb_records(run: ranks.Ended) -> list[Any]:
    """Records of the one offline W&B run of a folder."""
    from wandb.proto import wandb_internal_pb2 as pb

    (path,) = (run.folder.path / "wandb").glob("offline-run-*/*.wandb")
    return [pb.Record.FromString(data) for data in leveldb_records(path.read_bytes()[7:], 7)]


def leveldb_records(data: bytes, skipped: int) -> Iterator[bytes]:
    """Records of a LevelDB log, whose blocks have 32 KiB, without its first ``skipped`` bytes."""
    record, offset = b"", 0
    while offset + 7 <= len(data):
        until_block_end = 32768 - (offset + skipped) % 32768
        if until_block_end < 7:
            offset += until_block_end
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        record += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield record
            record = b""


def events_of(path: Path) -> Iterator[Any]:
    """Events of a TensorBoard file: length, its checksum, data, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, offset = path.read_bytes(), 0
    while offset < len(data):
        (length,) = struct.unpack_from("<Q", data, offset)
        yield Event.FromString(data[offset + 12 : offset + 12 + length])
        offset += 16 + length


def scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    for event in events_of(path):
        for value in event.summary.value:
            yield event.step, value.tag, value.simple_value
