"""Messages of torch, Megatron, DeepSpeed, NCCL, drivers, SLURM and the kernel when a run fails.

Cards of NVIDIA, AMD, Intel, Huawei; Python, tokenizers, datasets; torchrun, MPI, pdsh, containers.
How a process died, where nothing says why, is in `launcher.results.endings.deaths`.
"""

import functools
import re
from dataclasses import dataclass

from launcher.results.endings.literals import literals
from launcher.results.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Pattern:
    """One message and its outcome."""

    outcome: Outcome
    regex: str
    """``^`` and ``$`` are those of a line."""
    why: str
    """Program that prints it, and the occasion where that is not plain."""
    echo: bool = False
    """Healthy ranks print it too, when a peer is gone: it counts only if nothing else explains."""

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match in a text; most logs have none of its literals."""
        required = literals(self.regex)
        if required and not any(literal in text for literal in required):
            return None
        return _compiled(self.regex).search(text)


@functools.cache
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex, re.MULTILINE)


def _root(outcome: Outcome, regex: str, why: str) -> Pattern:
    return Pattern(outcome, regex, why)


def _echo(outcome: Outcome, regex: str, why: str) -> Pattern:
    return Pattern(outcome, regex, why, echo=True)


HARDWARE_XID = r"NVRM: Xid \([^)]*\): (?:48|63|64|74|79|9[245]|119|120|14\d|150),"
"""Line of the driver about the hardware; Xids 13, 31 and 43 are the program's."""

_ENDED = r"(?:JOB|STEP) \S+(?: ON \S+)? CANCELLED AT \S+ "
_NOT_BY_A_TASK = r"\S+(?! DUE TO TASK FAILURE)(?:\s|$)"

_RAISED = r"^(?:\w+\.)*\w*(?:Error|Exception): "
_TROUBLE = r"(?:WARN|[Ee]rror|[Ff]ailed|[Uu]nable)[^\n]*"
_NONE = r"\b(?:nans?|infs?|infinit[ey]|non-?finite|not finite)\b"
_NOT_FINITE = (
    r"(?=.*(?i:\b(?:loss(?:es)?|grad\w*)\b(?: ?[=:] ?|[^,;]{0,40}?"
    rf"\b(?:is|are|was|became|went|turned|contains?|has|have)\b.{{0,12}}?){_NONE}"
    rf"|{_NONE}(?: or \w+)?(?: (?:values?|was|were|detected|found|encountered|in|the|training"
    r"|local)){0,5} (?:loss|grad\w*)\b))"
)
_STOPS = r"(?=.*\b(?i:stop(?:s|ped|ping)?|exit(?:s|ed|ing)?|(?:abort|terminat)\w*|diverged)\b)"
_NOT_PLANNED = (
    r"(?!.*\b(?i:skip\w*|if|unless|will|may|when\w*|once|soon|should|would|best|patience)\b"
    r"|\s*-{1,2}\w)"
)
"""Not of a line that tells what would be done: a help text, an option, a callback's set-up."""
_SHM = r"(?:shared memory|/dev/shm)"
_S3 = r"botocore\.exceptions\.\w+: An error occurred \("
_FULL = "No space left on device"
_NOT_ADVISED = "".join(
    rf"(?<!\b{word} )" for word in ("avoid", "prevent", "against", "see", "on", "of")
)
"""Not of advice: "to avoid CUDA out of memory", "in case of CUDA out of memory"."""
_THREE_LINES = r"(?:\n[^\n]*){0,2}\n[^\n]*"

PATTERNS: tuple[Pattern, ...] = (
    # The machine: it also breaks whatever is asked of it later.
    _root(
        "node",
        r"uncorrectable (?:ECC|NVLink) error(?!s?(?: count)?[: ]+0\b)",
        "CUDA; vllm-project/vllm#5222",
    ),
    _root("node", HARDWARE_XID, "the driver, in dmesg"),
    _root("node", r"SXid \([^)]*\): \d+, Fatal", "the driver, of an NVSwitch"),
    _root(
        "node",
        r"GPU has fallen off the bus|NVRM: (?:.* )?fallen off the bus|GPU is lost\b",
        "the driver, Xid 79; nvidia-smi",
    ),
    _root("node", r"RmInitAdapter failed|Unable to determine the device handle for", "the driver"),
    _root(
        "node",
        r"CUDA-capable device\(s\) is/are busy or unavailable"
        r"|all CUDA-capable devices are busy or unavailable",
        "CUDA",
    ),
    _root(
        "node",
        r"No (?:CUDA GPUs|HIP GPUs|XPU devices) are available"
        r"|no (?:CUDA|ROCm)-capable device is detected",
        "torch, CUDA, HIP",
    ),
    _root(
        "node",
        r"CUDA error: system not yet initialized|[Ee]rror 802: |[Ff]ailure (?:802 )?'system not yet"
        r"|CUDA_ERROR_SYSTEM_NOT_READY|cudaErrorSystemNotReady",
        "CUDA, torch, NCCL: no NVSwitch fabric manager",
    ),
    _root(
        "node",
        r"system has unsupported display driver / cuda driver combination"
        r"|forward compatibility was attempted on non supported HW"
        r"|CUDA driver version is insufficient for CUDA runtime version"
        r"|The NVIDIA driver on your system is too old|Found no NVIDIA driver on your system"
        r"|provided PTX was compiled with an unsupported toolchain",
        "CUDA and torch: the driver does not fit",
    ),
    _root("node", r"cudaGetDeviceCount\(\).*Error (?:3|46|999): ", "torch: the driver is stuck"),
    _root("node", r"over nvlink or a hardware error", "CUDA: Invalid access of peer GPU memory"),
    _root("node", r"is available but not working on this system\. Check the IMEX", "NCCL MNNVL"),
    _root(
        "node",
        r"HW Exception by GPU node|amdgpu: GPU reset begin|UR_RESULT_ERROR_DEVICE_LOST",
        "ROCm, Intel",
    ),
    _root(
        "node",
        r"EJ0001: |error code is 50705[34]\b|[Hh][Bb][Mm] [Mm]ulti[- ][Bb]it ECC",
        "Ascend: HCCP cannot start; memory of the card is broken",
    ),
    _root(
        "node",
        r"synStatus=\d+ \[(?:Device (?:already acquired|not found)|.*\] Device acquire failed)",
        "Habana",
    ),
    _root("node", r": Possible (?:transient|persistent) error!", "megatron rerun_state_machine"),
    # /dev/shm is too small: the errno is that of a full disk.
    _root("node", r"shared memory.*No space left on device", "NCCL, torch: /dev/shm is too small"),
    _root(
        "node", r"Call to posix_fallocate failed", "NCCL before it had shmutils.cc, include/shm.h"
    ),
    _root(
        "node",
        r"Error while (?:\w+ ){1,4}shared memory segment|failed to extend /dev/shm/",
        "NCCL shmutils.cc",
    ),
    _root(
        "node",
        rf"/dev/shm/.*{_FULL}|{_FULL}.*/dev/shm/",
        "Python's multiprocessing, any program's file there",
    ),
    _root(
        "node",
        rf"{_TROUBLE}{_SHM}[^\n]*(?={_THREE_LINES}{_FULL})"
        rf"|{_FULL}[^\n]*(?={_THREE_LINES}{_TROUBLE}{_SHM})",
        "the same, on two lines",
    ),
    _root(
        "node",
        r"unable to (?:\w+ ){1,4}(?:\(?shm\)? )?(?:for |from |to )?(?:file |object )?</torch_"
        r"(?!.*Too many open files)",
        "torch MapAllocator.cpp",
    ),
    _root(
        "node",
        r"(?:insufficient|are out of) shared memory",
        "torch DataLoader",
    ),
    _root("node", r"\(pid \d+\) is killed by signal: Bus error", "torch DataLoader"),
    _root(
        "node",
        r"ibv_(?:reg_mr|create_qp|create_cq|alloc_pd)\w* (?:failed|returned).*Cannot allocate",
        "NCCL: the limit of locked memory (ulimit -l)",
    ),
    # Memory of a card.
    _root("failed", r"Tried to allocate more than 1EB memory", "torch: the size is garbage"),
    _root(
        "oom",
        _NOT_ADVISED + r"\b[A-Z]{3,4} (?:backend )?out of memory",
        "torch, OutOfMemoryError or RuntimeError, on any card",
    ),
    _root("oom", r"(?:CUDA|HIP) (?:driver )?error: out of memory", "torch, past its allocator"),
    _root(
        "oom",
        r"(?i:\b(?:cuda|hip) (?:runtime error|failed with error)) \(?2\)?(?: ?:)? out of memory",
        "torch before 1.5, cumm",
    ),
    _root("oom", r"(?:Cuda|HIP) failure (?:\d+ )?'out of memory'", "NCCL, of its own buffers"),
    _root("oom", r"cudaGetDeviceCount\(\).*Error 2: out of memory", "torch: the card is taken"),
    _root(
        "oom",
        r"(?:CUBLAS|CUDNN|HIPBLAS)_STATUS_ALLOC_FAILED|rocblas_status_memory_error"
        r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory",
        "cuBLAS, of its workspace; the names of such codes",
    ),
    _root("oom", r"NCCL WARN Failed to CUDA (?:malloc|calloc|host alloc)", "NCCL"),
    _root(
        "oom",
        r"(?:UR|ZE|PI)_(?:RESULT_)?ERROR_OUT_OF_(?:DEVICE_MEMORY|HOST_MEMORY|RESOURCES)",
        "Intel's Level Zero and SYCL",
    ),
    _root("oom", r"HSA_STATUS_ERROR_OUT_OF_RESOURCES", "ROCm"),
    _root(
        "oom",
        r"MODULE:PT_DEVMEM Allocation failed|MODULE:SYNHELPER workspace Allocation of size",
        "Habana",
    ),
    _root(
        "oom", r"EL0004(?:: |\): )|Failed to allocate device memory|aclrtMalloc\w* failed", "Ascend"
    ),
    _root("oom", r"RESOURCE_EXHAUSTED: .*[Oo]ut of memory|Ran out of memory in memory", "XLA"),
    _root("oom", r"^Out of memory error on [GNX]PU \d", "Paddle"),
    # Memory of the machine.
    _root("oom", r"DefaultCPUAllocator: (?:can't allocate|not enough) memory", "torch"),
    _root("oom", r"^(?:\w+\.)*\w*MemoryError\b", "Python; numpy's _ArrayMemoryError; Ray"),
    _root("oom", r"\[Errno 12\] Cannot allocate memory|\bstd::bad_alloc\b", "fork, C++"),
    _root("oom", r"fork: (?:retry: )?Cannot allocate memory", "a shell"),
    _root("oom", r"memory allocation of \d+ bytes failed", "Rust: tokenizers, safetensors"),
    _root("oom", r"Detected \d+ oom[-_]kill event|\boom[-_]kill\b.*cgroup", "slurmstepd"),
    _root(
        "oom",
        r"Exceeded (?:job|step) memory limit|exceeded (?:virtual )?memory limit \(",
        "slurmstepd, jobacct_gather",
    ),
    _root("oom", r"tasks? [\d,\[\]-]+: Out Of Memory", "srun"),
    _root("oom", r"(?:State|STATE)[:=] ?OUT_OF_MEMORY|Reason=OutOfMemory", "seff, scontrol"),
    _root("oom", r"Out of memory: Killed process \d+|Memory cgroup out of memory", "the kernel"),
    _root(
        "oom",
        r"invoked oom-killer|oom-kill:constraint=|oom_reaper: reaped process|result 'oom-kill'"
        r"|killed by the OOM killer",
        "the kernel, systemd",
    ),
    _root("oom", r"OOMKilled\b(?!\W{1,3}false)|low on resource: memory", "Kubernetes, docker"),
    _root(
        "oom",
        r"TERM_MEMLIMIT: |PBS: job killed: v?mem |has gone over (?:cgroup )?memory limit",
        "LSF, PBS, HTCondor",
    ),
    _root("node", r"\(pid \d+\) is killed by signal: Killed", "torch DataLoader"),
    # The disk.
    _root("disk", r"CheckpointError: (?:the last checkpoint of )?stage ", "our own ranks"),
    _root("disk", r"No space left on device|Disk quota exceeded", "errno 28 and 122"),
    _root("disk", r"Read-only file system|Stale (?:NFS )?file handle", "errno 30 and 116"),
    _root("disk", r"PermissionError: \[Errno 13\] Permission denied", "Python"),
    _root("disk", r"\[Errno 5\] Input/output error|write\(\): fd \d+ failed", "Python, torch.save"),
    _root(
        "disk",
        r"\[Errno (?:28|30|116|121|122)\] "
        r"|(?:after transport endpoint shutdown|Transport endpoint is not connected): '"
        r"|'[^'\n]*': (?:Cannot send after t|T)ransport endpoint",
        "Python, tools, of a file: Lustre, NFS, FUSE; a socket's has no path",
    ),
    _root(
        "disk",
        r"PytorchStreamWriter failed writing|inline_container\.cc:\d+\] \. unexpected pos"
        r"|basic_ios::clear: iostream error",
        "torch.save on a full disk: the errno is lost",
    ),
    _root("disk", r"Parent directory \S+ does not exist", "torch.save"),
    _root("disk", r"for (?:read|write) +failed on \S+ error = \d+", "DeepSpeed aio, of NVMe"),
    _root("disk", r"Not enough disk space\. Needed: ", "datasets, huggingface_hub"),
    _root("disk", r"Failed to write dataset materials to the data cache", "megatron"),
    _root("disk", r"low on resource: ephemeral-storage|kind: StorageFull", "Kubernetes; Rust"),
    _root(
        "disk", _S3 + r".* when calling the (?:PutObject|UploadPart|\w*MultipartUpload) ", "boto3"
    ),
    # The text.
    _root("node", r"DeviceError: ", "ours"),
    _root("data", r"\bDataError: ", "ours"),
    _root("data", r"bad (?:header|version), cannot read: ", "megatron IndexedDataset"),
    _root("data", r"One or both of the \.idx and \.bin files cannot be found", "megatron"),
    _root("data", r"Index file doesn't match expected format", "Megatron-LM before core"),
    _root(
        "data",
        r"^\s*Dataset does not exist: .*(?=\n\s*Path should be a basename)",
        "Megatron-LM before core: it goes on without one, and fails of that",
    ),
    _root(
        "data",
        r"offset must be non-negative and no greater than buffer length"
        r"|buffer is smaller than requested size|buffer size must be a multiple of element size",
        "numpy.frombuffer, of a .bin or .idx that is cut off: megatron IndexedDataset",
    ),
    _root(
        "data",
        r"mmap length is greater than file size|cannot mmap an empty file"
        r"|No data left in file|Failed to interpret file .* as a pickle",
        "numpy.memmap and numpy.load, of a file that is cut off",
    ),
    _root(
        "data",
        r"^RuntimeError: Index file .* took too long to download"
        r"|Relative sample index \d+ is not present in the",
        "MosaicML streaming",
    ),
    _root("data", r"blend oversamples the contributing datasets", "megatron BlendedDataset"),
    _root(
        "data", r"FileNotFoundError: .*(?:\.(?:idx|jsonl|parquet|arrow)|_document\.bin)'", "Python"
    ),
    _root("data", r"^Exception: .* at line \d+ column \d+$", "tokenizers: a broken tokenizer.json"),
    _root("data", _S3 + r"(?:40[34]|NoSuchKey|NoSuchBucket|AccessDenied)\)", "boto3"),
    _root("data", r"sentencepiece_processor\.cc|Error parsing line .* in \S+\.model", "its model"),
    _root(
        "data",
        r"JSONDecodeError: |UnicodeDecodeError: |BadGzipFile: |ZstdError: |LZMAError: "
        r"|^zlib\.error: |struct\.error: unpack requires a buffer"
        r"|Compressed file ended before the end-of-stream marker",
        "Python",
    ),
    _root(
        "data",
        r"ArrowInvalid: |Parquet magic bytes not found|ArrowTypeError: ",
        "pyarrow",
    ),
    _root(
        "data",
        r"(?:DatasetGeneration(?:Cast)?|DatasetNotFound|DataFilesNotFound|NonMatchingSplitsSizes"
        r"|NonMatchingChecksum|ExpectedMoreSplits)Error\b",
        "datasets",
    ),
    _root(
        "data",
        r"Can't load tokenizer for |is not a valid model identifier listed on"
        r"|couldn't connect to '?https://huggingface\.co|Couldn't reach .* on the Hub"
        r"|host='(?:cdn-lfs\S*\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)'",
        "transformers, datasets: neither here nor to be fetched",
    ),
    _root(
        "data",
        r"(?:RepositoryNotFound|GatedRepo|LocalEntryNotFound|RevisionNotFound|OfflineModeIsEnabled"
        r"|HFValidation)(?:Error)?: ",
        "huggingface_hub",
    ),
    _root(
        "data",
        r"IndexError: index out of range in self|srcIndex < srcSelectDimSize"
        r"|vectorized gather kernel index out of bounds",
        "torch's embedding, on CPU and CUDA: a token id the model does not know",
    ),
    # Numbers.
    _root("diverged", r"DivergedError: ", "ours"),
    _root(
        "diverged",
        r"Unexpected result (?:tensor\(\[?)?-?(?:nan|inf)\b",
        "megatron rerun_state_machine",
    ),
    _root("diverged", r"found (?:NaN|Inf) in local (?:grad|forward)", "megatron"),
    _root("diverged", r"Detected NaN or Inf in wgrad", "Megatron-FSDP"),
    _root("diverged", r"Current loss scale already at minimum", "DeepSpeed loss_scaler"),
    _root(
        "diverged",
        r"Skipped \d+ iterations in a row due to Overflow|Minimum loss scale reached",
        "GPT-NeoX; fairseq",
    ),
    _root("diverged", r"is non-finite, so it cannot be clipped", "torch clip_grad_norm_"),
    _root("diverged", r"Function '\w+' returned nan values in its", "torch detect_anomaly"),
    _root("diverged", _RAISED + _NOT_FINITE, "Composer's NaNMonitor, Lightning and others"),
    _root(
        "diverged",
        "^" + _STOPS + _NOT_PLANNED + _NOT_FINITE,
        "scripts after timm and MAE: one that says so and goes on has not diverged yet",
    ),
    # The configuration.
    _root("assertion", r"Check batch related parameters\.", "DeepSpeed config"),
    _root("assertion", r"(?:size|size per gpu|steps): 0 has to be greater than 0", "DeepSpeed"),
    _root("assertion", r"ZeRO-2 and ZeRO-3 are incompatible with pipeline", "DeepSpeed"),
    _root("assertion", r"DeepSpeedConfigError: |ValidationError: \d+ validation", "DeepSpeed"),
    _root("assertion", r"DeepSpeed config values that mismatch", "transformers"),
    _root(
        "assertion",
        _RAISED + r".*(?:\bdivisible by\b|\b(?:be|not) an? (?:integer )?multiple of\b"
        r"|\bdoes not (?:evenly )?divide\b|\bnot evenly divi)",
        "megatron arguments, parallel_state, transformer_config; DeepSpeed engine; torch",
    ),
    _root(
        "assertion",
        r"Duplicate GPU detected|Multiple Ranks are using the same GPU",
        "NCCL init.cc: two ranks on one card",
    ),
    _root("assertion", r"(?:CUDA|HIP) error: invalid device ordinal", "CUDA: a rank too many"),
    _root(
        "assertion",
        r"^\S+: error: (?:unrecognized arguments|ambiguous option|the following arguments are req"
        r"|argument \S+: )",
        "argparse",
    ),
    _root(
        "assertion",
        r"^(?:omegaconf|hydra)\.errors\.\w+: |^Could not override '|^Could not append to config",
        "Hydra",
    ),
    _root("assertion", r"\bAssertionError(?:: |$)", "any other check, megatron's above all"),
    # A fault of the program on the card; none of out of memory or of the hardware is left here.
    _root("failed", r"(?:CUDA|HIP) error: ", "illegal memory access, launch failure, ..."),
    _root("failed", r"Memory access fault by GPU node|HSA_STATUS_ERROR_\w+", "ROCm"),
    _root("failed", r"hipErrorNoBinaryForGpu|no kernel image is available", "HIP, CUDA: the build"),
    _root("failed", r"out of resource: shared memory, Required: ", "triton: a kernel's tile"),
    _root(
        "failed",
        r"^(?:double free or corruption|free\(\): |malloc\(\): |munmap_chunk\(\): "
        r"|corrupted (?:size|double-linked)|\*\*\* stack smashing detected)",
        "glibc",
    ),
    _root(
        "failed",
        r"error while loading shared libraries: |can't open file '.*': \[Errno 2\]"
        r"|\bexecve\(\): .*: No such file",
        "the loader, Python, slurmstepd",
    ),
    _root("failed", r"^libgomp: Thread creation failed|^OMP: Error #\d+: ", "OpenMP of GCC, LLVM"),
    _root("failed", r"error: pyxis: |^FATAL: {3}\S", "pyxis, apptainer: no container"),
    # The scheduler; the ranks it ends print anything, or nothing.
    _root("node", _ENDED + r"DUE TO NODE FAILURE|error: Node failure on ", "slurmstepd, srun"),
    _root("node", r"STEPD TERMINATED ON \S+ AT .* NOT ENDING WITH SIGNALS", "slurmstepd"),
    _root(
        "node",
        r"Task launch for \S+ failed on node|Application launch failed: "
        r"|Aborting, (?:io error|step missing)|Nodes \S+ are still not ready"
        r"|wrong with the boot of the nodes",
        "srun",
    ),
    _root("preempted", _ENDED + r"DUE TO (?:PREEMPTION|JOB REQUEUE)", "slurmstepd"),
    _root("preempted", r"TERM_PREEMPT: |^Reason: +(?:Preempted|Evicted)$", "LSF, Kubernetes"),
    _root("timeout", _ENDED + r"DUE TO TIME LIMIT", "slurmstepd"),
    _root("timeout", r"TERM_RUNLIMIT: |PBS: job killed: walltime ", "LSF, PBS"),
    _root(
        "cancelled", r"JOB \S+(?: ON \S+)? CANCELLED AT " + _NOT_BY_A_TASK, "slurmstepd, of scancel"
    ),
    _root("cancelled", r"TERM_(?:OWNER|ADMIN): ", "LSF, of bkill"),
    _root(
        "failed",
        r"(?:Unable to create step for job \d+|Unable to allocate resources"
        r"|Batch job submission failed): ",
        "srun, sbatch: no such resources",
    ),
    # No step in time: ours, then faulthandler's (its dump of every thread is not read).
    _echo("hang", r"HangError: ", "ours"),
    _echo("hang", r"^Timeout \(\d+:\d\d:\d\d(?:\.\d+)?\)!", "faulthandler.dump_traceback_later"),
    _echo("hang", r"Did not get (?:initial|subsequent) heartbeat", "NVIDIA resiliency ft_launcher"),
    _echo("cancelled", r"^KeyboardInterrupt\b", "Python, of Ctrl-C"),
    # A collective that failed: of itself, or because the peer had gone.
    _echo("nccl", r"LinkError: ", "ours, of the all-reduce before the model is built"),
    _echo("nccl", r"EADDRINUSE|Address already in use", "TCPStore: the rendezvous' port is taken"),
    _echo(
        "node",
        r"^ssh: connect to host \S+ port \d+: |mcmd: connect failed: "
        r"|^Host key verification failed|Permission denied \(publickey",
        "ssh, pdsh",
    ),
    _echo(
        "node",
        r"NVIDIA-SMI has failed because|Failed to initialize NVML: ",
        "nvidia-smi: a login node has no driver either",
    ),
    _echo("failed", r"invalid (?:usage|argument) \(run with NCCL_DEBUG", "ncclGetErrorString"),
    _echo("failed", r"ncclInvalid(?:Usage|Argument)|NCCL Error [45]: ", "NCCL's result codes"),
    _echo(
        "nccl",
        r"NET/IB\w* ?: ?(?:Got completion (?:from peer )?.*\b(?:error|status)|.*async fatal event)"
        r"|[Tt]ransport retry count(?:er)? exceeded"
        r"|ibv_(?!open_device|query_(?:device|port)\b)\w+ (?:failed|returned)\b",
        "NCCL net_ib: the fabric, or a peer that is gone",
    ),
    _echo(
        "nccl",
        r"(?:Bootstrap|NET/\w+) ?: no (?:socket )?interface found|No usable listening interface"
        r"|verify NCCL_OOB_NET_IFNAME|Failed to initialize any NET plugin",
        "NCCL bootstrap.cc, net.cc: NCCL_SOCKET_IFNAME",
    ),
    _echo("nccl", r"NCCL WARN NET/OFI .*(?:completed with error|failed)", "aws-ofi-nccl"),
    _echo("nccl", r"NCCL version mismatch|Mismatched NCCL version", "NCCL: another container"),
    _echo("nccl", r"Watchdog caught collective operation timeout", "ProcessGroupNCCL"),
    _echo(
        "hang",
        r"ProcessGroup\w+'s watchdog got stuck for \d+|Heartbeat monitor timed out!",
        "ProcessGroupNCCL: a call into CUDA or NCCL does not return",
    ),
    _echo(
        "hang",
        r"The execution of the internal task times out|reason=\[(?:task|aicore) timeout\]"
        r"|AclrtSynchronize\w+WithTimeout",
        "Ascend",
    ),
    _echo(
        "nccl",
        r"E[IJ]\d{4}(?:\[|: |\): )|ERR02\d{3} DIST |HCCL watchdog"
        r"|HCCL (?:function )?error(?: in)?: ",
        "Ascend HCCL: EI0002 a peer does not come, EI0006 a socket does not open",
    ),
    _echo(
        "nccl",
        r"[Ss]ocket\w*: [Cc]onnect to \S+ (?:failed|returned)|SocketPollConnect to \S+ failed"
        r"|exceeded error retry count",
        "NCCL socket.cc",
    ),
    _echo("nccl", r"NCCL error in|unhandled (?:system|cuda) error", "ProcessGroupNCCL"),
    _echo("nccl", r"NCCL WARN (?:Cuda|HIP) failure (?:\d+ )?'", "NCCL, of a call into CUDA"),
    _echo("nccl", r"nccl(?:Remote|System|Internal|UnhandledCuda)Error", "NCCL's result codes"),
    _echo("nccl", r"Some NCCL operations have failed or timed out", "ProcessGroupNCCL"),
    _echo(
        "nccl",
        r"Timeout at NCCL work|detected by watchdog at work|a dump signal due to a collective"
        r"|we are taking the entire process down|NCCL communicator (?:was|has been) aborted"
        r"|remote process exited or there was a network error",
        "ProcessGroupNCCL",
    ),
    _echo("nccl", r"failed to pass monitoredBarrier|in monitoredBarrier after", "ProcessGroupGloo"),
    _echo("nccl", r"Timed out waiting \d+ ?ms", "gloo unbound_buffer.cc"),
    _echo("nccl", r"Connection closed by (?:remote )?peer|Connection reset by peer", "gloo, NCCL"),
    _echo("nccl", r"Gloo connectFullMesh failed", "gloo rendezvous"),
    _echo(
        "nccl",
        r"client socket has (?:timed out after|failed to connect)|wait timeout after \d+ms"
        r"|server socket has failed to|Timed out after \d+ seconds waiting for clients",
        "TCPStore",
    ),
    _echo("nccl", r"in store based barrier on rank|store_based_barrier_key", "torch.distributed"),
    _echo("nccl", r"Connection was likely closed|^RuntimeError: Socket Timeout", "TCPStore"),
    _echo("nccl", r"Rendezvous\w*Error\b", "torchrun"),
    _echo(
        "nccl", r"oneCCL: .*(?:EXCEPTION|error)|^UCX +ERROR|MPI_ABORT was invoked", "oneCCL, MPI"
    ),
    _echo("nccl", r"\bgaierror: |Name or service not known", "sockets: the master has no address"),
    _echo("nccl", r"Dist(?:Backend|Network|Store)?Error: ", "torch.distributed"),
    _echo("nccl", r"^(?:BrokenPipe|Connection\w*|EOF)Error\b", "Python, on a peer's socket"),
    _echo("node", r"Exiting program due to straggler detection", "Megatron-Bridge"),
    _echo(
        "failed",
        r"NPU function error: |The Inner error is reported as above|ACL stream synchronize failed"
        r"|^E[EHZ]\d{4}(?:\[|: )",
        "Ascend: any fault of a card, or what came of one",
    ),
    _echo("failed", r"^.{1,99}: command not found$", "a shell: its script may go on without"),
    _echo("cancelled", r"is killed by signal: (?:Terminated|Hangup|Interrupt)", "torch DataLoader"),
    # A script goes on after a command that is only nice to have: nvidia-smi, module, ninja.
    _echo("failed", r"^.{1,99}: command not found$", "a shell"),
    # srun also says this of the other tasks once one has failed.
    _echo(
        "cancelled",
        r"STEP \S+(?: ON \S+)? CANCELLED AT " + _NOT_BY_A_TASK,
        "slurmstepd, of scancel",
    ),
)
