"""Statements of the documentation that must be true."""

import re
import runpy
from pathlib import Path

import pytest

from launcher.cli import main, registry
from launcher.results.outcomes import OUTCOMES
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(
        r"`((?:launcher|tests|conf|analysis|sweeps)/[\w/.]*)`", page.read_text()
    ):
        assert (ROOT / name).exists(), name


def test_the_table_of_flops_is_what_its_command_prints() -> None:
    table = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "flops.py"))["table"]()
    assert table in (ROOT / "docs" / "flops.md").read_text()


def test_the_list_of_keys_is_what_its_command_prints() -> None:
    tables = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "keys.py"))["tables"]()
    assert tables in (ROOT / "docs" / "keys.md").read_text()


def test_every_outcome_is_explained() -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text()
    assert not [outcome for outcome in OUTCOMES if f"`{outcome}`" not in text]


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"launch {verb} " in text for verb in registry.VERBS)
