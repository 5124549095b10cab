"""The data of a run: what is built, in which order it is served, and what is refused."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

from launcher.spec.run import RunSpec
from tests import limits
from tests.launcher.workers import ranks

SERVE = """
import os, sys
from pathlib import Path
from launcher.results.run_folder import RunFolder
from launcher.workers import train
spec = RunFolder(Path(sys.argv[1])).spec()
train._import(spec)
from launcher.workers.data import dataset
{patch}
dataset.prepare(spec, Path(sys.argv[2]))
samples = dataset.load(spec, Path(sys.argv[2]))
import json
count = spec.train.steps * spec.train.global_batch
print(json.dumps([samples[i]["tokens"].tolist() + samples[i]["labels"][-1:].tolist()
                  for i in range(count)]))
"""


def serve(spec: RunSpec, folder: Path, cache: Path, patch: str = "") -> "subprocess.Popen[str]":
    """Print every sample of a run, from a process of its own."""
    ranks.RunFolder(folder).create(spec)
    return subprocess.Popen(
        [sys.executable, "-c", SERVE.format(patch=patch), str(folder), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def samples(spec: RunSpec, folder: Path, cache: Path) -> list[list[int]]:
    process = serve(spec, folder, cache)
    out, err = process.communicate(timeout=limits.COMMAND)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def error(spec: RunSpec, folder: Path, cache: Path) -> str:
    """Last line of a rank that fails."""
    process = serve(spec, folder, cache)
    _, err = process.communicate(timeout=limits.COMMAND)
    assert process.returncode == 1
    return err.strip().splitlines()[-1]


def blend(*sources: object, **changes: object) -> RunSpec:
    weights = {str(source): 1.0 for source in sources}
    return ranks.spec(1, data__blend=weights, **changes)


def test_four_processes_share_an_empty_cache(tmp_path: Path) -> None:
    spec = ranks.spec(
        1,
        data__blend={"bundled/prose": 0.7, "bundled/code": 0.3},
        data__tokenizer="bpe",
        data__tokenizer_vocab=300,
    )
    cache = tmp_path / "cache"
    started = [serve(spec, tmp_path / str(number), cache) for number in range(4)]
    outputs = [process.communicate(timeout=limits.COMMAND) for process in started]
    assert [process.returncode for process in started] == [0] * 4, outputs
    assert len({out.splitlines()[-1] for out, _ in outputs}) == 1
    assert not list(cache.glob(".*")), "a temporary folder was left behind"
    assert len(list(cache.glob("text-*[!k]"))) == 2  # and their .lock


def test_a_killed_build_is_not_trusted(tmp_path: Path) -> None:
    spec, cache = ranks.spec(1), tmp_path / "cache"
    patch = (
        "import signal\n"
        "from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder\n"
        "IndexedDatasetBuilder.finalize = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = serve(spec, tmp_path / "killed", cache, patch)
    killed.communicate(timeout=limits.COMMAND)
    assert killed.returncode == -9
    rebuilt = samples(spec, tmp_path / "again", cache)
    assert rebuilt == samples(spec, tmp_path / "other", tmp_path / "elsewhere")


def test_samples_are_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(chr(65 + i % 26) for i in range(1000)))
    served = samples(blend(tmp_path / "a.txt"), tmp_path / "run", tmp_path / "cache")
    assert len(served) == 64
    for sample in served:
        assert len(sample) == 33
        pairs = itertools.pairwise(sample)
        steps = [(b - a) % 26 for a, b in pairs if 256 not in (a, b)]
        assert set(steps) == {1}  # the alphabet goes on, across the labels too


def test_the_end_of_a_document_is_a_token_like_others(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "abcdefgh"}) for _ in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    served = samples(blend(tmp_path / "a.jsonl"), tmp_path / "run", tmp_path / "cache")
    ends = sum(sample.count(256) for sample in served)
    assert ends > 64 * 2  # nine tokens a document: at least three in 33


def test_seed_decides_the_order(tmp_path: Path, cache: Path) -> None:
    first, repeated, another = (
        samples(ranks.spec(1, train__seed=seed), tmp_path / str(number), cache)
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == repeated
    assert first != another


def test_shares_of_a_blend(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 5000)
    (tmp_path / "b.txt").write_text("b" * 5000)
    weights = {str(tmp_path / "a.txt"): 3.0, str(tmp_path / "b.txt"): 1.0}
    served = samples(ranks.spec(1, data__blend=weights), tmp_path / "run", tmp_path / "cache")
    assert sum(sample.count(ord("a")) > 16 for sample in served) == 48


def test_text_shorter_than_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("too short")
    assert error(blend(path), tmp_path / "run", tmp_path / "cache") == (
        f"launcher.workers.errors.DataError: data.blend: {path}: 10 tokens,"
        " one sample of model.sequence 32 needs 33"
    )


def test_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    spec = ranks.spec(1, model__vocab=200)
    assert error(spec, tmp_path / "run", tmp_path / "cache") == (
        "launcher.workers.errors.DataError: the tokenizer has 257 tokens, more than model.vocab 200"
    )


def test_token_id_beyond_the_model(tmp_path: Path, cache: Path) -> None:
    """Train on a dataset of the user's own, of which only the ids themselves can tell."""
    code = (
        "import sys, numpy as np\n"
        "from launcher.workers.model import platform\n"
        "platform.import_megatron()\n"
        "from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder\n"
        "builder = IndexedDatasetBuilder(sys.argv[1] + '.bin', dtype=np.uint16)\n"
        "builder.add_document(np.full(1000, 299, np.uint16), [1000])\n"
        "builder.finalize(sys.argv[1] + '.idx')\n"
    )
    prefix = tmp_path / "own"
    subprocess.run([sys.executable, "-c", code, str(prefix)], check=True, capture_output=True)
    good = ranks.train(blend(f"{prefix}.bin"), tmp_path / "good", cache)
    assert good.codes == [0], good.log()
    bad = ranks.train(blend(prefix, model__vocab=299), tmp_path / "bad", cache)
    assert bad.codes == [1]
    assert bad.log().strip().endswith("token id 299 in the data, model.vocab is 299")
