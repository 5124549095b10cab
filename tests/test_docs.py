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
from launcher.results.record import Prediction
from tests.analysis import made
from tests.conftest import ROOT
from tests.gpu import first_contact
from tests.launcher.sheets import made_records

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


SLURM = (ROOT / "docs" / "slurm.md").read_text()
_, _, HOUR = SLURM.partition("\n## Your first hour on H100 nodes\n")
HOUR, _, _ = HOUR.partition("\n## ")
BLOCKS = re.findall(r"^ +```\n(.*?)^ +```$", HOUR, re.MULTILINE | re.DOTALL)
LINES = [line.strip() for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("launch ")])
def test_the_commands_of_a_first_hour_are_accepted(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would train, or ask SLURM, is planned on the cluster that the page describes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "cluster").mkdir(parents=True)
    mine = re.search(r"```yaml\n(# @package _global_\n.*?)```", SLURM, re.DOTALL)
    assert mine is not None
    (tmp_path / "conf" / "cluster" / "mine.yaml").write_text(mine[1])
    runs = made_records.measured(made_records.specs())
    (tmp_path / "shared" / "contact").mkdir(parents=True)
    made_records.written(tmp_path / "shared" / "contact" / "first_contact.json", runs)
    for name in ("parallelism_grid", "single"):
        folder = made.sweep(Path("runs") / name, 8)
        assert main(["best", str(folder), "-o", str(folder / "best.yaml")]) == 0
        made_records.written(folder / "records.jsonl", runs)
    verb, *words = shlex.split(line.replace("/shared/", "shared/"))[1:]
    if verb in ("check", "submit"):
        words = [word for word in words if word != "--dry-run"]
        verb = "plan"
    elif verb not in registry.VERBS:
        verb, words = "plan", [verb, *words]
    capsys.readouterr()
    assert main([verb, *words]) == 0, capsys.readouterr().err


def test_the_script_of_a_first_hour_has_these_options() -> None:
    script = "tests/gpu/first_contact.sh"
    (line,) = [line for line in LINES if script in line]
    usage = next(text for text in (ROOT / script).read_text().splitlines() if "usage: " in text)
    options = re.findall(r"--[a-z]+", line.partition(script)[2])
    assert options and all(option in usage for option in options)
    assert "--python" in HOUR and "--python" in usage


def test_a_first_hour_names_outcomes_columns_and_keys_that_there_are() -> None:
    table = schema_of("table")["items"]["properties"]
    (spec, *_) = made_records.specs()
    row = first_contact.layout(1, spec, None, Prediction())
    named = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", HOUR))
    others = {"allreduce_gb_s", "network_gb_s", "time_limit"}
    assert named <= {*table, *row} | others, named - {*table, *row} - others
