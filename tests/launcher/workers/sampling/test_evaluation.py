"""Validation losses and texts between two steps: the same at every layout, and nothing else changes.

Modules: launcher.workers.sampling.evaluation, launcher.workers.sampling.forward,
launcher.workers.sampling.held_out, launcher.workers.sampling.texts.
"""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.results.run_folder import RunFolder
from launcher.results.samples import Sampled, Validation
from launcher.spec.sampling import Sampling
from launcher.workers.errors import DataError
from launcher.workers.measure import Power
from launcher.workers.sampling import held_out
from tests import limits
from tests.conftest import Launch
from tests.launcher.workers import ranks
from tests.launcher.workers.engines.test_parity import (
    BF16,
    BF16_TOLERANCE,
    DS,
    MODELS,
    SP,
    TOLERANCE,
    TP,
    block,
    distance,
    modules,
    name,
    pipeline,
)

STEPS, EVERY, TOKENS = 4, 2, 6
SAMPLING = Sampling(prompts=("the cat ", "", "a hill"), tokens=TOKENS, validation_sequences=7)
"""The prompts differ in length, and go on beyond it; of nine sequences seven are read."""

OVERLAP = """
    from launcher.workers.model import platform
    platform.overlap_pays = lambda: True
"""
"""Patch of a rank whose weights are gathered behind the forward pass, as on cards."""

UNCHANGED = """
    import torch
    from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
    from megatron.core.transformer.moe import moe_utils
    from launcher.workers.sampling.evaluation import Evaluation
    evaluate = Evaluation.run
    def state():
        trackers = moe_utils.get_moe_layer_wise_logging_tracker().values()
        generators = [torch.get_rng_state(), *get_cuda_rng_tracker().get_states().values()]
        return generators + [tracker["values"].clone() for tracker in trackers]
    def run(self, step):
        before = state()
        evaluate(self, step)
        assert all(map(torch.equal, before, state()))
    Evaluation.run = run
"""
"""Patch of a rank that looks at the generators and at what routers count for their loss."""

LAYOUTS: list[tuple[str, int, dict[str, Any]]] = [
    ("dense", 1, {"layout__micro_batch": 1}),
    ("dense", 2, {"layout__zero": 0}),
    ("dense", 2, {"layout__zero": 1}),
    ("dense", 2, TP),
    ("dense", 2, {"layout__cp": 2}),
    ("uneven", 2, {"layout__pp": 2, "layout__vpp": 2}),
    ("tied", 2, {"layout__pp": 2}),
    ("dense", 2, {**modules("core_attn", "layernorm", "mlp"), **SP}),
    ("dense", 4, {"layout__cp": 2, **SP}),
    ("dense", 4, {"layout__pp": 2, **SP, **block(1)}),
    ("moe", 2, {"layout__ep": 2}),
    ("moe", 2, {"layout__ep": 2, **SP}),
    ("dense", 2, {**DS, "layout__zero": 0}),
    ("dense", 2, {**DS, "layout__zero": 2, "layout__offload": True}),
    ("dense", 2, {**DS, "layout__zero": 3}),
    ("dense", 4, {**DS, "layout__zero": 3, **SP, **block(2)}),
    ("dense", 2, {**DS, "layout__zero": 2, "layout__cp": 2}),
    ("moe", 2, {**DS, "layout__zero": 1, "layout__ep": 2}),
    ("dense", 2, {**DS, "layout__zero": 1, **pipeline("Et*3|tL"), **block(1)}),
    ("dense", 4, {**DS, "layout__zero": 1, "layout__pp": 2, **SP}),
]


def sentences(seed: int, characters: int) -> str:
    """Sentences of few words."""
    draw = random.Random(seed)
    words = ["the cat", "a man", "sat on", "a hill", "the way", "in a town"]
    return " ".join(draw.choice(words) for _ in range(characters // 4))[:characters]


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Three sources, of which 9, 2 and no sequences are held out."""
    folder = tmp_path_factory.mktemp("texts")
    paths = []
    for number, sequences in enumerate((9, 2, 0)):
        texts = [sentences(number, 20_000), sentences(9 + number, sequences * 32)]
        paths.append(folder / f"{number}.jsonl")
        paths[-1].write_text("".join(f"{json.dumps({'text': t})}\n" for t in texts if t))
    return {str(path): 1.0 for path in paths}


class Runs:
    """Runs with an evaluation every other step, and the same ones without; each made once."""

    def __init__(self, folder: Path, cache: Path, blend: dict[str, float]) -> None:
        self._folder, self._cache, self._blend = folder, cache, blend
        self._runs: dict[str, ranks.Ended] = {}

    def get(self, count: int, sampling: Sampling | None, patch: str = "", **changes: Any) -> Any:
        """Return a run that has ended well."""
        key = repr((count, sampling, patch, sorted(changes.items())))
        if key not in self._runs:
            folder = self._folder / str(len(self._runs))
            options: dict[str, Any] = {"every": EVERY, "sampling": sampling, "patch": patch}
            run = ranks.train(self.spec(count, **changes), folder, self._cache, **options)
            assert run.codes == [0] * count, run.log()
            self._runs[key] = run
        return self._runs[key]

    def spec(self, count: int, **changes: Any) -> Any:
        data = {"data__blend": self._blend, "data__held_out": 0.5, "train__steps": STEPS}
        return ranks.spec(count, **(data | changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path, blend: dict[str, float]) -> Runs:
    return Runs(tmp_path_factory.mktemp("evaluated"), cache, blend)


def losses(sampled: Sampled) -> list[float]:
    """Validation losses of the sources that have one."""
    return [v.loss for v in sampled.validation.values() if v.loss is not None]


def worst(sampled: Sampled, expected: Sampled) -> float:
    """Largest difference of a loss."""
    pairs = list(zip(losses(sampled), losses(expected), strict=True))
    return max(distance(*pair) for pair in pairs)


def texts(sampled: Sampled) -> list[str]:
    """Text of each prompt."""
    return [answer.text for answer in sampled.prompts]


def trajectory(run: ranks.Ended) -> list[Any]:
    """All of a run's metrics that do not tell how fast it was, and the weights it ends with."""
    numbers = ("step", "tokens", "loss", "grad_norm", "lr", "samples", "action")
    manifest = run.folder.checkpoint(STEPS) / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    return [[line[key] for key in numbers] for line in run.steps] + [
        {path: part["sha256"] for path, part in files.items()}
    ]


CASES = [(case, "") for case in LAYOUTS] + [
    (("dense", 2, {"layout__zero": 1}), OVERLAP),
    (("dense", 4, {"layout__pp": 2, "layout__vpp": 2, "layout__zero": 1}), OVERLAP),
]


@pytest.mark.parametrize(
    ("case", "patch"), CASES, ids=[name(case) + (",overlap" if p else "") for case, p in CASES]
)
def test_layout_changes_neither_the_result_nor_the_training(
    case: tuple[str, int, dict[str, Any]], patch: str, runs: Runs
) -> None:
    model, count, changes = case
    reference = runs.get(1, SAMPLING, **MODELS[model])
    run = runs.get(count, SAMPLING, UNCHANGED + patch, **MODELS[model], **changes)
    assert [sampled.step for sampled in run.samples] == [2, 4]
    for sampled, expected in zip(run.samples, reference.samples, strict=True):
        assert worst(sampled, expected) < TOLERANCE
        assert texts(sampled) == texts(expected)
        tokens = [validation.tokens for validation in sampled.validation.values()]
        assert tokens == [7 * 32, 2 * 32, 0]
        assert [answer.tokens for answer in sampled.prompts] == [TOKENS] * 3
    first, last = map(losses, run.samples)
    assert len(first) == 2 and all(
        a - b > 100 * TOLERANCE for a, b in zip(first, last, strict=True)
    )
    without = runs.get(count, None, patch, **MODELS[model], **changes)
    assert trajectory(run) == trajectory(without) and without.samples == []


@pytest.mark.parametrize(
    "changes", [{}, {**DS, "layout__zero": 3}, {**DS, "layout__pp": 2}], ids=str
)
def test_bf16(changes: dict[str, Any], runs: Runs) -> None:
    run, reference = runs.get(2, SAMPLING, **BF16, **changes), runs.get(1, SAMPLING, **BF16)
    for sampled, expected in zip(run.samples, reference.samples, strict=True):
        assert worst(sampled, expected) < BF16_TOLERANCE
    assert trajectory(run) == trajectory(runs.get(2, None, **BF16, **changes))


def test_texts_that_are_drawn_and_go_on_beyond_a_sequence(runs: Runs) -> None:
    """Draw from the same generators on every rank, also where they hold parts of a sequence."""
    sampling = Sampling(
        prompts=("the cat sat on the hill ", ""), tokens=20, temperature=0.8, seed=3,
        validation_sequences=0,
    )  # fmt: skip
    expected = runs.get(1, sampling).samples
    assert [answer.tokens for answer in expected[-1].prompts] == [20, 20]
    assert expected[-1].validation == {}
    for changes in ({"layout__cp": 2}, {**DS, "layout__pp": 2, "layout__zero": 1}, {}):
        run = runs.get(2, sampling, **changes)
        assert [texts(sampled) for sampled in run.samples] == list(map(texts, expected))


def test_figures_of_a_step_do_not_include_it(runs: Runs) -> None:
    """Let the clock of the steps jump by a day with each evaluation."""
    patch = """
        import time
        from launcher.workers import measure
        from launcher.workers.sampling.evaluation import Evaluation
        class Clock:
            passed = 0.0
            def __getattr__(self, name):
                return getattr(time, name)
            def perf_counter(self):
                return time.perf_counter() + self.passed
        measure.time = clock = Clock()
        real = Evaluation.run
        def run(self, step):
            real(self, step)
            clock.passed += 86400
        Evaluation.run = run
    """
    run = runs.get(1, SAMPLING, patch)
    assert [sampled.step for sampled in run.samples] == [2, 4]
    assert all(line["step_ms"] < 1000 * limits.COMMAND for line in run.steps)


def test_power_during_an_evaluation_is_of_no_step() -> None:
    power = Power()
    power._samples = [300.0]
    assert power.mean() == 300.0
    power._samples = [50.0]
    power.drop()
    assert power.mean() == 300.0, "there was none since: the last step's counts"


KILLED = """
    import os
    from launcher.workers.sampling import evaluation
    real = evaluation.Evaluation.run
    def run(self, step):
        print("evaluates", step, flush=True)
        if step == 4 and {during}:
            evaluation.samples.write = lambda sampled, path: os._exit(9)
        real(self, step)
        if step == 4 and os.environ["RANK"] == "0":
            os._exit(9)
    evaluation.Evaluation.run = run
"""
TOLD = """
    from launcher.workers.sampling.evaluation import Evaluation
    real = Evaluation.run
    def run(self, step):
        print("evaluates", step, flush=True)
        real(self, step)
    Evaluation.run = run
"""

KILLS: list[tuple[int, dict[str, Any], bool]] = [
    (2, {"layout__tp": 2}, True),
    (2, {"layout__tp": 2}, False),
    (2, {**DS, "layout__zero": 3}, True),
    (2, {**DS, "layout__zero": 1, "layout__pp": 2}, True),
]


@pytest.mark.parametrize(("count", "changes", "during"), KILLS, ids=str)
def test_killed_in_or_after_an_evaluation(
    count: int, changes: dict[str, Any], during: bool, runs: Runs, tmp_path: Path, cache: Path
) -> None:
    """Go on from its checkpoint: with the evaluation where it was not done, else not again."""
    spec = runs.spec(count, train__steps=6, **changes)
    calm = runs.get(count, SAMPLING, train__steps=6, **changes)
    options: dict[str, Any] = {"every": EVERY, "sampling": SAMPLING}
    patch = KILLED.format(during=during)
    killed = ranks.train(spec, tmp_path, cache, patch=patch, **options)
    assert 9 in killed.codes, killed.log()
    assert [sampled.step for sampled in killed.samples] == ([2] if during else [2, 4])
    assert [line["step"] for line in killed.steps] == [1, 2, 3, 4]
    killed.folder.log(0).unlink()
    resumed = ranks.train(spec, tmp_path, cache, patch=TOLD, **options)
    assert resumed.codes == [0] * count, resumed.log()
    evaluated = [line for line in resumed.log().splitlines() if line.startswith("evaluates")]
    assert evaluated == ["evaluates 4", "evaluates 6"][not during :]
    assert resumed.losses == calm.losses
    assert list(map(timeless, resumed.samples)) == list(map(timeless, calm.samples))


def timeless(sampled: Sampled) -> Sampled:
    """An evaluation, but for how long it took."""
    return replace(sampled, seconds=0.0)


def test_an_evaluation_of_a_step_that_is_done_again_is_made_again(
    runs: Runs, tmp_path: Path, cache: Path
) -> None:
    """Resume from before a checkpoint that is damaged."""
    spec = runs.spec(1, train__steps=6)
    options: dict[str, Any] = {"every": EVERY, "sampling": SAMPLING, "keep": 3}
    calm = ranks.train(spec, tmp_path, cache, **options)
    (tmp_path / "result.json").unlink()
    for step in (4, 6):
        (calm.folder.checkpoint(step) / "manifest.json").write_text("{")
    before = list(map(timeless, calm.samples))
    calm.folder.sample_file(2).write_text(calm.folder.sample_file(2).read_text() + "\n")
    stamp = calm.folder.sample_file(2).stat().st_mtime_ns
    stop = """
        import os
        from launcher.workers.engines.megatron import MegatronEngine
        def step(self, number, lr, apply):
            os._exit(7)
        MegatronEngine.step = step
    """
    stopped = ranks.train(spec, tmp_path, cache, patch=stop, **options)
    assert stopped.codes == [7]
    assert [sampled.step for sampled in stopped.samples] == [2], "later ones are not of this run"
    again = ranks.train(spec, tmp_path, cache, **options)
    assert again.codes == [0], again.log()
    assert list(map(timeless, again.samples)) == before
    assert again.folder.sample_file(2).stat().st_mtime_ns == stamp


def test_a_rollback_takes_its_evaluations_along(runs: Runs, tmp_path: Path, cache: Path) -> None:
    patch = (
        """
    from launcher.spikes.ladder import GuardAction
    from launcher.workers import spike_guard
    real_decide, told = spike_guard.Guard.decide, []
    def decide(self, step, figures):
        real_decide(self, step, figures)
        if step == 5 and not told:
            told.append(step)
            return GuardAction(kind="roll_back", to=3, reason="told to")
        return GuardAction(kind="apply", reason="")
    spike_guard.Guard.decide = decide
    """
        + TOLD
        + """
    real_forget = Evaluation.forget_after
    def forget_after(self, step):
        real_forget(self, step)
        left = [path.name for path in self._folder.sample_files()]
        print("forgets after", step, "keeps", *left, flush=True)
    Evaluation.forget_after = forget_after
    """
    )
    spec = runs.spec(1, train__steps=8, train__spike_guard={"margin": 1})
    run = ranks.train(spec, tmp_path, cache, every=EVERY, keep=4, patch=patch, sampling=SAMPLING)
    assert run.codes == [0], run.log()
    lines = [line for line in run.log().splitlines() if line.startswith(("evaluates", "forgets"))]
    assert lines == [
        *("forgets after 0 keeps", "evaluates 2", "evaluates 4"),
        *("forgets after 2 keeps step-00000002.json", "evaluates 4", "evaluates 6", "evaluates 8"),
    ]
    assert [sampled.step for sampled in run.samples] == [2, 4, 6, 8]


def test_a_stop_is_not_held_up(runs: Runs, tmp_path: Path, cache: Path) -> None:
    """Leave with the checkpoint alone; the next attempt evaluates it."""
    ask = """
        import os, signal
        from launcher.workers.engines.megatron import MegatronEngine
        real = MegatronEngine.step
        def step(self, number, lr, apply):
            real(self, number, lr, apply)
            if number == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
        MegatronEngine.step = step
    """
    spec, options = runs.spec(1), {"every": EVERY, "sampling": SAMPLING}
    stopped = ranks.train(spec, tmp_path, cache, patch=ask, **options)  # type: ignore[arg-type]
    assert stopped.codes == [75] and stopped.samples == []
    ended = ranks.train(spec, tmp_path, cache, **options)  # type: ignore[arg-type]
    assert [sampled.step for sampled in ended.samples] == [2, 4]


def test_what_is_not_finite_and_what_cannot_be_written_is_told(
    runs: Runs, tmp_path: Path, cache: Path
) -> None:
    """Go on training: an evaluation is no reason to end."""
    spoilt = """
        from launcher.workers.engines.megatron import MegatronEngine
        real = MegatronEngine.forward_only
        def forward_only(self, batches, take):
            real(self, batches, lambda output, batch: take(output * float("nan"), batch))
        MegatronEngine.forward_only = forward_only
    """
    run = runs.get(2, replace(SAMPLING, prompts=()), spoilt, layout__tp=2)
    assert [v.why for v in run.samples[0].validation.values()][:2] == ["the loss is not finite"] * 2
    assert losses(run.samples[0]) == []
    run = runs.get(2, SAMPLING, spoilt, layout__tp=2)
    line = "WARNING samples of step {} failed: the logits are not finite"
    assert [text for text in run.log().splitlines() if "WARNING" in text] == [
        line.format(2),
        line.format(4),
    ]
    (tmp_path / "samples").write_text("in the way")
    blocked = ranks.train(runs.spec(1), tmp_path, cache, every=EVERY, sampling=SAMPLING)
    assert blocked.codes == [0] and "WARNING samples of step 2 failed: " in blocked.log()
    assert blocked.losses == runs.get(1, None).losses


def test_a_token_that_the_model_does_not_know(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    ids = torch.full((32,), 300)
    pairs = [("a", "too short"), ("b", [{"tokens": ids - 1, "labels": ids}])]
    monkeypatch.setattr(held_out.dataset, "held_out", lambda spec, cache: iter(pairs))
    with pytest.raises(DataError, match=r"token id 300 in the held-out text of b, model\.vocab"):
        held_out.load(ranks.spec(), cache, 4)
    assert held_out.load(ranks.spec(), cache, 0).sequences == {}


def test_reasons_for_having_no_loss() -> None:
    held = held_out.HeldOut({"a": [{}], "b": []}, {"b": "too short"})
    assert held._validation("a", 64.0, 32) == Validation(loss=2.0, tokens=32)
    assert held._validation("b", 0.0, 0) == Validation(loss=None, tokens=0, why="too short")
    assert held._validation("a", math.inf, 32).loss is None


def test_a_hang_in_it_says_so(runs: Runs, tmp_path: Path, cache: Path) -> None:
    patch = f"""
        import os, time
        from launcher.workers.engines.megatron import MegatronEngine
        real = MegatronEngine.forward_only
        def forward_only(self, batches, take):
            if os.environ["RANK"] == "1":
                time.sleep({limits.ALWAYS})
            real(self, batches, take)
        MegatronEngine.forward_only = forward_only
    """
    run = ranks.train(
        runs.spec(2, layout__tp=2), tmp_path, cache, patch=patch, hang_after=2, every=EVERY,
        sampling=SAMPLING, all_ranks=True,
    )  # fmt: skip
    assert run.codes == [1, 1]
    assert "HangError: evaluation not done within 6 s (last step 2)" in run.log()


def test_stages(launch: Launch, tmp_path: Path, blend: dict[str, float]) -> None:
    """Evaluate each stage by its own sources and sequence, at its own steps."""
    first, second, _ = blend
    stages = (
        f"{{a: {{tokens: 1024, blend: {{'{first}': 1}}}},"
        f" b: {{tokens: 512, blend: {{'{second}': 1}}, sequence: 16}}}}"
    )
    process = launch(
        f"curriculum={{name: two, stages: {stages}}}",
        *("cluster.gpus_per_node=2", "data.tokenizer=bytes"),
        *("model.sequence=32", "train.global_batch=8", "train.untimed_steps=0"),
        *("data.held_out=0.5", "checkpoint_every=2", "curriculum.max_epochs=9"),
        *("sampling.prompts=[the]", "sampling.tokens=4", "sampling.validation_sequences=2"),
    )
    assert process.returncode == 0, process.stderr
    folders = [RunFolder(tmp_path / "runs" / "two" / stage) for stage in ("1-a", "2-b")]
    evaluations = [ranks.Ended(folder, [0]).samples for folder in folders]
    steps = [[sampled.step for sampled in of_stage] for of_stage in evaluations]
    assert steps == [[2, 4], [6, 8]]
    for of_stage, source, tokens in zip(evaluations, (first, second), (64, 32), strict=True):
        for sampled in of_stage:
            assert {s: v.tokens for s, v in sampled.validation.items()} == {source: tokens}
            assert len(sampled.prompts) == 1
    assert [line["step"] for folder in folders for line in folder.steps()] == list(range(1, 9))
