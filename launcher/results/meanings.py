"""Meanings and units of the columns of all tables, for those who read them with a program."""

from collections.abc import Mapping
from typing import NamedTuple


class Meaning(NamedTuple):
    """Meaning of a column, or of another key that a verb prints."""

    text: str
    unit: str | None = None
    """None where it has none: texts, and numbers of things that the text names."""


_M = Meaning

MEANINGS: Mapping[str, Meaning] = {
    # of a point
    "row": _M("position of the point in its sweep, from 1"),
    "sweep": _M("folder of the sweep"),
    "spec_id": _M("hash of all that is run, and name of its folder; null for imported runs"),
    "outcome": _M("how it ended"),
    "cause": _M("why it did not end well, one line"),
    "remark": _M("what a reader should know, and fields without a column"),
    "stage": _M("stage of a curriculum"),
    "folder": _M("folder of the run"),
    # decided by its spec
    "backend": _M("engine; of an imported run the program that trained it"),
    "model": _M("name of the model"),
    "params_b": _M("parameters", "1e9"),
    "nodes": _M("nodes"),
    "gpus": _M("cards, or CPU ranks, of all nodes"),
    "dp": _M("data parallel size; null where the layout does not divide the cards"),
    "tp": _M("tensor parallel size"),
    "pp": _M("pipeline parallel size"),
    "vpp": _M("model chunks of each pipeline stage"),
    "pipeline_layout": _M("what each model chunk has, in Megatron-LM's notation; null is even"),
    "cp": _M("context parallel size"),
    "ep": _M("expert parallel size"),
    "dispatcher": _M("way of tokens to their experts; null for a dense model"),
    "sp": _M("sequence parallelism"),
    "zero": _M("ZeRO stage, or Megatron's distributed optimizer (1)"),
    "global_batch": _M("sequences of an optimizer step", "sequences"),
    "micro_batch": _M("sequences of a forward pass on one rank", "sequences"),
    "recompute": _M("activations computed again: none, selective, full"),
    "recompute_modules": _M("modules of a selective one; null is core_attn"),
    "recompute_layers": _M("layers of a full one; null is every layer, one at a time"),
    "recompute_method": _M(
        "recompute_layers are, with block, those of a model chunk; with uniform, those of a unit"
    ),
    "seq_len": _M("length of a sequence", "tokens"),
    "precision": _M("number format of the matrix products"),
    "reduce_precision": _M("number format in which data parallel ranks sum gradients"),
    "probe_micro_batches": _M("micro batches of each step of the trial, from which the figures of"
                              " the whole batch are derived; null for all of them"),
    # measured
    "tflops_per_gpu": _M("model FLOPs per second and card (docs/flops.md)", "1e12/s"),
    "stated_tflops_per_gpu": _M("the same as the log of another program states it", "1e12/s"),
    "mfu_pct": _M("tflops_per_gpu / dense peak of the card", "%"),
    "hfu_pct": _M("the same, with what is computed again", "%"),
    "tokens_per_s": _M("speed of all ranks together; in a plan, predicted", "tokens/s"),
    "scaling_pct": _M("speed of one card, of that on the fewest cards of runs alike in all else but"
                      " the global batch; in a plan, predicted", "%"),
    "step_ms_p50": _M("median of the timed steps", "ms"),
    "step_ms_p95": _M("95th percentile of the timed steps", "ms"),
    "step_ms_error": _M("standard error of the median", "ms"),
    "mem_min_gib": _M("peak memory of the rank that took least", "GiB"),
    "mem_max_gib": _M("peak memory of the rank that took most: reserved on a card, else resident",
                      "GiB"),
    "power_min_w": _M("mean power of the card that drew least", "W"),
    "power_max_w": _M("mean power of the card that drew most", "W"),
    "loss_first": _M("loss of the first step", "nats"),
    "loss_last": _M("loss of the last step; null where it is not finite", "nats"),
    "grad_norm_max": _M("largest finite gradient norm"),
    "spikes": _M("events that the spike guard saw"),
    "skipped": _M("updates that the spike guard did not apply"),
    "rollbacks": _M("returns to a checkpoint after a divergence"),
    "steps": _M("optimizer steps done; in the plan of a stage, to do"),
    "attempt": _M("starts of this spec so far; null where it never started"),
    "seconds": _M("duration of the last attempt, start-up included", "s"),
    "eta_days": _M("time that train.tokens take at the measured speed", "days"),
    "bad_hosts": _M("nodes that the failure points at, with blanks between them"),
    "hosts": _M("nodes it ran on, with blanks between them"),
    "job_id": _M("job of the batch system"),
    "commit": _M("commit of this project that ran it"),
    "code": _M("digest of the copy of the code that ran it"),
    "optimizer": _M("classes of the optimizer that stepped: the engine's, and that which it wraps"),
    "expert_product": _M("product with matrices of experts: grouped_mm at once, mm one by one"),
    # predicted
    "pred_mem_gib": _M("predicted memory of the fullest card", "GiB"),
    "pred_oom_prob": _M("probability that this does not fit, 0 to 1"),
    "pred_step_ms": _M("predicted time of a step", "ms"),
    "pred_mem_err_pct": _M("prediction / measurement - 1, of memory", "%"),
    "pred_step_err_pct": _M("prediction / measurement - 1, of the step time", "%"),
    # of a plan alone
    "plan": _M("what would become of the point"),
    "reason": _M("why it would not run"),
    "days": _M("predicted time for train.tokens; of a stage, for its steps", "days"),
    "gpu_hours": _M("the same on all cards", "GPU hours"),
    "price": _M("gpu_hours x price_per_gpu_hour", "the currency of that key"),
    # of the stages of a curriculum alone
    "tokens": _M("tokens of the stage", "tokens"),
    "until_step": _M("step of the whole curriculum that it ends with"),
    "sequence": _M("length of a sequence", "tokens"),
    "lr_first": _M("learning rate of its first step"),
    "lr_last": _M("learning rate of its last step"),
    "checkpoint_gib": _M("size of a checkpoint on disk", "GiB"),
    "checkpoints": _M("checkpoints on disk at the same time"),
}  # fmt: skip
"""Meaning of each column of `launcher.results.columns`."""
