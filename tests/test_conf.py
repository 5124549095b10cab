"""Every YAML file below conf/ composes into a request with at least one point that can run."""

import json
from pathlib import Path

import pytest

from launcher.campaign.campaign import Campaign
from launcher.campaign.plan import Plan
from launcher.cli import main
from launcher.request.compose import GROUPS, compose
from tests.conftest import ROOT

FILES = [path for path in (ROOT / "conf").glob("*/*.yaml") if path.parent.name in GROUPS]
CHOICES = sorted(f"{path.parent.name}={path.stem}" for path in FILES)

NODES = ["cluster=h100", "train.global_batch=32", "train.precision=bf16"]

NEEDS = {
    "sweep=moe": ["model=tiny_moe"],
    **{c: NODES for c in CHOICES if c.startswith("model=") and "tiny" not in c},
    **{
        c: ["train.global_batch=32"]
        for c in CHOICES
        if c.startswith("cluster=") and not c.startswith("cluster=local")
    },
}
"""Overrides that a choice needs besides, to have a point that is not rejected."""


@pytest.mark.parametrize("choice", CHOICES)
def test_a_file_composes_and_has_a_point_to_run(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", choice, *NEEDS.get(choice, []), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    if choice.startswith("curriculum="):
        assert {row["state"] for row in rows} == {"to train"}
    else:
        assert "run" in [row["plan"] for row in rows]


def test_changed_text_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data.blend={text.txt: 1}", "data.tokenizer=bytes"]
    ids = []
    for text in ("one text", "another", "one text"):
        (tmp_path / "text.txt").write_text(text)
        ids.append(plan(words, capsys)[0]["spec_id"])
    assert ids[0] == ids[2] != ids[1]


def test_what_has_no_column_is_in_the_remark(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["backend=deepspeed", "layout.offload=true", "train.optimizer.lr=1e-3,3e-4"]
    assert [row["remark"] for row in plan(["-m", *words], capsys)] == [
        "offload, lr 0.001", "offload, lr 0.0003",
    ]  # fmt: skip
    assert {row["remark"] for row in plan(["-m", "layout.tp=1,2"], capsys)} == {None}


def test_a_model_too_large_for_this_machine_is_rejected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = plan(["model=llama_70b"], capsys)
    assert row["plan"] == "rejected"
    assert str(row["reason"]).startswith("llama_70b has 69.0 B params x 16 bytes (1028 GiB), this")


def test_a_mapping_may_be_written_as_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("日本語.txt", "my, text.txt"):
        (tmp_path / name).write_text("text")
    blend = '{日本語.txt: 0.5, "my, text.txt": 0.5}'
    assert len(plan([f"data.blend={blend}", "data.tokenizer=bytes"], capsys)) == 1


def test_a_folder_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my conf, (new) 'é"
    (folder / "sweep").mkdir(parents=True)
    (folder / "sweep" / "two.yaml").write_text("axes: {layout: {tp: [1, 2]}}\n")
    assert len(plan(["--config-dir", str(folder), "sweep=two"], capsys)) == 2


def plan(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["plan", *words, "--format", "json", "--sort", "row"]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_the_grid_serves_a_laptop_and_h100_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    laptop = plan(["sweep=parallelism_grid"], capsys)
    large = ["sweep=parallelism_grid", "model=llama_13b", "cluster=h100", "cluster.nodes=3"]
    nodes = plan(large, capsys)
    ran = [row for row in laptop if row["plan"] == "run"]
    assert len(laptop) == len(ran) == 30
    assert {row["backend"] for row in ran} == {"megatron", "deepspeed"}
    assert {row["zero"] for row in ran} == {0, 1, 2, 3}
    assert {(row["tp"], row["pp"], row["vpp"]) for row in ran} == {
        (1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 2, 2),
    }  # fmt: skip
    assert {row["recompute"] for row in ran} == {"none", "selective", "full"}
    assert {row["micro_batch"] for row in ran} == {2, 4}
    assert {row["gpus"] for row in nodes} == {24}
    for outcome in ("run", "pruned", "rejected"):
        assert sum(row["plan"] == outcome for row in nodes) >= 12


def test_a_value_on_the_command_line_pins_an_axis_of_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["layout.pp=2", "sweep.axes.layout.tp=[1,4]", "cluster.gpus_per_node=8"]
    rows = plan(["sweep=parallelism_grid", *words], capsys)
    assert {row["pp"] for row in rows} == {2}
    assert {row["tp"] for row in rows} == {1, 4}


def test_multirun_is_a_grid_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = plan(["-m", "layout.tp=1,2", "model=tiny,llama_7b", "layout.zero=range(0,2)"], capsys)
    assert [(row["tp"], row["zero"], row["model"]) for row in rows] == [
        (tp, zero, model) for tp in (1, 2) for zero in (0, 1) for model in ("tiny", "llama_7b")
    ]


def test_an_axis_of_models_and_a_folder_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sizes.yaml").write_text(
        "name: sizes\n"
        "axes: {model: [llama_7b, llama_13b]}\n"
        "zip: {cluster: {nodes: [2, 3]}, train: {global_batch: [64, 96]}}\n"
        "where: model.layers == 32 or cluster.nodes > 2\n"
    )
    words = ["--config-dir", str(tmp_path), "sweep=sizes", "cluster=h100", "model.sequence=2048"]
    rows = plan(words, capsys)
    assert [(r["model"], r["nodes"], r["global_batch"], r["seq_len"]) for r in rows] == [
        ("llama_7b", 2, 64, 2048), ("llama_7b", 3, 96, 2048), ("llama_13b", 3, 96, 2048),
    ]  # fmt: skip


def test_a_tokenizer_is_the_same_from_any_folder_and_another_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tok.json").write_text('{"model": {}}')
        monkeypatch.chdir(tmp_path / name)
        ids.append(plan(["data.tokenizer=tok.json"], capsys)[0]["spec_id"])
    monkeypatch.chdir(tmp_path)
    ids.append(plan(["data.tokenizer=b/tok.json"], capsys)[0]["spec_id"])
    assert ids[0] != ids[1] == ids[2]


@pytest.mark.parametrize("name", ["text with spaces.txt", "quote'and$(touch x).txt", "日本語.txt"])
def test_paths_are_data_not_shell(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / name).write_text("some text\n")
    blend = json.dumps({str(tmp_path / name): 1.0}, ensure_ascii=False)
    (tmp_path / "conf" / "data" / "own.yaml").write_text(f"blend: {blend}\ntokenizer: bytes\n")
    assert len(plan(["--config-dir", "conf", "data=own"], capsys)) == 1
    assert not (tmp_path / "x").exists()


def test_axes_are_relative_to_the_run_that_they_vary(capsys: pytest.CaptureFixture[str]) -> None:
    rows = plan(["sweep=batch_size", "~sweep.axes.train.optimizer"], capsys)
    assert {(row["global_batch"], row["remark"]) for row in rows} == {
        (12, "steps 40"), (24, "steps 20"), (48, "steps 10"),
    }  # fmt: skip
    words = ["sweep=context_length", "train.global_batch=96", "layout.tp=1", "layout.cp=1"]
    rows = plan([*words, "layout.recompute=none"], capsys)
    assert {row["seq_len"] for row in rows} == {64, 128, 256}


def test_a_value_given_for_a_relative_axis_is_what_it_is_relative_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = plan(["sweep=batch_size", "train.global_batch=48", "train.optimizer.lr=1e-3"], capsys)
    assert {row["global_batch"] for row in rows} == {24, 48, 96}
    rates = {str(row["remark"]).partition("lr ")[2].partition(",")[0] for row in rows}
    assert rates == {"0.0005", "0.001", "0.002"}
    words = ["sweep=nodes", "cluster=h100", "model=llama_7b", "train=pretrain"]
    rows = plan([*words, "cluster.nodes=4", "train.global_batch=1024"], capsys)
    strong = [(gpus, 1024) for gpus in (1, 2, 4, 8, 16, 32)]
    weak = [(gpus, 32 * gpus) for gpus in (1, 2, 4, 8, 16)]
    assert sorted((row["gpus"], row["global_batch"]) for row in rows) == sorted(strong + weak)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.goal=loss"], "sweep.goal: no 'loss'; did you mean 'loss_last'?"),
        (["sweep.goal=cause"], "sweep.goal: no 'cause'"),
        (["sweep.goal=loss_last", "sweep.strategy=best_first"],
         "sweep.strategy: best_first looks for the highest tokens_per_s, and sweep.goal is loss_last:"
         " take grid, random or halving"),
    ],
)  # fmt: skip
def test_goals_that_cannot_be(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sweep=parallelism_grid", *words]) == 2
    assert message in capsys.readouterr().err


PLANS = [c for c in CHOICES if c.startswith(("sweep=", "curriculum="))]
CARDS = [c for c in CHOICES if c.startswith("cluster=") and "local" not in c]


@pytest.mark.parametrize("choice", PLANS)
def test_each_sweep_and_curriculum_has_something_to_run_on_any_cluster(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [["cluster=local", f"cluster.gpus_per_node={ranks}"] for ranks in (1, 2, 8)]
    places += [["cluster=h100", f"cluster.nodes={nodes}"] for nodes in (1, 2, 3, 8, 16)]
    places += [[cluster, "cluster.nodes=3"] for cluster in CARDS if cluster != "cluster=h100"]
    if choice == "sweep=moe":
        places = [
            [*words, "model=tiny_moe"]
            if words[0] == "cluster=local"
            else [*words, "model=qwen3_30b_a3b", "layout.recompute=full"]
            for words in places
        ]
    for words in places:
        planned = Campaign(Plan.of_request(compose([choice, *words]))).planned()
        refused = [point for point in planned if point.rejected]
        runnable = [point for point in planned if not point.rejected and not point.pruned]
        assert runnable, (words, refused[0].rejected if refused else planned[0].pruned)
        if choice.startswith("curriculum="):
            assert not refused, (words, refused[0].rejected)
            steps = [point.spec.train.steps for point in planned]
            assert min(steps) >= 20, (words, "a stage of so few steps shows nothing")


def test_a_plan_ends_with_the_words_of_its_best_row(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "sweep=parallelism_grid", "train.seed=7"]
    assert main(words) == 0
    printed, errors = capsys.readouterr()
    row = next(line for line in printed.splitlines() if line.startswith("*")).split()[1]
    head = f"row {row} alone: launch train.seed=7 backend=megatron layout.tp=1 "
    assert errors.startswith(head)
    assert main([*words, "--sort", "tokens_per_s"]) == 0
    assert capsys.readouterr().err == ""  # the first row is not the best then


def test_factors_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep").mkdir()
    axes = 'axes:\n  train:\n    global_batch: ["${times:x,3}"]\n'
    (tmp_path / "sweep" / "odd.yaml").write_text(f"name: odd\n{axes}")
    assert main(["plan", "--config-dir", str(tmp_path), "sweep=odd"]) == 2
    assert "${times:A,B} takes two numbers, not 'x' and 3" in capsys.readouterr().err
