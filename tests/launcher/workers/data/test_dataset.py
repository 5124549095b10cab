"""The data of a run: what is built, in which order it is served, and what is refused."""

import itertools
import json
from pathlib import Path

from launcher.spec.run import RunSpec
from tests import limits
from tests.launcher.workers import ranks

SERVE = """
import json, os, sys
from pathlib import Path
from launcher.results.run_folder import RunFolder
folder, cache = Path(sys.argv[2]), Path(sys.argv[4])
spec = RunFolder(folder).spec()
from launcher.workers.data import dataset
{patch}
dataset.prepare(spec, cache)
samples = dataset.load(spec, cache)
count = spec.train.steps * spec.train.global_batch
(folder / "served.json").write_text(json.dumps(
    [samples[i]["tokens"].tolist() + samples[i]["labels"][-1:].tolist() for i in range(count)]
))
"""
"""Program that writes every sample of a run."""


def serve(spec: RunSpec, folder: Path, cache: Path, patch: str = "") -> ranks.Ended:
    return ranks.train(spec, folder, cache, program=SERVE.format(patch=patch))


def served_by(run: ranks.Ended) -> list[list[int]]:
    assert run.codes == [0], run.log()
    return json.loads((run.folder.path / "served.json").read_text())


def samples(spec: RunSpec, folder: Path, cache: Path) -> list[list[int]]:
    return served_by(serve(spec, folder, cache))


def error(spec: RunSpec, folder: Path, cache: Path) -> str:
    """Last line of a rank that fails."""
    run = serve(spec, folder, cache)
    assert run.codes == [1]
    return run.log().strip().splitlines()[-1]


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
    folders = [tmp_path / str(number) for number in range(4)]
    program = SERVE.format(patch="")
    started = [ranks.start(spec, folder, cache, program=program)[0] for folder in folders]
    codes = ranks.wait(started, limits.COMMAND)
    ended = [
        ranks.Ended(ranks.RunFolder(folder), [code])
        for folder, code in zip(folders, codes, strict=True)
    ]
    assert len({json.dumps(served_by(run)) for run in ended}) == 1
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
    assert killed.codes == [-9]
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
        "import os, numpy as np\n"
        "from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder\n"
        "builder = IndexedDatasetBuilder(os.environ['OWN'] + '.bin', dtype=np.uint16)\n"
        "builder.add_document(np.full(1000, 299, np.uint16), [1000])\n"
        "builder.finalize(os.environ['OWN'] + '.idx')\n"
    )
    prefix = tmp_path / "own"
    env = {"OWN": str(prefix)}
    built = ranks.train(ranks.spec(1), tmp_path / "built", cache, program=code, env=env)
    assert built.codes == [0], built.log()
    good = ranks.train(blend(f"{prefix}.bin"), tmp_path / "good", cache)
    assert good.codes == [0], good.log()
    bad = ranks.train(blend(prefix, model__vocab=299), tmp_path / "bad", cache)
    assert bad.codes == [1]
    assert bad.log().strip().endswith("token id 299 in the data, model.vocab is 299")
