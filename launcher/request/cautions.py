"""Settings that have cost others a long run, seen before it starts."""

from collections.abc import Callable

from launcher.spec.run import RunSpec

LONG_TOKENS = 10**9
"""Tokens from which on a run is long: below are probes and toys, minutes on one node."""

EPS, EPS_PARAMS = 1e-8, 5e9
"""LLM-jp-3 172B alpha1 and alpha2 were lost, after 0.7 and 1.4 T tokens, to the epsilon of AdamW
(https://llmc.nii.ac.jp/topics/llm-jp-3-172b-alpha1-alpha2/). OLMo 2 went from 1e-5 to 1e-8 at 7 B
(arXiv:2501.00656); scripts that copy Llama 2 (arXiv:2307.09288, section 2.2) have 1e-5 still."""

WARMUP_STEPS = 100
"""GPT-3: 375 M tokens, 117 steps of its 3.2 M (arXiv:2005.14165, appendix B); LLaMA: 2,000 steps
(arXiv:2302.13971, section 2.3)."""
JUMP = 2.0
"""Learning rate of a stage / that at the end of the stage before, from which on it is a warm-up."""

BETA2, BETA2_PARAMS, BETA2_TOKENS = 0.99, 1e9, 10**6
"""GPT-3, LLaMA and OLMo have 0.95 at batches of 1 M tokens and more. At 0.999 the second moment
lags behind gradients that grow, which is what spikes begin with (arXiv:2304.13013, section 3)."""

GUARD_PARAMS = 30e9
"""Marin 32B, Llama-like, spiked from 80,000 steps on; clipping, z-loss and skipped updates did not
help, QK norm did (https://github.com/marin-community/marin, docs/reports/marin-32b-retro.md)."""

REDUCED_RANKS = 128
"""Data parallel ranks from which on NVIDIA warns of sums in bf16 (Megatron-Bridge,
docs/performance-guide.md, "Communication Data Types")."""

PER_PARAMETER = (5.0, 2500.0)
"""Tokens per active parameter. 20 cost least for the same loss (Chinchilla, arXiv:2203.15556).
After 3 T tokens, 2,500 per parameter, OLMo 1B was worse once tuned than after 2.3 T
(arXiv:2503.19206)."""

RATES = (
    ("Pythia 70M", 0.07e9, 1e-3),  # arXiv:2304.01373
    ("GPT-3 125M", 0.125e9, 6e-4),  # arXiv:2005.14165, table 2.1
    ("OLMo 1B", 1.18e9, 4e-4),  # arXiv:2402.00838
    ("Llama 3 8B", 8e9, 3e-4),  # arXiv:2407.21783, table 3
    ("Llama 2 13B", 13e9, 3e-4),  # arXiv:2307.09288, table 1
    ("LLaMA 33B", 32.5e9, 1.5e-4),  # arXiv:2302.13971, table 2
    ("Llama 3 70B", 70.6e9, 1.5e-4),
    ("GPT-3 175B", 175e9, 6e-5),
    ("Llama 3 405B", 405e9, 8e-5),
)
"""Model, parameters, peak learning rate: without QK norm, as every model here. With it some go
higher: 9e-4 for OLMo 2 13B (arXiv:2501.00656)."""
RATE_FACTOR = 3.0
"""Learning rate / that of the model nearest in size, above which it is likely to diverge."""


def warnings(spec: RunSpec, tokens: int | None) -> list[str]:
    """Return a line for each setting that is known to waste a long run; none for a short one.

    ``tokens`` are those of the whole training, stages before and to come included; None is what
    this run ends at. It warns and never refuses: every one of these has also gone well somewhere.
    """
    horizon = max(tokens or 0, spec.tokens_through(spec.last))
    if horizon < LONG_TOKENS:
        return []
    messages = [check(spec) for check in CHECKS] + [_tokens(spec, horizon)]
    return [message for message in messages if message is not None]


def _eps(spec: RunSpec) -> str | None:
    eps = spec.train.optimizer.eps
    if eps <= EPS or spec.model.params < EPS_PARAMS:
        return None
    return (
        f"train.optimizer.eps: {eps:g} is above {EPS:g} at {_billions(spec.model.params)}:"
        " gradients are smaller than that, and Adam hardly moves their weights"
    )


def _warmup(spec: RunSpec) -> str | None:
    stage, optimizer = spec.stage, spec.train.optimizer
    if stage and stage.schedule_after < stage.steps_before:
        return None  # it goes on with a schedule that began before
    previous_lr = optimizer.start_lr if stage and stage.steps_before else 0.0
    if optimizer.warmup_steps >= WARMUP_STEPS or optimizer.lr < JUMP * previous_lr:
        return None
    return (
        f"train.optimizer.warmup_steps: {optimizer.warmup_steps}, from learning rate"
        f" {previous_lr:g} to lr {optimizer.lr:g}, is below {WARMUP_STEPS}: the first steps are too"
        " large"
    )


def _clip(spec: RunSpec) -> str | None:
    # GPT-3, Pythia, LLaMA and OLMo clip at 1.0 (sources at RATES).
    if spec.train.optimizer.clip_grad > 0:
        return None
    return "train.optimizer.clip_grad: 0 clips nothing: one bad batch ruins the weights; 1 is usual"


def _beta2(spec: RunSpec) -> str | None:
    beta2 = spec.train.optimizer.beta2
    small = spec.model.params < BETA2_PARAMS or spec.tokens_per_step < BETA2_TOKENS
    if beta2 < BETA2 or small:
        return None
    return (
        f"train.optimizer.beta2: {beta2:g} is {BETA2:g} or more at"
        f" {spec.tokens_per_step / 1e6:.1f} M tokens a step: the loss spikes; 0.95 is usual"
    )


def _rate(spec: RunSpec) -> str | None:
    size, lr = spec.model.active_params, spec.train.optimizer.lr
    name, _, usual = min(RATES, key=lambda row: max(row[1], size) / min(row[1], size))
    if lr <= RATE_FACTOR * usual * (1 + 1e-9):
        return None
    return (
        f"train.optimizer.lr: {lr:g} is {lr / usual:.1f} times the {usual:g} of {name}, the nearest"
        f" in size: above {RATE_FACTOR:g} times it is likely to diverge"
    )


def _decay(spec: RunSpec) -> str | None:
    optimizer = spec.train.optimizer
    if optimizer.decay == "constant" or optimizer.min_lr <= optimizer.lr / 2:
        return None
    # To a tenth in GPT-3, LLaMA and Llama 2; to 0 is better still (arXiv:2502.15938).
    return (
        f"train.optimizer.min_lr: {optimizer.min_lr:g} is above half of lr {optimizer.lr:g}: decay"
        f" {optimizer.decay} then gains little; a tenth is usual"
    )


def _guard(spec: RunSpec) -> str | None:
    train, params = spec.train, spec.model.params
    if train.spike_guard or train.precision != "bf16" or params < GUARD_PARAMS:
        return None
    return (
        f"train.spike_guard: null at {_billions(params)} in bf16 without QK norm and z-loss, which"
        " this model does not have: a spike that does not heal would go on unseen"
    )


def _reduction(spec: RunSpec) -> str | None:
    ranks = spec.dp * spec.layout.cp
    if spec.train.reduces_in == "fp32" or ranks < REDUCED_RANKS:
        return None
    return (
        f"train.reduce_precision: bf16 over {ranks} ranks, which are not below {REDUCED_RANKS}:"
        " sums of so many lose small gradients; fp32 is usual"
    )


def _balance(spec: RunSpec) -> str | None:
    # Nothing else here balances them. Switch Transformer has 1e-2 (arXiv:2101.03961, section 2.2).
    if not spec.model.experts or spec.train.moe_aux_loss > 0:
        return None
    return (
        f"train.moe_aux_loss: 0 with model.experts {spec.model.experts}: the router may come to use"
        " a few of them alone; 0.01 is usual"
    )


def _tokens(spec: RunSpec, tokens: int) -> str | None:
    low, high = PER_PARAMETER
    per_parameter = tokens / spec.model.active_params
    if low <= per_parameter <= high:
        return None
    subject = f"train.tokens: {tokens:,} are {per_parameter:,.1f} per parameter, "
    if per_parameter < low:
        return (
            f"{subject}below {low:g}: a smaller model reaches the same loss for less; 20 cost least"
        )
    return f"{subject}above {high:,.0f}: the model gets harder to tune, and a larger one is better"


def _billions(params: float) -> str:
    return f"{params / 1e9:.1f} B parameters"


CHECKS: tuple[Callable[[RunSpec], str | None], ...] = (
    _eps,
    _warmup,
    _clip,
    _beta2,
    _rate,
    _decay,
    _guard,
    _reduction,
    _balance,
)
