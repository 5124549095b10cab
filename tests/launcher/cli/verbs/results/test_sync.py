"""``launch sync``: the runs that it uploads and leaves alone, and its messages on failures.

Modules: launcher.cli.uploads, launcher.results.tracking, launcher.spec.tracking.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from launcher.errors import ConfigError
from launcher.results import tracking
from launcher.results.run_folder import RunFolder
from launcher.spec.tracking import Tracking
from tests.conftest import ROOT, command, spec

WANDB = """
import sys
from pathlib import Path
print("wandb: Syncing", *sys.argv)
for word in sys.argv[2:]:
    for file in Path(word).glob("*.wandb") if not word.startswith("-") else ():
        if "bad" in file.name:
            sys.exit("wandb: ERROR no such project")
        file.with_suffix(".wandb.synced").touch()
"""
"""Stands for wandb's command, which leaves the same mark."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server that answers every request."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_every_part_of_every_run_is_uploaded_once(tmp_path: Path, server: str) -> None:
    keep(tmp_path / "runs" / "a", "offline-run-2", "run-1")
    keep(tmp_path / "runs" / "b", "offline-run-1")
    keep(tmp_path / "runs" / "none")
    assert sync(tmp_path, "--dry-run") == (0, "to upload runs/a\nto upload runs/b\n", "")
    assert sync(tmp_path, url=server) == (0, "uploaded  runs/a\nuploaded  runs/b\n", "")
    assert sync(tmp_path, url=server) == (0, "nothing to upload\n", "")


def test_one_that_fails_keeps_no_other_away(tmp_path: Path, server: str) -> None:
    keep(tmp_path / "a", "offline-run-bad")
    keep(tmp_path / "b", "offline-run-1")
    lines = "failed    a: wandb: ERROR no such project\nuploaded  b\n"
    assert sync(tmp_path, url=server) == (1, lines, "")
    assert sync(tmp_path / "a", "--dry-run") == (0, "to upload .\n", "")


def test_a_run_that_is_written_is_left_alone(tmp_path: Path, server: str) -> None:
    keep(tmp_path / "a", "offline-run-1")
    with FileLock(tmp_path / "a" / "wandb" / ".lock"):
        assert sync(tmp_path, url=server) == (0, "running   a\n", "")


def test_what_is_missing_is_said_in_a_line(tmp_path: Path) -> None:
    assert sync(tmp_path / "no") == (2, "", f"launch: {tmp_path / 'no'} is not a folder\n")
    assert sync(tmp_path) == (2, "", f"launch: {tmp_path}: no runs below this folder\n")
    keep(tmp_path / "a", "offline-run-1")
    url = "http://127.0.0.1:9"
    assert sync(tmp_path, url=url) == (1, "", f"launch: {url} does not answer\n")
    key = f"launch: no key for {url}: wandb login, or set WANDB_API_KEY\n"
    assert sync(tmp_path, url=url, key="") == (2, "", key)
    absent = "launch: sync needs wandb on this machine: pip install 'megalaunch[train]'\n"
    assert sync(tmp_path, url=url, wandb="absent") == (2, "", absent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Tracking(project="a/b?"), "tracking.project: 'a/b?' holds / ?"),
        (Tracking(project=" "), "tracking.project: is empty"),
        (Tracking(project="x" * 129), "tracking.project: 129 characters, W&B takes 128"),
        (Tracking(tags=("x" * 65,)), "tracking.tags[0]: 65 characters, W&B takes 64"),
        (Tracking(tags=("a", "")), "tracking.tags[1]: is empty"),
    ],
)
def test_what_wandb_would_refuse_is_refused_before(settings: Tracking, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings.check()
    assert str(error.value) == message


def test_what_is_long_by_itself_is_cut(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / ("g" * 200) / "run")
    folder.create(spec())
    tracking.write(folder, Tracking(), spec(), "label " * 50)
    run = tracking.read(folder)
    assert run and len(run.group) == len(run.name) == 128
    assert run.name.endswith(f" ({spec().id})")


def test_the_key_of_wandb_login_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert not tracking.has_key(tracking.server())
    (tmp_path / "settings").write_text("[default]\nbase_url = https://w.example:8443\n")
    (tmp_path / "netrc").write_text("machine w.example:8443 login user password x\n")
    assert tracking.server() == "https://w.example:8443"
    assert tracking.has_key(tracking.server())
    assert not tracking.has_key("https://api.wandb.ai")


def keep(folder: Path, *parts: str) -> None:
    """Make the folder of a run with parts that wandb kept."""
    RunFolder(folder).create(spec())
    for part in parts:
        (folder / "wandb" / part).mkdir(parents=True)
        (folder / "wandb" / part / f"{part}.wandb").touch()


def sync(
    folder: Path, *words: str, url: str = "", key: str = "k", wandb: str = "wandb"
) -> tuple[int, str, str]:
    """Run it with wandb's command doubled, or absent."""
    double = folder.parent / f"{wandb}-double"
    (double / "wandb").mkdir(parents=True, exist_ok=True)
    (double / "wandb" / "__init__.py").touch()
    (double / "wandb" / "__main__.py").write_text(WANDB)
    words = tuple(command(["sync", str(folder), *words]))
    if wandb == "absent":
        hide = "import sys; sys.modules['wandb'] = None\n"
        words = (*words[:2], hide.strip() + "; " + words[2], *words[3:])
    env = {
        **os.environ,
        "PYTHONPATH": f"{double}{os.pathsep}{ROOT}",
        "WANDB_API_KEY": key,
        "WANDB_BASE_URL": url,
        "NETRC": os.devnull,
        "WANDB_MODE": "disabled",
    }
    process = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    return process.returncode, process.stdout, process.stderr
