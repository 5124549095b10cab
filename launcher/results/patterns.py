"""Messages of torch, Megatron, DeepSpeed, NCCL, gloo, SLURM and the kernel when a run fails."""

import re
from dataclasses import dataclass

from launcher.results.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Pattern:
    """One message and its outcome; ``^`` and ``$`` are those of a line."""

    outcome: Outcome
    regex: re.Pattern[str]
    why: str
    """Program that prints it, and the occasion where that is not plain."""
    echo: bool = False
    """Healthy ranks print it too, when a peer is gone: it counts only if nothing else explains."""


def _root(outcome: Outcome, regex: str, why: str) -> Pattern:
    return Pattern(outcome, re.compile(regex, re.MULTILINE), why)


def _echo(outcome: Outcome, regex: str, why: str) -> Pattern:
    return Pattern(outcome, re.compile(regex, re.MULTILINE), why, echo=True)


HARDWARE_XID = r"NVRM: Xid \([^)]*\): (?:48|63|64|74|79|9[245]|119|120|14\d|150),"
"""Line of the driver about the hardware; Xids 13, 31 and 43 are the program's."""

_ENDED = r"(?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+ "

PATTERNS: tuple[Pattern, ...] = (
    # The machine: it also breaks whatever is asked of it later.
    _root("node", r"uncorrectable (?:ECC|NVLink) error", "CUDA; vllm-project/vllm#5222"),
    _root("node", HARDWARE_XID, "the driver, in dmesg"),
    _root("node", r"GPU has fallen off the bus", "the driver, Xid 79"),
    _root("node", r"CUDA-capable device\(s\) is/are busy or unavailable", "CUDA"),
    _root("node", r"No CUDA GPUs are available|no CUDA-capable device is detected", "torch, CUDA"),
    _root("node", r"CUDA error: system not yet initialized", "CUDA: no NVSwitch fabric manager"),
    _root("node", r"shared memory.*No space left on device", "NCCL, torch: /dev/shm is too small"),
    # Memory of a card.
    _root("oom", r"(?:CUDA|HIP) out of memory", "torch, OutOfMemoryError or RuntimeError"),
    _root("oom", r"CUDA (?:driver )?error: out of memory", "torch, outside its allocator"),
    _root("oom", r"Cuda failure (?:\d+ )?'out of memory'", "NCCL, of its own buffers"),
    _root("oom", r"CUBLAS_STATUS_ALLOC_FAILED", "cuBLAS, of its workspace"),
    # Memory of the machine.
    _root("oom", r"DefaultCPUAllocator: (?:can't allocate|not enough) memory", "torch"),
    _root("oom", r"^(?:\w+\.)*\w*MemoryError\b", "Python; numpy's _ArrayMemoryError"),
    _root("oom", r"\[Errno 12\] Cannot allocate memory|\bstd::bad_alloc\b", "fork, C++"),
    _root("oom", r"Detected \d+ oom[-_]kill event|\boom[-_]kill\b.*cgroup", "slurmstepd"),
    _root("oom", r"Exceeded (?:job|step) memory limit|exceeded memory limit \(", "slurmstepd"),
    _root("oom", r"task [\d,-]+: Out Of Memory", "srun"),
    _root("oom", r"Out of memory: Killed process \d+|Memory cgroup out of memory", "the kernel"),
    # The disk.
    _root("disk", r"CheckpointError: (?:the last checkpoint of )?stage ", "our own ranks"),
    _root("disk", r"No space left on device|Disk quota exceeded", "errno 28 and 122"),
    _root("disk", r"Read-only file system|Stale file handle", "errno 30 and 116"),
    _root("disk", r"PermissionError: \[Errno 13\] Permission denied", "Python"),
    _root("disk", r"\[Errno 5\] Input/output error|write\(\): fd \d+ failed", "Python, torch.save"),
    _root(
        "disk",
        r"PytorchStreamWriter failed writing|inline_container\.cc:\d+\] \. unexpected pos",
        "torch.save on a full disk: the errno is lost",
    ),
    # The text.
    _root("node", r"\bDeviceError: ", "ours"),
    _root("data", r"\bDataError: ", "ours"),
    _root("data", r"bad (?:header|version), cannot read: ", "megatron IndexedDataset"),
    _root("data", r"One or both of the \.idx and \.bin files cannot be found", "megatron"),
    _root("data", r"Index file doesn't match expected format", "Megatron-LM before core"),
    _root("data", r"^Exception: .* at line \d+ column \d+$", "tokenizers: a broken tokenizer.json"),
    _root("data", r"JSONDecodeError: |UnicodeDecodeError: ", "Python"),
    _root(
        "data",
        r"IndexError: index out of range in self|srcIndex < srcSelectDimSize"
        r"|vectorized gather kernel index out of bounds",
        "torch's embedding, on CPU and CUDA: a token id the model does not know",
    ),
    # Numbers.
    _root("diverged", r"\bDivergedError: ", "ours"),
    _root("diverged", r"Unexpected result (?:nan|inf)\b", "megatron rerun_state_machine"),
    _root("diverged", r"found (?:NaN|Inf) in local grad norm", "megatron param_and_grad_buffer"),
    _root("diverged", r"Current loss scale already at minimum", "DeepSpeed loss_scaler"),
    # The configuration.
    _root("assertion", r"Check batch related parameters\.", "DeepSpeed config"),
    _root("assertion", r"(?:size|size per gpu|steps): 0 has to be greater than 0", "DeepSpeed"),
    _root("assertion", r"ZeRO-2 and ZeRO-3 are incompatible with pipeline", "DeepSpeed"),
    _root("assertion", r"DeepSpeedConfigError: |ValidationError: \d+ validation", "DeepSpeed"),
    _root(
        "assertion",
        r"^(?:\w+\.)*(?:ValueError|RuntimeError): .*\bdivisible by\b",
        "megatron parallel_state, transformer_config; DeepSpeed engine",
    ),
    _root("assertion", r"\bAssertionError(?:: |$)", "any other check, megatron's above all"),
    # A fault of the program on the card; none of out of memory or of the hardware is left here.
    _root("failed", r"CUDA error: ", "CUDA: illegal memory access, launch failure, ..."),
    # The scheduler; the ranks it ends print anything, or nothing.
    _root("node", _ENDED + r"DUE TO NODE FAILURE|error: Node failure on ", "slurmstepd, srun"),
    _root("preempted", _ENDED + r"DUE TO (?:PREEMPTION|JOB REQUEUE)", "slurmstepd"),
    _root("timeout", _ENDED + r"DUE TO TIME LIMIT", "slurmstepd"),
    _root("cancelled", r"JOB \S+ ON \S+ CANCELLED AT ", "slurmstepd, of scancel"),
    # No step in time: ours, then faulthandler's (its dump of every thread is not read).
    _echo("hang", r"\bHangError: ", "ours"),
    _echo("hang", r"^Timeout \(\d+:\d\d:\d\d(?:\.\d+)?\)!", "faulthandler.dump_traceback_later"),
    # A collective that failed: of itself, or because the peer had gone.
    _echo("nccl", r"\bLinkError: ", "ours, of the all-reduce before the model is built"),
    _echo("nccl", r"EADDRINUSE|Address already in use", "TCPStore: the rendezvous' port is taken"),
    _echo("nccl", r"Watchdog caught collective operation timeout", "ProcessGroupNCCL"),
    _echo("nccl", r"NCCL error in|unhandled (?:system|cuda) error", "ProcessGroupNCCL"),
    _echo("nccl", r"nccl(?:Remote|System|Internal|UnhandledCuda)Error", "NCCL's result codes"),
    _echo("nccl", r"Some NCCL operations have failed or timed out", "ProcessGroupNCCL"),
    _echo("nccl", r"failed to pass monitoredBarrier", "ProcessGroupGloo"),
    _echo("nccl", r"Timed out waiting \d+ ?ms", "gloo unbound_buffer.cc"),
    _echo("nccl", r"Connection closed by peer|Connection reset by peer", "gloo pair.cc"),
    _echo("nccl", r"Gloo connectFullMesh failed", "gloo rendezvous"),
    _echo("nccl", r"client socket has timed out after|wait timeout after \d+ms", "TCPStore"),
    _echo("nccl", r"Connection was likely closed", "TCPStore: rank 0 has gone"),
    _echo("nccl", r"\bDist(?:Backend|Network|Store)?Error: ", "torch.distributed"),
    _echo("nccl", r"^(?:BrokenPipe|Connection\w*|EOF)Error\b", "Python, on a peer's socket"),
    # srun also says this of the other tasks once one has failed.
    _echo("cancelled", r"STEP \S+ ON \S+ CANCELLED AT ", "slurmstepd, of scancel"),
)
