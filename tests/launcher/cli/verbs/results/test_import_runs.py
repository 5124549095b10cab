"""`launch import`: the folders of the runs, its lines about them, and its refusals."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from launcher import cli
from launcher.results import imported
from tests.conftest import ROOT

LOGS = ROOT / "tests" / "data" / "foreign_logs"
LOG = LOGS / "megatron_lm_cancelled.txt"
CANCELLED = (
    "megatron, 4 steps logged (10 to 40 of 1000), cancelled: JOB 1809579 ON r8i3n1 CANCELLED AT"
    " 2021-05-23T08:45:57 (0 lines unread)"
)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def launch(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str], str]:
    code = cli.main(["import", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = launch(capsys, LOG)
    assert (code, lines) == (
        0,
        [
            f"megatron_lm_cancelled.txt: {CANCELLED} -> runs/imported/megatron_lm_cancelled",
            "look at them: launch table runs/imported",
        ],
    )
    folder = Path("runs/imported/megatron_lm_cancelled")
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [10, 20, 30, 40]
    assert imported.read(folder).source == LOG.name
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


def test_again_it_is_there_already(capsys: pytest.CaptureFixture[str]) -> None:
    launch(capsys, LOG)
    first = Path("runs/imported/megatron_lm_cancelled/imported.json").stat().st_mtime_ns
    code, lines, _ = launch(capsys, LOG)
    assert lines[0] == (
        "megatron_lm_cancelled.txt: already there -> runs/imported/megatron_lm_cancelled"
    )
    second = Path("runs/imported/megatron_lm_cancelled/imported.json").stat().st_mtime_ns
    assert (code, second) == (0, first)
    assert "(instead of what was there)" in launch(capsys, LOG, "--again")[1][0]


def test_a_log_that_has_grown_replaces_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("run.log")
    text = LOG.read_text()
    log.write_text(text[: text.index(" iteration       40/")])
    launch(capsys, log)
    Path("runs/imported/run/stale").touch()
    log.write_text(text)
    _, lines, _ = launch(capsys, log)
    assert lines[0] == f"run.log: {CANCELLED} -> runs/imported/run (instead of what was there)"
    assert sorted(path.name for path in Path("runs/imported/run").iterdir()) == [
        "imported.json",
        "metrics.jsonl",
    ]


def test_other_logs_of_the_same_name_keep_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for name, log in (("a", LOG), ("b", LOGS / "huggingface_done.txt")):
        Path(name).mkdir()
        shutil.copy(log, f"{name}/run.log")
    Path("out/run").mkdir(parents=True)  # somebody else's
    _, lines, _ = launch(capsys, "a/run.log", "b/run.log", "-o", "out")
    assert [line.split(" -> ")[1] for line in lines[:2]] == ["out/run-2", "out/run-3"]
    assert list(Path("out/run").iterdir()) == []
    assert launch(capsys, "b/run.log", "-o", "out")[1][0] == "run.log: already there -> out/run-3"


def test_a_sheet(capsys: pytest.CaptureFixture[str]) -> None:
    grid = ROOT / "tests" / "data" / "tanuki_phase1_grid.csv"
    code, lines, _ = launch(capsys, grid, "-o", "out")
    assert (code, lines[0]) == (
        0,
        "tanuki_phase1_grid.csv: sheet, 64 rows: 37 ok, 21 oom, 4 assertion, 2 hang"
        " -> out/tanuki_phase1_grid",
    )
    folders = sorted(path.name for path in Path("out/tanuki_phase1_grid").iterdir())
    assert (folders[0], folders[-1], len(folders)) == ("row-0001", "row-0064", 64)
    row = imported.read(Path("out/tanuki_phase1_grid/row-0002"))
    assert (row.outcome, row.known.zero) == ("oom", 0)
    assert "already there" in launch(capsys, grid, "-o", "out")[1][0]


def test_one_that_cannot_be_read_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("notes.txt").write_text("hello\n")
    code, lines, err = launch(capsys, "notes.txt", LOG)
    assert code == 1 and lines[0].startswith("megatron_lm_cancelled.txt: megatron, 4 steps")
    assert err.startswith("launch: notes.txt: no log of a known kind: looked for 'iteration")
    assert err.count("\n") == 1


def test_one_that_is_missing_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = launch(capsys, "none.log", LOG)
    assert (code, err) == (1, "launch: none.log: no such file\n")
    assert lines[0].startswith("megatron_lm_cancelled.txt: megatron, 4 steps")


def test_one_with_an_impossible_number_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.csv").write_text("gpus,tp\n8,2\n")

    def read(_: object) -> None:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr("launcher.foreign.sheet.read", read)
    code, lines, err = launch(capsys, "a.csv", LOG)
    assert code == 1 and lines[0].startswith("megatron_lm_cancelled.txt: megatron, 4 steps")
    assert err == "launch: a.csv: cannot be read: cannot convert float infinity to integer\n"


def test_lines_that_cannot_be_read_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.log").write_text(f"{LOG.read_text()} iteration 50/ 1o0 | lm loss: 3 |\n")
    assert launch(capsys, "run.log")[1][0].endswith(
        "(1 step line unread, the first: 'iteration 50/ 1o0 | lm loss: 3 |') -> runs/imported/run"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.log"], "launch: none.log: no such file\n"),
        (["none.log", "a", "b"], "launch: none.log: no such file (nor any of the 2 others)\n"),
        (
            [str(LOG), "--log-format", "megatrn"],
            "launch: --log-format: no format 'megatrn'; did you mean 'megatron'?\n",
        ),
        (
            [str(LOG), "--format", "nemo"],
            "launch: argument --format: 'nemo' is a format of logs: --log-format nemo\n",
        ),
        ([], "launch: the following arguments are required: LOG\n"),
    ],
)
def test_wrong_requests(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(capsys, *words) == (2, [], message)
    assert not Path("runs").exists()


def test_a_card_without_known_peaks(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = launch(capsys, LOG, "--hardware", "V100")
    assert code == 2 and err.startswith("launch: --hardware: the peaks of 'V100' are not known;")


def test_a_format_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = launch(capsys, LOG, "--log-format", "nemo")
    assert (code, lines) == (1, [])
    assert err.startswith(f"launch: {LOG}: no log of a known kind: looked for 'Training epoch")


def test_a_sheet_says_what_of_it_was_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("gpus,tp,mood\n8,two,good\n")
    _, lines, _ = launch(capsys, "a.csv")
    assert lines[1:3] == ["  not read: mood", "  row 1: tp 'two' is no number"]


def test_options_of_a_source_that_is_there_already(capsys: pytest.CaptureFixture[str]) -> None:
    launch(capsys, LOG)
    for words in (("--log-format", "megatron"), ("--hardware", "a100")):
        assert launch(capsys, LOG, *words)[1][0].endswith(
            "already there -> runs/imported/megatron_lm_cancelled (--again reads it with these options)"
        )


def split_by_rank(folder: Path) -> None:
    """Write the arguments of the log to one file, its steps to another, and its end to a third."""
    text = LOG.read_text()
    first, end = text.index(" iteration       10/"), text.index("slurmstepd")
    folder.mkdir(parents=True)
    (folder / "rank_0.log").write_text(text[:first])
    (folder / "rank_15.log").write_text(text[first:end])
    (folder / "slurm.err").write_text(text[end:])


def test_a_folder_of_logs_is_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    split_by_rank(Path("logs/run_7"))
    _, lines, _ = launch(capsys, "logs/run_7")
    assert lines[0] == f"run_7: {CANCELLED} -> runs/imported/run_7"
    assert imported.read(Path("runs/imported/run_7")).known.tp == 4
    _, lines, _ = launch(capsys, "logs/run_7/")
    assert lines[0] == "run_7: already there -> runs/imported/run_7"
    with Path("logs/run_7/slurm.err").open("a") as err:
        err.write("bye\n")
    _, lines, _ = launch(capsys, "logs/run_7")
    assert lines[0] == f"run_7: {CANCELLED} -> runs/imported/run_7 (instead of what was there)"


def test_a_folder_of_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    split_by_rank(Path("logs/first"))
    shutil.copy(LOGS / "huggingface_done.txt", "logs/second.log")
    code, lines, _ = launch(capsys, "logs")
    assert [line.split(" -> ")[-1] for line in lines[:2]] == [
        "runs/imported/first",
        "runs/imported/second",
    ]
    assert (code, len(lines)) == (0, 3)
    assert [line.split(":")[1] for line in launch(capsys, "logs")[1][:2]] == [
        " already there -> runs/imported/first",
        " already there -> runs/imported/second",
    ]


def test_files_that_say_that_they_are_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    split_by_rank(Path("logs"))
    Path("logs/slurm.err").unlink()
    words = ("logs/rank_15.log", "logs/rank_0.log")
    _, lines, _ = launch(capsys, *words)
    assert lines[0].startswith(
        "rank_0.log + rank_15.log: megatron, 4 steps logged (10 to 40 of 1000)"
    )
    assert lines[0].endswith(" -> runs/imported/rank_0")
    assert "rank_0.log + rank_15.log: already there" in launch(capsys, *words)[1][0]
    assert imported.read(Path("runs/imported/rank_0")).known.tp == 4


def test_two_logs_stay_two_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.log", "b.log"):
        shutil.copy(LOG, name)
    Path("b.log").write_text(LOG.read_text() + "bye\n")
    _, lines, _ = launch(capsys, "a.log", "b.log")
    assert [line.split(" -> ")[1] for line in lines[:2]] == ["runs/imported/a", "runs/imported/b"]


def test_a_compressed_log(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.log.gz").write_bytes(gzip.compress(LOG.read_bytes()))
    assert launch(capsys, "run.log.gz")[1][0] == f"run.log.gz: {CANCELLED} -> runs/imported/run"


def test_a_folder_without_logs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("some").mkdir()
    Path("some/notes.txt").write_text("hello\n")
    code, _, err = launch(capsys, "some")
    assert code == 1 and err.startswith("launch: some: no log of a known kind: looked for")
    assert err.count("\n") == 1
