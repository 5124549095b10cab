"""megatron-core: DDP or its distributed optimizer, TP, SP, PP (1F1B, interleaved), CP, EP."""

from launcher.backends.worker_command import WorkerBackend
from launcher.errors import LayoutError
from launcher.planner.engines import Engine
from launcher.spec.run import RunSpec


class Megatron(WorkerBackend):
    """Trains megatron-core's GPTModel with megatron-core's own optimizer and schedules."""

    packages = ("torch", "megatron.core")
    planner_engine: Engine = "megatron"

    def gradient_bytes(self, spec: RunSpec) -> float:
        """Bytes of gradient per parameter: megatron-core accumulates in what it reduces in."""
        return 4.0 if spec.train.reduces_in == "fp32" else 2.0

    def check(self, spec: RunSpec) -> None:
        """Raise LayoutError where megatron-core cannot run a spec, or runs it silently wrong."""
        layout = spec.layout
        if layout.zero > 1:
            raise LayoutError(
                f"zero {layout.zero} needs backend deepspeed: megatron-core's distributed optimizer"
                " is zero 1"
            )
        if layout.offload:
            raise LayoutError("offload true needs backend deepspeed, backend is megatron")
        if layout.vpp > 1 and layout.pp == 2 and not layout.overlap_p2p:
            raise LayoutError(
                f"vpp {layout.vpp} with pp 2 needs overlap_p2p true: batched sends and receives"
                " between the same two stages get mixed up, and the loss is silently wrong"
            )
        check_experts(spec)


def check_experts(spec: RunSpec) -> None:
    """Rules of megatron-core's expert layers, which both engines train."""
    layout = spec.layout
    if spec.model.experts and layout.tp > 1 and not layout.sp:
        raise LayoutError(
            f"tp {layout.tp} with experts {spec.model.experts} needs sequence_parallel true"
        )
