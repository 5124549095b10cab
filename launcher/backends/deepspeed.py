"""DeepSpeed: ZeRO 0 to 3 and offload over the same megatron-core model, TP, SP, EP, PP."""

from launcher.backends.megatron import check_experts
from launcher.backends.worker_command import WorkerBackend
from launcher.errors import LayoutError
from launcher.planner.engines import Engine
from launcher.spec import pipeline
from launcher.spec.run import RunSpec


class DeepSpeed(WorkerBackend):
    """Trains megatron-core's GPTModel with a DeepSpeed engine, or with its PipelineModule."""

    packages = ("torch", "megatron.core", "deepspeed")
    planner_engine: Engine = "deepspeed"

    def gradient_bytes(self, spec: RunSpec) -> float:
        """Bytes of gradient per parameter: it accumulates in fp32.

        Besides, in bf16, its optimizer without ZeRO keeps bf16 gradients, and ZeRO 1 puts what is
        reduced in a buffer of this rank's part.
        """
        if spec.train.precision == "fp32" or spec.layout.zero > 1:
            return 4.0
        ranks = max(spec.dp * spec.layout.cp, 1)  # a layout that does not fit has none
        return 6.0 if spec.layout.zero == 0 else 4.0 + 4.0 / ranks

    def check(self, spec: RunSpec) -> None:
        """Raise LayoutError where DeepSpeed cannot run a spec, or runs it silently wrong."""
        layout = spec.layout
        zero = f"zero {layout.zero}"
        if layout.vpp > 1:
            raise LayoutError(
                f"vpp {layout.vpp} needs backend megatron: DeepSpeed's pipeline has no interleaved"
                " schedule"
            )
        if layout.pp > 1 and layout.cp > 1:
            raise LayoutError(
                f"cp {layout.cp} with pp {layout.pp} needs backend megatron: DeepSpeed's pipeline"
                " has no context parallel axis"
            )
        if layout.pp > 1 and spec.model.tied:
            raise LayoutError(
                f"pp {layout.pp} with model.tied true needs backend megatron: DeepSpeed's pipeline"
                " would train the LM head as weights of its own"
            )
        if layout.zero == 1 and layout.pipeline and pipeline.chunks(layout.pipeline)[0] == "E":
            raise LayoutError(
                f"pipeline {layout.pipeline!r} with zero 1 needs backend megatron: DeepSpeed hangs"
                " where a stage has the embedding alone, and no norm; zero 0 is right"
            )
        if layout.pp > 1 and layout.zero > 1:
            raise LayoutError(f"{zero} with pp {layout.pp}: DeepSpeed's pipeline needs zero <= 1")
        if layout.offload and layout.zero == 0:
            raise LayoutError(f"offload true needs zero >= 1, {zero}")
        if layout.ep > 1 and layout.pp > 1:
            raise LayoutError(f"ep {layout.ep} with pp {layout.pp} needs backend megatron")
        if layout.ep > 1 and layout.zero == 0:
            raise LayoutError(
                f"ep {layout.ep} with zero 0: DeepSpeed clips by a norm that differs between ranks,"
                " which is silently wrong; zero 1 and 2 are right"
            )
        if layout.ep > 1 and layout.zero == 3:
            raise LayoutError(f"ep {layout.ep} with zero 3: DeepSpeed has experts at zero 1 and 2")
        if spec.train.precision == "bf16" and layout.zero == 0 and layout.pp == 1:
            raise LayoutError(
                "zero 0 with precision bf16: DeepSpeed's FP16_UnfusedOptimizer takes one step on"
                " empty gradients first, which is silently wrong"
            )
        check_experts(spec)
