"""Completion in real shells, at a terminal: what TAB makes of a line.

Modules: launcher.cli.completion.
"""

import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.cli import completion, main
from tests.conftest import ROOT, command

READY, BEGIN, END = b"ready> ", b"\1", b"\2"
"""Prompt of the shells, and the marks around the line that Ctrl-T prints."""

STARTS: dict[str, tuple[list[str], str]] = {
    "bash": (["bash", "--noprofile", "--rcfile", ".zshrc", "-i"], r"""
        eval "$(launch --completion bash)"
        PS1='ready> '
        bind -x '"\C-t": printf "\1%s\2" "$READLINE_LINE"'
    """),
    "zsh": (["zsh", "-i"], r"""
        eval "$(launch --completion zsh)"
        PS1='ready> '
        show() { printf '\1%s\2' "$BUFFER" }
        zle -N show
        bindkey '^T' show
    """),
    "fish": (["fish", "--no-config", "-i", "-C", "source .zshrc"], r"""
        launch --completion fish | source
        function fish_prompt; printf 'ready> '; end
        bind \ct 'printf "\1%s\2" (commandline)'
    """),
}  # fmt: skip
"""Words that start a shell, and the file that it reads first."""

Tab = Callable[[str, str], str]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Type a line and TAB in a shell; return the line that this leaves. Each shell starts once."""
    folder = tmp_path_factory.mktemp("shells")
    (folder / "launch").write_text(f'#!/bin/sh\nexec {shlex.join(command(()))} "$@"\n')
    (folder / "launch").chmod(0o755)
    for name in ("runs/mine", "own/model"):
        (folder / name).mkdir(parents=True)
    for name in ("runs.txt", "my sheet.csv", "own/model/mine.yaml"):
        (folder / name).touch()
    shells: dict[str, tuple[int, int]] = {}

    def press(shell: str, line: str) -> str:
        if shutil.which(shell) is None:
            message = f"no {shell} here: make shells"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
        if shell not in shells:
            shells[shell] = _start(shell, folder)
        _, terminal = shells[shell]
        os.write(terminal, f"{line}\t\x14\x15".encode())  # Ctrl-T, and Ctrl-U empties the line
        return _read(terminal, END).rpartition(BEGIN)[2].removesuffix(END).decode()

    yield press
    for child, terminal in shells.values():
        os.close(terminal)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _start(shell: str, folder: Path) -> tuple[int, int]:
    """Start a shell that is ready for a line; return its process and its terminal."""
    words, start = STARTS[shell]
    (folder / ".zshrc").write_text(start)
    variables = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "ZDOTDIR": str(folder),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(words[0], words, {**os.environ, **variables})
    _read(terminal, READY)
    return child, terminal


def _read(terminal: int, end: bytes) -> bytes:
    """Read what a shell prints until it has printed ``end``; the test's own limit ends a hang."""
    printed = b""
    while end not in printed:
        printed += os.read(terminal, 4096)
    return printed[: printed.index(end) + len(end)]


LINES: list[tuple[str, str]] = [
    ("launch pla", "launch plan "),
    ("./launch plan --exp", "./launch plan --explain "),
    ("FLAG=1 launch layout.z", "FLAG=1 launch layout.zero="),
    ("true && launch backend=m", "true && launch backend=megatron "),
    ("launch -m backend=megatron,d", "launch -m backend=megatron,deepspeed "),
    ("launch plan --format=c", "launch plan --format=csv "),
    ("launch --config-dir own model=min", "launch --config-dir own model=mine "),
    ("launch --config-dir=own model=min", "launch --config-dir=own model=mine "),
    (
        "launch 'sweep.axes.layout.recompute=[none,f",
        "launch 'sweep.axes.layout.recompute=[none,full",
    ),
    ("launch table run", "launch table runs/"),
    ("launch output=run", "launch output=runs/"),
    ("launch replay my", r"launch replay my\ sheet.csv "),
    ("launch --config=runs.", "launch --config=runs.txt "),
    ("launch xyzzy", "launch xyzzy"),
    ("launch data.blend={bundled/prose:0.5,bun", "launch data.blend={bundled/prose:0.5,bun"),
]


@pytest.mark.parametrize("shell", completion.SHELLS)
@pytest.mark.parametrize(("line", "expected"), LINES)
def test_tab(shell: str, line: str, expected: str, tab: Tab) -> None:
    completed = tab(shell, line)
    if "'" in line:  # which bash and fish close, and zsh does not
        completed = completed.rstrip("' ")
    assert completed == expected


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_is_that_of_the_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for words in ([f"--completion={shell}"], ["--completion", shell]):
        assert main(words) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and f"--complete {shell} " in printed[0]


WRONG: list[tuple[list[str], str]] = [
    (["--completion", "tcsh"], "--completion: no 'tcsh'; known: bash, fish, zsh"),
    (["--completion=fihs"], "--completion: no 'fihs'; did you mean 'fish'?"),
    (["--completion"], "--completion: give one of bash, zsh, fish"),
    (["--completion", "bash", "plan"], "--completion: stands alone with its shell, got 'plan' too"),
    (["layout.tp=2", "--completion", "bash"], "--completion: stands alone with its shell"),
    (["--complete"], "--complete: give one of bash, zsh, fish"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_request(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"launch: {message}\n")


@pytest.mark.parametrize(
    "words", [["--complete", "zsh", "model="], ["--complete", "bash", "", "launch "], ["--completion", "zsh"]]
)  # fmt: skip
def test_a_key_press_waits_for_the_standard_library_alone(words: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-X", "importtime", *command(words)[1:]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in process.stderr.splitlines()}
    ours = {name for name in imported if name.split(".")[0] == "launcher"}
    assert ours <= {
        "launcher",
        "launcher.cli",
        "launcher.cli.completion",
        "launcher.cli.completion.candidates",
        "launcher.errors",
    }
    assert not imported & {"argparse", "dataclasses", "yaml", "omegaconf", "hydra", "numpy"}
