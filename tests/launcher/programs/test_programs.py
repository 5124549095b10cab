"""A run in the words of other programs: every field has a place, every word is one of theirs.

Modules: launcher.programs.program, launcher.programs.render, launcher.spec.formula
"""

import dataclasses
import json
import shlex
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from launcher import cli
from launcher.decode import decode, encode, field_at
from launcher.errors import ConfigError
from launcher.foreign.logs import arguments
from launcher.programs import program as programs
from launcher.programs import render
from launcher.results import record
from launcher.results.record import Figures, RunRecord
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec
from tests.conftest import spec
from tests.launcher.programs import megatron_flags

FLAGS = Path(__file__).with_name("megatron_lm_flags.json")
"""Of Megatron-LM's releases, as `megatron_flags` prints them (Apache-2.0, names alone)."""

FOLLOWS = {
    "dp": {"layout.tp", "layout.pp", "layout.cp", "cluster.nodes", "cluster.gpus_per_node"},
    "accumulation": {"layout.micro_batch", "train.global_batch"},
    "layout.sp": {"layout.sequence_parallel", "layout.tp"},
    "layout.recomputed_modules": {"layout.recompute_modules", "layout.recompute"},
    "model.head_dim": {"model.head_width", "model.heads", "model.hidden"},
    "train.reduces_in": {"train.reduce_precision"},
}
"""What follows from fields, and the fields that it says."""

BASE: dict[str, Any] = {
    "cluster.gpus_per_node": 8,
    "cluster.nodes": 2,
    "train.global_batch": 64,
    "train.steps": 500,
    "train.precision": "bf16",
    "model.hidden": 64,
    "model.heads": 8,
    "model.kv_heads": 4,
    "model.layers": 16,
    "model.sequence": 64,
}

RUNS: dict[str, dict[str, Any]] = {
    "dense": {"layout.tp": 4, "layout.pp": 2, "layout.micro_batch": 2},
    "interleaved": {"layout.pp": 4, "layout.vpp": 2, "layout.overlap_p2p": False},
    "experts": {"model.experts": 8, "layout.ep": 4, "layout.tp": 2, "train.moe_aux_loss": 0.01},
    "full": {"layout.recompute": "full", "layout.recompute_layers": 2, "layout.pp": 4},
    "whole layers": {"layout.recompute": "full", "layout.cp": 2},
    "selective": {
        "layout.recompute": "selective",
        "layout.recompute_modules": ["mlp", "layernorm"],
    },
    "ramp": {"train.batch_ramp": {"start": 16, "increment": 16, "samples": 640}},
    "stable, then decay": {
        "train.optimizer.decay_steps": 50,
        "train.optimizer.decay": "minus_sqrt",
    },
    "small": {
        "model.gated": False,
        "model.tied": True,
        "model.kv_heads": 8,
        "train.precision": "fp32",
        "train.deterministic": True,
        "layout.zero": 0,
    },
    "bf16 sums": {"train.reduce_precision": "bf16"},
}


def run(changes: dict[str, Any]) -> RunSpec:
    """Return a run of two nodes with some fields changed."""
    data = encode(spec())
    for path, value in (BASE | changes).items():
        *above, leaf = path.split(".")
        section = data
        for name in above:
            section = section[name]
        section[leaf] = value
    made = decode(RunSpec, data)
    made.check()
    return made


def fields(kind: Any, above: str = "") -> Iterator[str]:
    """Yield the dotted names of all fields of a run."""
    for member in dataclasses.fields(kind):
        name, inner = f"{above}{member.name}", field_at(kind, (member.name,))
        options = (inner, *typing.get_args(inner))
        kinds = [k for k in options if isinstance(k, type) and dataclasses.is_dataclass(k)]
        if kinds:
            yield from fields(kinds[0], f"{name}.")
        else:
            yield name


def shell_words(text: str) -> list[str]:
    """Return the words that a shell makes of a text: it goes on behind a backslash at its end."""
    return shlex.split(text.replace(" \\\n", " "), comments=True)


@pytest.mark.parametrize("name", programs.names())
def test_every_field_has_a_place(name: str) -> None:
    said = programs.load(name).fields
    said |= {field for follows in said & FOLLOWS.keys() for field in FOLLOWS[follows]}
    said |= {"cluster.nodes", "cluster.gpus_per_node"}  # of the command
    above = tuple(f"{field}." for field in said)
    missing = [
        field for field in fields(RunSpec) if field not in said and not field.startswith(above)
    ]
    assert not missing
    known = {*fields(RunSpec), *FOLLOWS, "stage", "train.batch_ramp", "train.spike_guard"}
    unknown = [f for f in said if f not in known and not any(k.startswith(f"{f}.") for k in known)]
    assert not unknown


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS.keys())
@pytest.mark.parametrize("release", megatron_flags.read(FLAGS).keys())
def test_every_flag_is_one_of_the_release(release: str, changes: dict[str, Any]) -> None:
    flags = megatron_flags.read(FLAGS)[release]
    made = {f"--{name}" for name in programs.load("megatron_lm").values(run(changes))}
    assert made and made <= flags


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS.keys())
def test_megatrons_words_are_read_as_the_same_run(changes: dict[str, Any]) -> None:
    made = run(changes)
    command = render.document(programs.load("megatron_lm"), made)["command"]
    assert command[:4] == ["torchrun", "--nnodes=2", "--nproc-per-node=8", "pretrain_gpt.py"]
    said: dict[str, str] = {"world_size": "16", "vocab_size": str(made.model.vocab)}
    for word in command[4:]:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            said[name] = "True"
        else:
            said[name] = word if said[name] == "True" else f"{said[name]} {word}"
    said.setdefault("recompute_granularity", "None")
    shape = arguments.model(said).shape
    facts = arguments.run_facts(said, "megatron-lm", None)
    layout = made.layout
    assert shape is not None
    model = dataclasses.replace(
        made.model, name=shape.name, vocab=made.model.padded_vocab, vocab_multiple=1
    )
    top_k = model.top_k if model.experts else shape.top_k
    assert dataclasses.replace(shape, norm_eps=model.norm_eps) == dataclasses.replace(
        model, head_width=model.head_dim, top_k=top_k
    )
    assert (facts.tp, facts.pp, facts.cp, facts.ep) == (layout.tp, layout.pp, layout.cp, layout.ep)
    assert (facts.zero, facts.sp, facts.dp) == (layout.zero, layout.sp, made.dp)
    assert (facts.micro_batch, facts.global_batch) == (layout.micro_batch, made.train.global_batch)
    assert (facts.recompute, facts.precision) == (layout.recompute, made.train.precision)
    assert facts.recompute_layers == layout.recompute_layers
    if layout.recompute == "selective":
        assert facts.recompute_modules == "layernorm mlp"


REFUSED = [
    ("megatron_lm", {"layout.zero": 3, "backend": "deepspeed"}, "layout.zero: 2 and 3"),
    ("megatron_lm", {"model.vocab_multiple": 1, "layout.tp": 2}, "model.vocab_multiple: "),
    (
        "bridge",
        {"layout.pp": 4, "layout.vpp": 2, "layout.overlap_p2p": False},
        "layout.overlap_p2p",
    ),
    ("torchtitan", {}, "layout.zero: 1 shards"),
    ("torchtitan", {"layout.zero": 0, "layout.recompute": "selective"}, "layout.recompute: "),
    ("deepspeed", {"layout.tp": 2}, "layout.tp, pp, vpp, cp, ep: above 1"),
    (
        "deepspeed",
        {"train.batch_ramp": {"start": 16, "increment": 16, "samples": 640}},
        "train.batch_ramp: ",
    ),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_what_a_program_cannot_do_is_refused_by_name(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        programs.load(name).values(run(changes))
    assert str(error.value).startswith(message)
    assert str(error.value).endswith(f": {name} has no counterpart of it")
    said = message.partition(":")[0].partition(",")[0]
    assert f": {said} " in str(error.value) or f", {said} " in str(error.value)  # with its value


def test_overrides_are_read_as_they_were_meant() -> None:
    bridge = programs.load("bridge")
    made = run(RUNS["selective"] | {"train.optimizer.eps": 1e-12})
    words = render.document(bridge, made)["command"]
    read = OmegaConf.from_dotlist(words[words.index("RECIPE") + 1 :])
    assert OmegaConf.to_container(read) == render.nested(bridge.values(made))
    assert read.model.recompute_modules == ["mlp", "layernorm"] and read.optimizer.adam_eps == 1e-12


def test_a_toml_file_has_tables() -> None:
    made = run({"layout.zero": 3, "layout.tp": 2, "backend": "deepspeed"})
    read = tomllib.loads(render.text(programs.load("torchtitan"), made))
    assert read["parallelism"]["data_parallel_shard_degree"] == 8
    assert read["parallelism"]["fsdp_reshard_after_forward"] == "always"
    assert read["training"]["mixed_precision_param"] == "bfloat16"
    assert (
        read["optimizer"]["betas"] if "betas" in read["optimizer"] else read["optimizer"]["beta2"]
    )


def test_a_configuration_of_deepspeed() -> None:
    made = run({"layout.zero": 2, "layout.offload": True, "backend": "deepspeed"})
    read = json.loads(render.text(programs.load("deepspeed"), made))
    assert read["train_batch_size"] == 64
    assert read["train_micro_batch_size_per_gpu"] * read["gradient_accumulation_steps"] * 16 == 64
    assert read["zero_optimization"]["offload_optimizer"] == {"device": "cpu", "pin_memory": True}
    assert read["bf16"] == {"enabled": True} and read["optimizer"]["params"]["betas"] == [0.9, 0.95]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder of one run of 2 nodes."""
    point = run(RUNS["dense"])
    RunFolder(tmp_path / point.name).create(point)
    figures = Figures(tokens_per_s=100.0, steps=12)
    record.write(tmp_path / "records.jsonl", [RunRecord(spec=point, outcome="ok", figures=figures)])
    return tmp_path


def test_the_best_as_a_command_to_copy(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["best", str(sweep), "--as", "megatron_lm"]) == 0
    text = capsys.readouterr().out
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert any("--data-path" in line for line in comments)
    words = shell_words(text)
    assert words == render.document(programs.load("megatron_lm"), run(RUNS["dense"]))["command"]
    assert words[words.index("--tensor-model-parallel-size") + 1] == "4"


def test_the_best_as_data(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["best", str(sweep), "--as", "bridge", "--format", "json"]) == 0
    read = json.loads(capsys.readouterr().out)["program"]
    assert read["arguments"]["model"]["tensor_model_parallel_size"] == 4
    assert read["name"] == "bridge" and "data.blend" in str(read["chosen_there"])


def test_a_file_without_comments_has_them_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point = run({"layout.zero": 2, "backend": "deepspeed"})
    RunFolder(tmp_path / point.name).create(point)
    figures = Figures(tokens_per_s=100.0, steps=12)
    record.write(tmp_path / "records.jsonl", [RunRecord(spec=point, outcome="ok", figures=figures)])
    assert cli.main(["best", str(tmp_path), "--as", "deepspeed"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["zero_optimization"]["stage"] == 2
    notes = captured.err.splitlines()
    assert all(line.startswith("# ") for line in notes)
    assert any("model.layers 16: the script decides" in line for line in notes)
    assert notes[-1].startswith("# start: deepspeed --num_nodes 2 ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("megatron", "--as: no 'megatron'; did you mean 'megatron_lm'?"),
        ("torchtitan", "layout.zero: 1 shards optimizer state alone"),
    ],
)
def test_mistakes_are_a_line(
    name: str, message: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["best", str(sweep), "--as", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and captured.err.count("\n") == 1


def test_words_of_any_characters_are_quoted() -> None:
    program = programs.Program(
        name="own",
        title="a program",
        style="flags",
        command=("my program", "{arguments}"),
        arguments={"name": "model.name", "both": "[model.name, 1]"},
    )
    made = run({"model.name": "a 'b' $(c) \n ü"})
    assert shell_words(render.text(program, made)) == [
        *("my program", "--name", "a 'b' $(c) \n ü", "--both", "a 'b' $(c) \n ü", "1")
    ]


def test_the_files_are_yaml_of_a_program() -> None:
    for name in programs.names():
        text = (programs.FOLDER / f"{name}.yaml").read_text()
        assert yaml.safe_load(text)["name"] == name and text.startswith("# ")
