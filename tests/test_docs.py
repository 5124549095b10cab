"""Statements of the documentation that must be true."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml

from launcher.cli import main, registry
from launcher.cli.schemas import schema_of
from launcher.results.outcomes import OUTCOMES
from tests.analysis import made
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "skills").rglob("*.md"),
]


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


SKILL = ROOT / "skills" / "megalaunch" / "SKILL.md"
COMMANDS = [
    shlex.split(line.split(" > ")[0])[1:]
    for line in SKILL.read_text().splitlines()
    if line.startswith("launch ")
]


def test_a_skill_has_a_name_and_a_description_of_the_length_that_assistants_take() -> None:
    _, head, body = SKILL.read_text().split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["name"] == SKILL.parent.name and 0 < len(front["description"]) <= 1024
    assert len(body.splitlines()) < 200


def test_a_skill_says_what_to_do_with_each_outcome() -> None:
    first_cells = re.findall(r"^\| (`.*?`) \|", SKILL.read_text(), re.MULTILINE)
    outcomes = re.findall(r"`(\w+)`", " ".join(first_cells))
    assert sorted(outcomes) == sorted([*OUTCOMES, "unreadable"])


def test_a_skill_names_keys_that_there_are() -> None:
    table, top = schema_of("table")["items"]["properties"], schema_of("top")["properties"]
    options = {"time_limit", "hang_after", "max_attempts", "max_hangs", "price_per_gpu_hour"}
    named = set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", SKILL.read_text()))
    plan = schema_of("plan")["anyOf"][0]["items"]["properties"]
    assert named <= {*table, *top, *plan} | options


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_commands_of_a_skill_are_accepted(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What would train is planned; what reads a folder has one of runs that nobody trained."""
    monkeypatch.chdir(tmp_path)
    grid = made.sweep(Path("runs/parallelism_grid"), 8)
    assert main(["best", str(grid), "-o", "best.yaml"]) == 0
    trains = words[0] not in registry.VERBS
    assert main(["plan", *words] if trains else words) == 0, capsys.readouterr().err


def test_the_commands_of_a_skill_are_its_five() -> None:
    assert [words[0] for words in COMMANDS] == [
        "plan", "sweep=parallelism_grid", "top", "table", "best", "--config"
    ]  # fmt: skip
