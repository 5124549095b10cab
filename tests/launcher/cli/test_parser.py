"""Options that the verbs share, and the table that these print.

Modules: launcher.cli.parser, launcher.cli.output.
"""

from pathlib import Path

import pytest

from launcher.cli.output import print_rows
from launcher.cli.parser import add_override_options, add_table_options, new_parser, parse
from launcher.errors import RequestError

FORMATS: list[tuple[list[str], str]] = [
    ([], "table"),
    (["-o", "a.csv"], "csv"),
    (["-o", "a.tex"], "latex"),
    (["-o", "a.txt"], "table"),
    (["-o", "a"], "table"),
    (["-o", "a.csv", "--format", "json"], "json"),
]


@pytest.mark.parametrize(("words", "expected"), FORMATS)
def test_the_format_of_a_table(words: list[str], expected: str) -> None:
    parser = new_parser("x", "")
    add_table_options(parser)
    assert parse(parser, words).format == expected


WRONG: list[tuple[list[str], str]] = [
    (["-o", "a.xml"], "--output: .xml is no form of a table; known: "),
    (["a=1", "table"], "'table' is a verb, which comes first"),
    (["--no"], "unrecognized arguments: --no"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_word_is_a_request_error(words: list[str], message: str) -> None:
    parser = new_parser("x", "")
    add_override_options(parser)
    add_table_options(parser)
    with pytest.raises(RequestError) as error:
        parse(parser, words)
    assert str(error.value).startswith(message)


def test_rows_go_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = new_parser("x", "")
    add_table_options(parser)
    path = tmp_path / "a.csv"
    print_rows([{"n": 1}, {"n": 2}], parse(parser, ["-o", str(path), "--sort=-n"]))
    assert (path.read_text().split(), capsys.readouterr().out) == (["n", "2", "1"], "")
