"""The report: one file, nothing in it is taken for markup, and it says what the runs say.

Modules: analysis.report.facts, analysis.report.grid, analysis.report.markup, analysis.report.page,
analysis.report.parts, analysis.report.samples, analysis.report.sections,
launcher.cli.verbs.results.report.
"""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis import report
from analysis.report import Options, markup, parts
from analysis.report.samples import section
from launcher.cli import main
from launcher.results import imported, samples
from launcher.results.imported import Imported
from launcher.results.outcomes import Outcome
from launcher.results.record import Figures
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Answer, Sampled
from tests.analysis import made

OPTIONS = Options(title="made", price=2.0, commit="feed123", time=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep and a curriculum."""
    folder = tmp_path_factory.mktemp("made")
    made.sweep(folder / "grid", 60, cause=made.HOSTILE)
    made.curriculum(folder / "stages")
    return folder


def page(*paths: Path, options: Options = OPTIONS) -> str:
    return report.html(analysis.load(*paths), options)


def data(text: str, name: str) -> Any:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert match
    return json.loads(match[1])


def column(text: str, name: str) -> list[Any]:
    column = next(column for column in data(text, "points")["columns"] if column["name"] == name)
    texts = column.get("texts")
    return [None if v is None else texts[v] if texts else v for v in column["values"]]


def test_a_sweep_has_its_facts_and_charts(place: Path) -> None:
    text = page(place / "grid")
    assert "<h2>grid <small" in text and "Made 2026-01-02 00:00 UTC by megalaunch" in text
    assert "feed123" in text and "commit 0123abc" in text
    for title in (
        "Throughput against memory",
        "Effect of each axis",
        "Failures by cause",
        "Step time: predicted against measured",
        "Memory: predicted against measured",
        "Losses of all layouts on top of each other",
    ):
        assert f"<h3>{title}</h3>" in text
    assert "Spikes: the spike guard saw nothing" in text
    assert len(data(text, "charts")) == 7
    outcomes = column(text, "outcome")
    assert len(outcomes) == 60 and set(outcomes) == {"ok", "oom", "rejected"}


def test_a_curriculum_has_its_timeline_stages_and_samples(place: Path) -> None:
    text = page(place / "stages")
    for word in (
        "<h3>Timeline</h3>",
        "<h3>Spikes</h3>",
        "goodput",
        "1 of 2 texts",
        "flagged",
        "running",
        "digest of the code feed",
    ):
        assert word in text or word == "goodput"
    timeline = data(text, "charts")[0]["data"]
    assert {trace["name"] for trace in timeline} == {
        "ok",
        "running",
        "node",
        "fault",
        "spike",
        "rollback",
        "save failed",
        "update skipped",
    }


def test_several_have_contents_and_totals(place: Path) -> None:
    text = page(place)
    assert '<a href="#part-0">' in text and '<a href="#part-1">' in text
    assert "sweeps and runs" in text and "price" in text
    assert set(column(text, "sweep")) == {"grid", "stages"}


def test_a_price_that_is_unknown_is_not_shown(place: Path) -> None:
    assert "price" not in page(place / "grid", options=Options(title="made")).split("<script")[0]


def test_nothing_of_the_data_is_markup(place: Path) -> None:
    text = page(place, options=Options(title=made.HOSTILE))
    body = text.split("<style>")[1].split("</style>")[1]
    assert body.count("</script>") == 4
    assert "</script><b>" not in text and '<b>"quoted' not in text
    assert "\x1b" not in text
    text.encode()
    causes = {cause for cause in column(text, "cause") if cause}
    assert any("</script><b>" in cause for cause in causes)


def test_the_policy_allows_these_scripts_and_no_network(place: Path) -> None:
    text = page(place / "grid")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy and policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy[1].split("style-src")[0] and "http" not in policy[1]
    for script in re.findall(r"<script>(.*?)</script>", text, re.S):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    assert not re.search(r'(?:src|href)="(?!#|data:)', text.split("<script>")[0])


def test_twice_is_the_same(place: Path) -> None:
    assert page(place) == page(place)


def test_unknown_is_null_and_numbers_are_numbers(place: Path) -> None:
    text = page(place / "grid")
    speeds = column(text, "tokens_per_s")
    assert None in speeds and all(isinstance(v, int | float) for v in speeds if v is not None)
    frame = analysis.load(place / "grid").table()
    assert [v is None for v in speeds] == frame["tokens_per_s"].isna().tolist()


@pytest.mark.parametrize(
    ("sweeps", "called"),
    [
        (["/a/b/grid"], ["grid"]),
        (["/a/b/grid", "/a/c/grid"], ["b/grid", "c/grid"]),
        (["runs/grid", "runs/stages"], ["grid", "stages"]),
        (["/a/grid", "grid"], ["/a/grid", "grid"]),
        ([], []),
    ],
)
def test_sweeps_are_called_by_what_tells_them_apart(sweeps: list[str], called: list[str]) -> None:
    assert list(parts.short_sweeps(sweeps).values()) == called


def test_tags_escape() -> None:
    made_tag = markup.tag("p", "<b>", markup.Html("<i>"), None, _class='"x"', id=None)
    assert made_tag == '<p class="&quot;x&quot;">&lt;b&gt;<i></p>'
    assert markup.tag("input", type="text") == '<input type="text">'
    assert json.loads(markup.script_json({"a": "</script>&\udcff"})) == {"a": "</script>&\udcff"}


def sampled(folder: RunFolder, *flags: str) -> None:
    folder.samples.mkdir(parents=True)
    answer = Answer(prompt="Once", text=" upon", tokens=4, flags=flags)
    generated = Sampled(step=9, spec="x", seconds=1.0, prompts=(answer,), validation={})
    samples.write(generated, folder.sample_file(9))


def test_the_runs_with_flagged_texts_are_those_shown(tmp_path: Path) -> None:
    folders = [tmp_path / f"run-{number}" for number in range(9)]
    for number, folder in enumerate(folders):
        sampled(RunFolder(folder), *(["loop"] if number == 7 else []))
    text = section(map(str, folders))
    assert text and "1 of 9 texts" in text and "6 of 9 runs" in text
    assert re.findall(r"<td>(run-\d)</td>", text) == [f"run-{n}" for n in (7, 0, 1, 2, 3, 4)]


def foreign(folder: Path, outcome: Outcome = "cancelled", speed: float = 1000.0) -> Path:
    folder.mkdir(parents=True)
    figures = Figures(tokens_per_s=speed)
    imported.write(
        folder,
        Imported(
            format="megatron",
            source="log.txt",
            sha256=folder.name,
            outcome=outcome,
            cause="the log stops",
            figures=figures,
        ),
    )
    return folder


def test_runs_of_others_get_no_advice_of_this_project(tmp_path: Path) -> None:
    for number in range(3):
        foreign(tmp_path / "logs" / f"run-{number}", speed=1000.0 + number)
    (tmp_path / "logs" / "run-0" / "imported.json").write_text("{")
    text = page(tmp_path / "logs").split("<script")[0]
    assert '<small class="dim">imported runs</small>' in text and "unreadable" in text
    assert "the same command" not in text and "what to do" not in text
    assert "<dt>fastest run</dt><dd>1,002 tokens/s" in text and "outcome cancelled" in text
    alone = page(tmp_path / "logs" / "run-1").split("<script")[0]
    assert '<small class="dim">imported run</small>' in alone and "1,001 tokens/s" in alone


def test_own_failures_keep_their_advice_beside_runs_of_others(place: Path, tmp_path: Path) -> None:
    grid = made.sweep(tmp_path / "grid", 20)
    foreign(grid / "other", "oom")
    text = page(grid).split("<script")[0]
    assert "what to do" in text and "retry=[oom]" in text and "imported runs" not in text


def test_runs_of_two_sweeps_of_one_name_are_two_parts(tmp_path: Path) -> None:
    grids = [made.sweep(tmp_path / name / "grid", 2) for name in "ab"]
    first, second = (
        next(path for path in sorted(grid.iterdir()) if path.is_dir()) for grid in grids
    )
    text = page(first, second)
    assert "<h2>a/grid <small" in text and "<h2>b/grid <small" in text


def test_a_report_from_inside_a_run_has_titles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = made.sweep(tmp_path / "grid", 1)
    (run,) = (path for path in grid.iterdir() if path.is_dir())
    monkeypatch.chdir(run)
    assert main(["report", "."]) == 0
    text = (run / f"{run.name}-report.html").read_text()
    assert f"<h1>{run.name}</h1>" in text and "<h2>grid <small" in text


def test_what_no_screen_shows_is_escaped_but_lines_stay() -> None:
    assert markup.clean("a\n\tb\x1b\udcff") == "a\n\tb\\x1b\\udcff"


def test_an_empty_table_is_a_page() -> None:
    class Nothing:
        notes = ("nothing here",)

        def table(self, unfinished: bool) -> pd.DataFrame:
            return analysis_frame()

        def steps(self) -> pd.DataFrame:
            return pd.DataFrame(columns=["folder", "sweep", "tokens", "step", "loss"])

        events = attempts = steps

    assert "nothing here" in report.html(Nothing(), OPTIONS)  # type: ignore[arg-type]


def analysis_frame() -> pd.DataFrame:
    from analysis import table

    return table.frame([])


def test_the_verb_writes_a_file_and_says_where(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(place / "grid")]) == 0
    output = capsys.readouterr().out
    size = (tmp_path / "grid-report.html").stat().st_size
    assert output == f"grid-report.html  {size / 1e6:.1f} MB\n" and 4e6 < size < 6e6
    assert main(["report", str(place / "grid"), str(place / "stages"), "--price", "2"]) == 0
    assert (tmp_path / "report.html").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "launch: nowhere is not a folder"),
        (["."], "launch: .: no runs below this folder"),
        ([".", "-o", "no/x.html"], "launch: --output: no folder no to write x.html in"),
        ([".", "-o", "x.pdf"], "launch: --output: a report is HTML: x.pdf does not end in .html"),
        ([".", "-o", "x"], "launch: --output: a report is HTML: x does not end in .html"),
        ([".", "-o", "."], "launch: --output: . is a folder"),
        ([".", "--price", "nan"], "launch: --price: nan is no price"),
        ([".", "--price", "-1"], "launch: --price: -1 is no price"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    assert capsys.readouterr().err.strip() == message


def test_the_best_is_that_of_the_goal_of_its_sweep(tmp_path: Path) -> None:
    place = made.sweep(tmp_path / "grid", 12)
    rows = analysis.load(place).table()
    ok = rows[rows["outcome"] == "ok"]
    assert ok["step_ms_p50"].nunique() > 1
    assert "fastest layout" in page(place) and "best step_ms_p50" not in page(place)
    words = {"overrides": [], "folder": str(tmp_path), "goal": "step_ms_p50"}
    (place / "request.json").write_text(json.dumps(words))
    text = page(place)
    assert "best step_ms_p50" in text and "fastest layout" not in text
    assert f"step_ms {ok['step_ms_p50'].min():,.1f}" in text
