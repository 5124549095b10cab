"""`launch` itself: its exit codes, its verbs, and its help.

Modules: launcher.cli, launcher.cli.registry, launcher.cli.verb, launcher.cli.overview.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from launcher import cli
from launcher.cli import registry
from launcher.cli.overview import request_fields
from launcher.errors import RequestError, WorkError
from launcher.request.request import Request
from tests import limits
from tests.conftest import command

ENDS: list[tuple[BaseException | int, int, str]] = [
    (0, 0, ""),
    (1, 1, ""),
    (WorkError("no room"), 1, "launch: no room\n"),
    (RequestError("no such key"), 2, "launch: no such key\n"),
    (KeyboardInterrupt(), 1, "launch: stopped\n"),
]


@pytest.mark.parametrize(("end", "code", "message"), ENDS)
def test_exit_codes(
    end: BaseException | int,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(words: Sequence[str]) -> int:
        assert list(words) == ["DIR"]
        if isinstance(end, int):
            return end
        raise end

    monkeypatch.setitem(registry.VERBS, "status", replace(registry.VERBS["status"], run=run))
    assert cli.main(["status", "DIR"]) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tabel", "'tabel' is neither a verb nor KEY=VALUE; did you mean 'table'?"),
        ("xyzzy", "'xyzzy' is neither a verb nor KEY=VALUE"),
    ],
)
def test_an_unknown_verb(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    assert capsys.readouterr().err == f"launch: {message}\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    process = subprocess.Popen(
        command(["replay", "--help"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert (process.stderr.read(), process.wait(limits.COMMAND)) == ("", 0)
    process.stderr.close()


def test_the_help_names_every_field_of_a_request() -> None:
    assert request_fields() == [field.name for field in fields(Request)]
