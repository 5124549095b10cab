"""Texts and validation losses from the checkpoints of a run, against a Llama in plain PyTorch."""

import json
import os
import random
import signal
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
from launcher.workers.sampling.sampler import Sampler
from tests.launcher.workers import ranks
from tests.launcher.workers.model.test_reference import Llama, heads_in_order

SEQUENCES, TOKENS, END = 4, 40, 256
HELD_OUT = SEQUENCES * ranks.TINY.sequence
"""Characters of the only document that is not trained on: with its end these sequences."""
ASKED = Sampling(prompts=("the cat ", ""), tokens=TOKENS, validation_sequences=100)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ranks.Ended:
    """A run with checkpoints, whose first source alone has a document that is not trained on."""
    folder = tmp_path_factory.mktemp("sampled")
    texts = [said(1, 20_000), said(2, HELD_OUT)]
    (folder / "two.jsonl").write_text("".join(f"{json.dumps({'text': t})}\n" for t in texts))
    (folder / "one.txt").write_text(said(3, 20_000))
    blend = {str(folder / "two.jsonl"): 1.0, str(folder / "one.txt"): 1.0}
    spec = ranks.spec(2, layout__tp=2, data__blend=blend, data__held_out=0.5, train__steps=30,
                      train__optimizer__lr=1e-2)  # fmt: skip
    run = ranks.train(spec, folder / "runs" / "run", cache, every=10)
    assert run.codes == [0, 0], run.log()
    return run


@pytest.fixture(scope="module")
def sampled(trained: ranks.Ended, cache: Path) -> samples.Sampled:
    """What is kept of the newest checkpoint; of those asked for meanwhile, nothing."""
    newest = steps(trained)[-1]
    sampler = Sampler(trained.folder, cache, ASKED)
    sampler.start(7)
    assert not sampler.poll(), "there is no such checkpoint yet"
    sampler.start(newest)
    assert sampler.poll()
    sampler.start(steps(trained)[0])
    sampler.start(newest + 100)
    sampler.finish(120)
    assert not sampler.poll()
    (path,) = trained.folder.sample_files()
    assert path.name == f"step-{newest:08d}.json"
    return samples.read(path)


def test_they_are_those_of_a_plain_llama(trained: ranks.Ended, sampled: samples.Sampled) -> None:
    spec, net = trained.folder.spec(), loaded(trained.folder, sampled.step)
    held_out, without = (sampled.validation[source] for source in spec.data.blend)
    ids = torch.tensor([*said(2, HELD_OUT).encode(), END])
    with torch.no_grad():
        loss = net(ids[:-1].view(SEQUENCES, -1), ids[1:].view(SEQUENCES, -1)).item()
    assert held_out.loss == pytest.approx(loss, abs=1e-5) and held_out.tokens == HELD_OUT
    assert held_out.loss == pytest.approx(trained.losses[-1], abs=0.5) and loss < 3
    assert (without.loss, without.tokens) == (None, 0)
    assert without.why == "data.held_out 0.5 keeps 0 tokens apart, one sequence needs 33"
    for answer, prompt in zip(sampled.prompts, ASKED.prompts, strict=True):
        assert (answer.prompt, answer.text) == (prompt, greedy(net, prompt))
    assert set(sampled.prompts[0].text) <= set(" aceghilmnostw.y"), "it has learnt the letters"
    log = (trained.folder.logs / "samples.txt").read_text()
    assert log.startswith(f"step {sampled.step}: 2 texts, ") and log.count("\n") == 1


def test_the_verb(
    trained: ranks.Ended, sampled: samples.Sampled, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same text again, and one that is drawn from a generator."""
    run, newest = str(trained.folder.path), sampled.step
    first = sampled.prompts[0]
    words = ["sample", run, "--prompt", first.prompt, "--tokens", "8", "--cache", str(cache)]
    assert main([*words, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["text"] == first.text[:8] and row["step"] == newest
    assert main(["sample", run]) == 0
    shown = capsys.readouterr().out
    assert "the cat " in shown and "keeps 0 tokens apart" in shown and "loss" in shown
    for wrong, message in [
        (["--step", "3"], f"--step: no samples of step 3; there are {newest}"),
        (["--prompt", "a", "--step", "3"], f"--step: no checkpoint of step 3; there are"
         f" {', '.join(map(str, steps(trained)))}"),
        (["--tokens", "3"], "--tokens: has no meaning without --prompt"),
        (["--prompt", "a", "--tokens", "0"], "--tokens: 0 is below 1"),
    ]:  # fmt: skip
        assert main(["sample", run, *wrong]) == 2
        assert capsys.readouterr().err == f"launch: {message}\n"


def test_what_goes_wrong_is_a_line(trained: ranks.Ended, cache: Path, tmp_path: Path) -> None:
    """A checkpoint that is gone, one that is cut off, and a sampler that takes too long."""
    assert tried(trained.folder.path, 7, cache)[:2] == (0, "step 7: gone before it was read: "
           f"{trained.folder.checkpoints}/step-00000007/manifest.json\n")  # fmt: skip
    step = steps(trained)[-1]
    there = trained.folder.checkpoint(step)
    cut = RunFolder(tmp_path / "run")
    cut.create(trained.folder.spec())
    cut.checkpoint(step).mkdir(parents=True)
    for file in there.iterdir():
        data = file.read_bytes()
        whole = file.name != "rank1.safetensors"
        (cut.checkpoint(step) / file.name).write_bytes(data if whole else data[:-4])
    code, out, err = tried(cut.path, step, cache)
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert err.startswith(f"step {step}: step-{step:08d} is damaged: ")
    assert not cut.samples.exists()


def test_a_sampler_never_holds_its_rank_up(
    trained: ranks.Ended, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path)
    folder.create(trained.folder.spec())
    folder.checkpoint(3).mkdir(parents=True)
    sampler = Sampler(folder, cache, ASKED)
    sampler.start(3)
    sampler.finish(0)
    sampler.start(3)
    (folder.checkpoint(3) / "manifest.json").write_text("{")
    sampler.finish(60)
    assert capsys.readouterr().out == (
        "WARNING samples of step 3 were not done within 0 s\n"
        "WARNING samples of step 3 failed: see log/samples.txt\n"
    )
    log = (folder.logs / "samples.txt").read_text()
    assert log == "step 3: manifest.json is not what was written\n"


def test_a_rollback_takes_its_samples_along(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Those that are there, the one that is being made, and what waits."""
    folder = RunFolder(tmp_path)
    folder.logs.mkdir()
    folder.samples.mkdir()
    for step in (2, 4, 6):
        folder.checkpoint(step).mkdir(parents=True)
        folder.sample_file(step).touch()
    began = []

    def sleeps(self: Sampler, step: int) -> Any:
        began.append((step, subprocess.Popen(["sleep", "60"])))
        return began[-1][1]

    monkeypatch.setattr(Sampler, "_started", sleeps)
    sampler = Sampler(folder, cache, ASKED)
    sampler.start(4)
    sampler.start(6)
    sampler.forget_after(4)
    assert folder.sample_files() == [folder.sample_file(step) for step in (2, 4)]
    assert sampler.poll(), "that one stays"
    sampler.forget_after(3)
    assert not sampler.poll() and began[0][1].returncode == -signal.SIGKILL
    assert folder.sample_files() == [folder.sample_file(2)]
    assert [step for step, _ in began] == [4] and capsys.readouterr().out == ""


def said(seed: int, characters: int) -> str:
    """Sentences of few words."""
    draw = random.Random(seed)
    words = ["the cat", "a man", "sat on", "a hill", "the way", "in a town"]
    return " ".join(draw.choice(words) for _ in range(characters // 4))[:characters]


def steps(run: ranks.Ended) -> list[int]:
    """Of the checkpoints that stayed."""
    return run.folder.checkpoint_steps()


def tried(run: Path, step: int, cache: Path) -> tuple[int, str, str]:
    """Exit code and output of the process itself."""
    words = ["--folder", str(run), "--step", str(step), "--cache", str(cache)]
    done = subprocess.run(
        [sys.executable, "-m", "launcher.workers.sampling.sample", *words,
         "--sampling", json.dumps(encode(ASKED))],
        env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@torch.no_grad()
def loaded(folder: RunFolder, step: int) -> Llama:
    """The plain model with the weights of a checkpoint, read as docs/checkpoints.md says."""
    path, model = folder.checkpoint(step), folder.spec().model
    told = json.loads((path / "manifest.json").read_text())

    def whole(name: str) -> Any:
        matrix = torch.full(told["tensors"][name], torch.nan)
        for file, part in told["files"].items():
            for (a, b), (c, d) in (
                (p["rows"], p["columns"]) for p in part["pieces"] if p["name"] == name
            ):
                key = f"{name}[{a}:{b},{c}:{d}].weight"
                matrix[a:b, c:d] = safe_open(path / file, "pt").get_tensor(key)
        return matrix

    net = Llama(model)
    net.embedding.weight.copy_(whole("embedding.word_embeddings.weight"))
    net.head.weight.copy_(whole("output_layer.weight"))
    net.norm.weight.copy_(whole("decoder.final_layernorm.weight")[0])
    for number, block in enumerate(net.blocks):
        layer = f"decoder.layers.{number}"
        block.norm1.weight.copy_(whole(f"{layer}.input_layernorm.weight")[0])
        block.norm2.weight.copy_(whole(f"{layer}.pre_mlp_layernorm.weight")[0])
        qkv = whole(f"{layer}.self_attention.linear_qkv.weight")
        block.qkv.weight.copy_(qkv[heads_in_order(model)])
        block.out.weight.copy_(whole(f"{layer}.self_attention.linear_proj.weight"))
        block.up.weight.copy_(whole(f"{layer}.mlp.linear_fc1.weight"))
        block.down.weight.copy_(whole(f"{layer}.mlp.linear_fc2.weight"))
    return net


@torch.no_grad()
def greedy(net: Llama, prompt: str) -> str:
    """The likeliest bytes, each after as many as a sequence holds."""
    logits: list[Any] = []
    net.head.register_forward_hook(lambda module, args, out: logits.append(out))
    ids, length = [END, *prompt.encode()], ranks.TINY.sequence
    start = len(ids)
    while len(ids) < start + TOKENS:
        seen = ids[-length:]
        row = torch.tensor([seen + [0] * (length - len(seen))])
        net(row, row)
        best = int(logits.pop()[0, len(seen) - 1, : END + 1].argmax())
        if best == END:
            break
        ids.append(best)
    return bytes(ids[start:]).decode("utf-8", "replace")
