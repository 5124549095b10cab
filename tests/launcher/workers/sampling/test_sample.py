"""Texts and validation losses of a run and its checkpoints, against a Llama in plain PyTorch.

Modules: launcher.workers.sampling.sample, launcher.cli.verbs.results.sample,
launcher.results.samples.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from launcher.cli import main
from launcher.decode import encode
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.spec.sampling import Sampling
from tests.launcher.workers import ranks
from tests.launcher.workers.model.test_reference import Llama, heads_in_order
from tests.launcher.workers.sampling.test_evaluation import sentences

SEQUENCES, TOKENS, END = 4, 40, 256
HELD_OUT = SEQUENCES * ranks.TINY.sequence
"""Characters of the only document that is not trained on: with its end these sequences."""
SAMPLING = Sampling(prompts=("the cat ", ""), tokens=TOKENS, validation_sequences=100)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ranks.Ended:
    """A run with checkpoints, whose first source alone has a document that is not trained on."""
    folder = tmp_path_factory.mktemp("sampled")
    texts = [sentences(1, 20_000), sentences(2, HELD_OUT)]
    (folder / "two.jsonl").write_text("".join(f"{json.dumps({'text': t})}\n" for t in texts))
    (folder / "one.txt").write_text(sentences(3, 20_000))
    blend = {str(folder / "two.jsonl"): 1.0, str(folder / "one.txt"): 1.0}
    spec = ranks.spec(
        2,
        layout__tp=2,
        data__blend=blend,
        data__held_out=0.5,
        train__steps=30,
        train__optimizer__lr=1e-2,
    )
    run = ranks.train(spec, folder / "runs" / "run", cache, every=10, sampling=SAMPLING)
    assert run.codes == [0, 0], run.log()
    return run


@pytest.fixture(scope="module")
def sampled(trained: ranks.Ended) -> samples.Sampled:
    """What came of the newest checkpoint."""
    assert [sampled.step for sampled in trained.samples] == [10, 20, 30]
    return trained.samples[-1]


def test_they_are_those_of_a_plain_llama(trained: ranks.Ended, sampled: samples.Sampled) -> None:
    spec, net = trained.folder.spec(), loaded(trained.folder, sampled.step)
    held_out, without = (sampled.validation[source] for source in spec.data.blend)
    ids = torch.tensor([*sentences(2, HELD_OUT).encode(), END])
    with torch.no_grad():
        loss = net(ids[:-1].view(SEQUENCES, -1), ids[1:].view(SEQUENCES, -1)).item()
    assert held_out.loss == pytest.approx(loss, abs=1e-5) and held_out.tokens == HELD_OUT
    assert held_out.loss == pytest.approx(trained.losses[-1], abs=0.5) and loss < 3
    assert (without.loss, without.tokens) == (None, 0)
    assert without.why == "data.held_out 0.5 keeps 0 tokens apart, one sequence needs 33"
    for answer, prompt in zip(sampled.prompts, SAMPLING.prompts, strict=True):
        assert (answer.prompt, answer.text) == (prompt, greedy(net, prompt))
    assert set(sampled.prompts[0].text) <= set(" aceghilmnostw.y"), "it has learnt the letters"


def test_the_verb(
    trained: ranks.Ended, sampled: samples.Sampled, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Generate the same text from the checkpoint, and show the samples there are."""
    run, newest = str(trained.folder.path), sampled.step
    first = sampled.prompts[0]
    words = ["sample", run, "--prompt", first.prompt, "--tokens", "8", "--cache", str(cache)]
    assert main([*words, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["text"] == first.text[:8] and row["step"] == newest
    assert main(["sample", run]) == 0
    output = capsys.readouterr().out
    assert "the cat " in output and "keeps 0 tokens apart" in output and "loss" in output
    all_steps = ", ".join(map(str, steps(trained)))
    for wrong, message in [
        (["--step", "3"], f"--step: no samples of step 3; there are 10, 20, {newest}"),
        (
            ["--prompt", "a", "--step", "3"],
            f"--step: no checkpoint of step 3; there are {all_steps}",
        ),
        (["--tokens", "3"], "--tokens: has no meaning without --prompt"),
        (["--prompt", "a", "--tokens", "0"], "--tokens: 0 is below 1"),
    ]:
        assert main(["sample", run, *wrong]) == 2
        assert capsys.readouterr().err == f"launch: {message}\n"


def test_what_goes_wrong_is_a_line(trained: ranks.Ended, cache: Path, tmp_path: Path) -> None:
    """A checkpoint that is gone, and one that is cut off."""
    output = tmp_path / "sampled.json"
    manifest = trained.folder.checkpoint(7) / "manifest.json"
    message = f"step 7: gone before it was read: {manifest}\n"
    assert tried(trained.folder.path, 7, cache, output) == (1, "", message)
    step = steps(trained)[-1]
    checkpoint = trained.folder.checkpoint(step)
    cut = RunFolder(tmp_path / "run")
    cut.create(trained.folder.spec())
    cut.checkpoint(step).mkdir(parents=True)
    for file in checkpoint.iterdir():
        data = file.read_bytes()
        is_cut = file.name == "rank1.safetensors"
        (cut.checkpoint(step) / file.name).write_bytes(data[:-4] if is_cut else data)
    code, stdout, err = tried(cut.path, step, cache, output)
    assert (code, stdout) == (1, "") and err.count("\n") == 1
    assert err.startswith(f"step {step}: step-{step:08d} is damaged: ")
    assert not output.exists()


def test_those_after_a_step_are_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.samples.mkdir()
    for step in (2, 4, 6):
        folder.sample_file(step).touch()
    samples.forget_after(folder, 4)
    assert folder.sample_files() == [folder.sample_file(step) for step in (2, 4)]


def steps(run: ranks.Ended) -> list[int]:
    """Steps of the checkpoints that stayed."""
    return run.folder.checkpoint_steps()


def tried(run: Path, step: int, cache: Path, output: Path) -> tuple[int, str, str]:
    """Exit code and output of the process itself."""
    words = [sys.executable, "-m", "launcher.workers.sampling.sample"]
    words += ["--folder", str(run), "--step", str(step), "--cache", str(cache)]
    words += ["--sampling", json.dumps(encode(SAMPLING)), "--output", str(output)]
    process = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)
    return process.returncode, process.stdout, process.stderr


@torch.no_grad()
def loaded(folder: RunFolder, step: int) -> Llama:
    """Plain model with the weights of a checkpoint, read as docs/checkpoints.md says."""
    path, model = folder.checkpoint(step), folder.spec().model
    manifest = json.loads((path / "manifest.json").read_text())

    def full_matrix(name: str) -> Any:
        matrix = torch.full(manifest["tensors"][name], torch.nan)
        for file, part in manifest["files"].items():
            for (a, b), (c, d) in (
                (p["rows"], p["columns"]) for p in part["pieces"] if p["name"] == name
            ):
                key = f"{name}[{a}:{b},{c}:{d}].weight"
                matrix[a:b, c:d] = safe_open(path / file, "pt").get_tensor(key)
        return matrix

    net = Llama(model)
    net.embedding.weight.copy_(full_matrix("embedding.word_embeddings.weight"))
    net.head.weight.copy_(full_matrix("output_layer.weight"))
    net.norm.weight.copy_(full_matrix("decoder.final_layernorm.weight")[0])
    for number, block in enumerate(net.blocks):
        layer = f"decoder.layers.{number}"
        block.norm1.weight.copy_(full_matrix(f"{layer}.input_layernorm.weight")[0])
        block.norm2.weight.copy_(full_matrix(f"{layer}.pre_mlp_layernorm.weight")[0])
        qkv = full_matrix(f"{layer}.self_attention.linear_qkv.weight")
        block.qkv.weight.copy_(qkv[heads_in_order(model)])
        block.out.weight.copy_(full_matrix(f"{layer}.self_attention.linear_proj.weight"))
        block.up.weight.copy_(full_matrix(f"{layer}.mlp.linear_fc1.weight"))
        block.down.weight.copy_(full_matrix(f"{layer}.mlp.linear_fc2.weight"))
    return net


@torch.no_grad()
def greedy(net: Llama, prompt: str) -> str:
    """Likeliest bytes, each after as many as a sequence holds."""
    logits: list[Any] = []
    net.head.register_forward_hook(lambda module, args, output: logits.append(output))
    ids, length = [END, *prompt.encode()], ranks.TINY.sequence
    start = len(ids)
    while len(ids) < start + TOKENS:
        context = ids[-length:]
        row = torch.tensor([context + [0] * (length - len(context))])
        net(row, row)
        best = int(logits.pop()[0, len(context) - 1, : END + 1].argmax())
        if best == END:
            break
        ids.append(best)
    return bytes(ids[start:]).decode("utf-8", "replace")
