"""Figures of logged steps, by the definitions of this project."""

import pytest

from launcher.foreign.figures import LoggedRun, peak_of
from launcher.foreign.logs.reader import LoggedStep
from launcher.results.imported import RunFacts
from launcher.spec.cluster import Accelerator

CARD = Accelerator(name="H100", bf16_tflops=989.0, fp8_tflops=1979.0, fp32_tflops=67.0)


def logged(*steps: LoggedStep, facts: RunFacts | None = None) -> LoggedRun:
    return LoggedRun(
        steps=steps, facts=facts or RunFacts(), shape=None, accelerator=None, memory={}
    )


FACTS = RunFacts(gpus=8, global_batch=16, seq_len=1000)


def test_the_first_steps_are_in_no_speed() -> None:
    times = (9000.0, 9000.0, 100.0, 100.0)
    run = logged(*(LoggedStep(step=n, step_ms=ms) for n, ms in enumerate(times, 1)), facts=FACTS)
    figures = run.figures()
    assert (figures.steps, figures.step_ms_p50, figures.tokens_per_s) == (4, 100.0, 160_000.0)


@pytest.mark.parametrize(
    ("steps", "step_ms"),
    [
        ((44, 45), 100.0),
        ((50,), 100.0),
        ((1,), None),
        ((1, 2), None),
        ((2, 3), 100.0),
        ((10,), 100.0),
    ],
)
def test_an_excerpt_of_hardly_any_steps_has_their_speed(
    steps: tuple[int, ...], step_ms: float | None
) -> None:
    run = logged(*(LoggedStep(step=n, step_ms=100.0, tflops=50.0) for n in steps))
    assert (run.figures().step_ms_p50, run.stated()) == (step_ms, step_ms and 50.0)


def test_a_line_every_ten_steps_stands_for_ten() -> None:
    run = logged(*(LoggedStep(step=n, step_ms=100.0) for n in (10, 20, 30)))
    assert (run.figures().steps, run.seconds) == (30, 3.0)


@pytest.mark.parametrize(
    ("step", "facts", "step_ms", "tokens_per_s"),
    [
        (LoggedStep(step=1, samples_per_s=8.0), FACTS, 2000.0, 8000.0),
        (LoggedStep(step=1, tokens_per_s_per_gpu=1000.0), FACTS, 2000.0, 8000.0),
        (LoggedStep(step=1, tokens_per_s_per_gpu=1000.0), RunFacts(gpus=8), None, 8000.0),
        (LoggedStep(step=1, tokens_per_s_per_gpu=1000.0), RunFacts(), None, None),
        (LoggedStep(step=1, step_ms=2000.0), RunFacts(gpus=8), 2000.0, None),
    ],
)
def test_a_line_has_what_follows_from_what_is_stated(
    step: LoggedStep, facts: RunFacts, step_ms: float | None, tokens_per_s: float | None
) -> None:
    (line,) = logged(step, facts=facts).lines()
    assert (line["step_ms"], line["tokens_per_s"]) == (step_ms, tokens_per_s)


@pytest.mark.parametrize(
    ("precision", "peak"),
    [("bf16", 989.0), ("fp16", 989.0), ("fp8", 1979.0), ("fp32", 67.0), (None, None)],
)
def test_the_peak_goes_by_the_precision(precision: str | None, peak: float | None) -> None:
    assert peak_of(CARD, precision) == peak
    assert peak_of(None, precision) is None
