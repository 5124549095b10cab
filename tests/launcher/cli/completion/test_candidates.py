"""Candidates for the word at the cursor, and the file of what there is to complete.

Modules: launcher.cli.completion.candidates.
"""

import json
import re
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.cli.completion import candidates
from launcher.decode import decode, field_at
from launcher.request.compose import GROUPS
from launcher.request.request import Request
from tests import vocabulary
from tests.conftest import ROOT

LAYOUT = (
    "tp pp vpp cp ep sequence_parallel zero micro_batch recompute offload overlap_p2p dispatcher"
    " recompute_modules recompute_layers recompute_method pipeline"
)
RECOMPUTE = ["none", "selective", "full"]
FORMATS = ["table", "csv", "json", "md", "latex", "html", "parquet"]

EXACT: list[tuple[str, list[str]]] = [
    # verbs, first alone
    ("pla", ["plan"]),
    ("re", ["replay", "resume", "report", "retry="]),
    ("layout.tp=1 pla", []),
    ("plan pla", []),
    ("xyzzy", []),
    # options of the verb
    ("plan --f", ["--format", "--fit"]),
    ("submit --d", ["--dry-run"]),
    ("--d", []),
    ("top --", ["--help", "--once", "--every", "--format", "--schema"]),
    ("plan --format ", FORMATS),
    ("plan --format=", [f"--format={name}" for name in FORMATS]),
    ("plan --format csv,", []),
    ("import --log-format a", ["auto", "automodel"]),
    ("import --format ", ["text", "json"]),
    ("replay --strategy b", ["best_first"]),
    ("table --sort mem_mi", ["mem_min_gib"]),
    ("table --sort=-mem_mi", ["--sort=-mem_min_gib"]),
    ("best --by tfl", ["tflops_per_gpu"]),
    ("spikes --set wi", ["window="]),
    ("sample --step ", []),
    ("--completion ", ["bash", "zsh", "fish"]),
    # keys, a level at a time
    ("lay", ["layout=", "layout."]),
    ("layout.", [f"layout.{name}=" for name in LAYOUT.split()]),
    ("plan --all -m layout.t", ["layout.tp="]),
    ("train.o", ["train.optimizer."]),
    ("train.optimizer.l", ["train.optimizer.lr="]),
    ("scheduler.co", ["scheduler.constraint=", "scheduler.container=", "scheduler.container."]),
    (
        "sweep.axes.layout.re",
        [f"sweep.axes.layout.{name}=" for name in LAYOUT.split() if name.startswith("re")],
    ),
    ("sweep.axes.st", []),
    ("train.sp", ["train.spike_guard=", "train.spike_guard."]),
    ("+train.spike_guard.wi", ["+train.spike_guard.window="]),
    ("++det", ["++detach="]),
    ("~det", ["~detach"]),
    ("layout.xyzzy.", []),
    ("resume runs/a name", ["name="]),
    # stages, whose names are the user's
    ("curriculum.stages.", []),
    (
        "curriculum=tanuki curriculum.stages.",
        [f"curriculum.stages.{name}." for name in ("web", "synthetic", "specialised")],
    ),
    ("curriculum.stages.any.tok", ["curriculum.stages.any.tokens="]),
    ("curriculum.stages.any.layout.of", ["curriculum.stages.any.layout.offload="]),
    (
        "curriculum.stages.any.layout.offload=",
        [f"curriculum.stages.any.layout.offload={value}" for value in ("true", "false")],
    ),
    # values
    ("backend=", ["backend=megatron", "backend=deepspeed"]),
    ("layout.recompute=", [f"layout.recompute={value}" for value in RECOMPUTE]),
    ("layout.sequence_parallel=n", ["layout.sequence_parallel=null"]),
    ("+layout.zero=2", ["+layout.zero=2"]),
    ("sweep.strategy=ha", ["sweep.strategy=halving"]),
    ("sweep.goal=loss_l", ["sweep.goal=loss_last"]),
    ("scheduler.name=", ["scheduler.name=local", "scheduler.name=slurm"]),
    ("layout.tp=", []),
    ("xyzzy=", []),
    ("sweep=par", ["sweep=parallelism_grid"]),
    ("train=", ["train=pretrain", "train=probe", "train=staged"]),
    # several values
    ("-m layout.zero=0,1,", ["layout.zero=0,1,2", "layout.zero=0,1,3"]),
    ("-m backend=megatron,d", ["backend=megatron,deepspeed"]),
    ("-m model=llama_7b,llama_1", ["model=llama_7b,llama_13b", "model=llama_7b,llama_1b"]),
    ("retry=ha", []),
    ("retry=[ha", ["retry=[hang"]),
    ("retry=[oom,ha", ["retry=[oom,hang"]),
    ("retry=[oom,hang]", []),
    ("sweep.axes.layout.offload=", [f"sweep.axes.layout.offload=[{v}" for v in ("true", "false")]),
    ("sweep.axes.model=[tiny,tanuki_4", ["sweep.axes.model=[tiny,tanuki_47b"]),
    ("backend=[meg", []),
    ("backend={a,meg", []),
    ("data.blend={bundled/prose:0.5,bun", []),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), EXACT)
def test_candidates(line: str, expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--complete", "zsh", *line.split(" ")]) == 0
    assert capsys.readouterr().out.rstrip("\n").split("\n")[2:] == expected


def test_the_first_word_may_be_a_verb_or_a_key() -> None:
    words = candidates.complete([], "").candidates
    assert {"plan", "table", "model=", "model.", "backend=", "sweep="} <= {*words}
    assert not [word for word in words if word.startswith("-") or not word]


PATHS: list[tuple[str, tuple[str, str]]] = [
    ("table ", ("directories", "")),
    ("table a b", ("directories", "")),
    ("cancel a", ("directories", "")),
    ("cancel a b", ("", "")),
    ("resume a", ("directories", "")),
    ("resume a b", ("", "")),
    ("replay ", ("files", "")),
    ("spikes a", ("files", "")),
    ("import --again a.out b", ("files", "")),
    ("import -o ", ("directories", "")),
    ("plan --config ", ("files", "")),
    ("plan --config=a", ("files", "--config=")),
    ("--config-dir a", ("directories", "")),
    ("plan --runs ", ("files", "")),
    ("output=", ("directories", "output=")),
    ("data.tokenizer=/", ("files", "data.tokenizer=")),
    ("layout.tp=", ("", "layout.tp=")),
]


@pytest.mark.parametrize(("line", "expected"), PATHS)
def test_paths_are_left_to_the_shell(line: str, expected: tuple[str, str]) -> None:
    *before, current = line.split(" ")
    assert candidates.complete(before, current)[1:] == expected


def test_files_below_config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    for name in ("mine.yaml", "mind.yaml", "misc.txt"):
        (tmp_path / "own" / "model" / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OWN", "own")
    for option in (["--config-dir", "own"], ["--config-dir=own"], ["--config-dir", "~/own"],
                   ["-m", "--config-dir=$OWN"]):  # fmt: skip
        assert candidates.complete(option, "model=mi") == candidates.complete(
            ["plan", *option, "train=probe"], "model=mi"
        )
        names = candidates.complete(option, "model=mi").candidates
        assert names == [
            f"model={name}"
            for name in ("mind", "mine", "mistral_7b", "mixtral_8x22b", "mixtral_8x7b")
        ]
    (shipped,) = candidates.complete(["--config-dir", "missing"], "train=st").candidates
    assert shipped == "train=staged"


BASH: list[tuple[str, str, list[str]]] = [
    ("launch pla", "pla", ["plan"]),
    ("launch ", "", ["plan", "table"]),
    ("launch layout.recompute=", "", RECOMPUTE),  # COMP_WORDBREAKS has =
    ("launch layout.recompute=se", "se", ["selective"]),
    ("launch layout.recompute=se", "layout.recompute=se", ["layout.recompute=selective"]),
    ("launch plan --format=c", "c", ["csv"]),
    ("launch retry=[oom,ha", "[oom,ha", ["[oom,hang"]),
    (
        "launch 'sweep.axes.backend=[meg",
        "sweep.axes.backend=[meg",
        ["sweep.axes.backend=[megatron"],
    ),
    ('launch "backend=d', "backend=d", ["backend=deepspeed"]),
    ("launch 'backend='d", "d", ["deepspeed"]),
    ("launch 'a b' backend=d", "d", ["deepspeed"]),
    ("launch plan data.blend='{a: 1}' backend=d", "d", ["deepspeed"]),
    ("launch 日本 backend=d", "d", ["deepspeed"]),
    ("launch pla\\", "pla\\", ["plan"]),
    ("launch retry='[oom,ha", "[oom,ha", ["[oom,hang"]),
]


@pytest.mark.parametrize(("line", "replaced", "expected"), BASH)
def test_bash_splits_words(line: str, replaced: str, expected: list[str]) -> None:
    names = list(candidates.answer("bash", [replaced, line]))[2:]
    assert names == expected if replaced else {*expected} <= {*names}


def test_the_vocabulary_is_what_its_command_writes() -> None:
    assert vocabulary.PATH.read_text() == vocabulary.text(), "python -m tests.vocabulary"


def test_every_key_of_the_documentation_is_there() -> None:
    keys = json.loads(vocabulary.PATH.read_text())["keys"]
    documented = re.findall(r"^\| `([\w.]+)` \|", (ROOT / "docs" / "keys.md").read_text(), re.M)
    assert len(documented) > 100
    assert not [key for key in documented if key.replace(".NAME.", ".*.") not in keys]


def test_every_choice_is_a_value_of_its_key() -> None:
    texts = {"true": True, "false": False, "null": None}
    for key, value in json.loads(vocabulary.PATH.read_text())["keys"].items():
        if key.removeprefix("sweep.axes.") in GROUPS:
            continue
        kind = field_at(Request, key.replace("*", "NAME").removeprefix("sweep.axes.").split("."))
        for text in value.get("values", ()):
            choice = texts.get(text, int(text) if text.isdecimal() else text)
            of_list = key.endswith(("retry", "recompute_modules")) and choice is not None
            decode(kind, [choice] if of_list else choice, key)
