"""Messages of every program and card that trains -> outcome and cause, and harmless lines -> none.

Words are those that the programs print (torch 2.13, NCCL 2.28, megatron-core 0.19, DeepSpeed 0.19,
SLURM 25, the drivers of NVIDIA, AMD, Intel, Huawei and Habana); hosts, paths and sizes are made up.
Module: launcher.results.endings.patterns.
"""

import re

import pytest

from launcher.results.endings.classify import classify, last_resort, verdict_of_log
from launcher.results.outcomes import Outcome

HEAD = (
    'Traceback (most recent call last):\n  File "/job/train.py", line 88, in <module>\n    main()\n'
)
WRAPPED = "torch.distributed.DistBackendError: NCCL error in: /pt/c10d/NCCLUtils.cpp:77, "
SYSTEM = (
    "unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.26.2\n"
    "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device"
    " error.\nLast error:\n"
)

OOM = [
    ("RuntimeError: NPU out of memory. Tried to allocate 1.50 GiB (NPU 3; 60.97 GiB total", "NPU out"),
    ("torch.OutOfMemoryError: XPU out of memory. Tried to allocate 64.00 GiB.", "XPU out of memory"),
    ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 8.00 GiB. GPU 2", "HIP out"),
    ("RuntimeError: CUDA out of memory encountered on a different rank", "on a different rank"),
    ("RuntimeError: MPS backend out of memory (MPS allocated: 17.9 GB, max: 18.1 GB)", "MPS backend"),
    ("RuntimeError: [Rank:4] FATAL ERROR :: MODULE:PT_DEVMEM Allocation failed for size::7", "DEVMEM"),
    ("RuntimeError: HIP error: out of memory\nHIP kernel errors might be asynchronous", "HIP error"),
    ("RuntimeError: Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
     "OUT_OF_DEVICE_MEMORY"),
    (":0:rocdevice.cpp :2880: Aborting with error : HSA_STATUS_ERROR_OUT_OF_RESOURCES: no room", "HSA"),
    ("EL0004: 2025-03-03-10:00:00 Failed to allocate memory. Reason: the NPU is full", "EL0004"),
    ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before"
     " calling NumCudaDevices()? Error 2: out of memory", "cudaGetDeviceCount"),
    ("n7:91:1440 [5] enqueue.cc:1556 NCCL WARN Failed to CUDA calloc async 8 bytes", "calloc async"),
    ("jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", "RES"),
    ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.", "Task"),
    ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"
     "Aborted (core dumped)", "bad_alloc"),
    ("memory allocation of 4194304 bytes failed\nAborted (core dumped)", "4194304 bytes failed"),
    ("/job/run.sh: fork: Cannot allocate memory", "Cannot allocate memory"),
    ("[88123.4] python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0", "invoked oom-killer"),
    ("[88123.9] oom_reaper: reaped process 4411 (python3), now anon-rss:0kB", "reaped process 4411"),
    ("srun: error: n3: tasks 8-15: Out Of Memory", "Out Of Memory"),
    ("slurmstepd: error: StepId=77.0 exceeded memory limit (99 > 88), being killed", "exceeded memory"),
    ("    State: OUT_OF_MEMORY (exit code 0)", "OUT_OF_MEMORY"),
    ("    Last State:  Terminated\n      Reason:    OOMKilled\n      Exit Code: 137", "OOMKilled"),
    ("The node was low on resource: memory. Container train was using 480Gi", "resource: memory"),
    ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.\nExited with exit code 137.",
     "TERM_MEMLIMIT"),
    ("=>> PBS: job killed: mem 530000000kb exceeded limit 524288000kb", "mem 530000000kb"),
    # A worker that is killed and the kernel that says why.
    ("RuntimeError: DataLoader worker (pid 512) is killed by signal: Killed. \n"
     "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0. Some of the step tasks have been OOM"
     " Killed.", "oom_kill event"),
    ("[2025-01-01 10:00:00,1] [ERROR] [launch.py:325:sigkill_handler] ['python', '-u', 'x.py'] exits with"
     " return code = -9\n[9.1] Out of memory: Killed process 71 (python) total-vm:9kB", "Killed process 71"),
    ("RuntimeError: The Inner error is reported as above. The process exits for this inner error, and the"
     " current working operator name is Conv2D.\n[ERROR] 2026-04-09-21:56:46 (PID:7, Device:0, RankID:0) ERR00100"
     " PTA call acl api failed.\n[PID: 7] 2026-04-09-21:56:40.384.694 Memory_Allocation_Failure(EL0004): Failed to"
     " allocate memory requested by GE module.", "EL0004"),
    ("RuntimeError: cuda runtime error (2) : out of memory at /pytorch/aten/src/THC/THCStorage.cu:58", "error"),
    ("cuda failed with error 2 out of memory. use CUDA_LAUNCH_BLOCKING=1 to get correct traceback.", "error 2"),
]  # fmt: skip

NODE = [
    # /dev/shm, whose errno is that of a full disk.
    (f"{HEAD}{WRAPPED}{SYSTEM}Error while creating shared memory segment /dev/shm/nccl-5Dq (size 9637888),"
     " error: No space left on device (28)", "shared memory segment"),
    ("n1:5:9 [0] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-Ab to 33030532 bytes,"
     " error: No space left on device (28)", "/dev/shm/nccl-Ab"),
    (f"{HEAD}{WRAPPED}{SYSTEM}Error while attaching to shared memory segment nccl-shm-send-1 (size 0)\n"
     "n1:5:9 [0] NCCL WARN Call to open failed : No space left on device", "shared memory segment"),
    ("n1:5:9 [0] NCCL WARN Call to write failed : No space left on device\n\n"
     "n1:5:9 [0] NCCL WARN Unable to use shared memory for rank 3", "No space left on device"),
    ("OSError: [Errno 28] No space left on device: '/dev/shm/pym-71-k2'", "/dev/shm/pym"),
    ("RuntimeError: unable to write to file </torch_4411_2208891_0>", "</torch_4411"),
    ("RuntimeError: unable to allocate shared memory(shm) for file </torch_9_8_7>: No space left on device"
     " (28)", "shared memory"),
    ("RuntimeError: unable to resize file </torch_9_8_7> to the right size: No space left on device (28)",
     "</torch_9"),
    ("ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory"
     " (shm).\nRuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.", "shared memory"),
    ("RuntimeError: DataLoader worker (pid(s) 12, 13) exited unexpectedly\n"
     "RuntimeError: DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that"
     " dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
     "out of shared memory"),
    ("queue.Empty\nRuntimeError: DataLoader worker (pid 88) is killed by signal: Killed. ", "Killed"),
    # Locked memory.
    ("n1:5:9 [3] misc/ibvwrap.cc:167 NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory",
     "ibv_reg_mr"),
    # Drivers and fabric.
    ("n1:5:9 [3] init.cc:1700 NCCL WARN Cuda failure 802 'system not yet initialized'", "system not yet"),
    ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display"
     " driver / cuda driver combination", "803|unsupported display driver"),
    ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was"
     " attempted on non supported HW", "forward compatibility"),
    ("RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
     "driver version is insufficient"),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "too old"),
    ("RuntimeError: CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error", "nvlink"),
    ("NVRM: GPU 0000:1b:00.0: RmInitAdapter failed! (0x26:0x56:1463)", "RmInitAdapter failed"),
    ("Unable to determine the device handle for GPU0000:1B:00.0: Unknown Error", "device handle"),
    ("[7.1] NVRM: Xid (PCI:0000:1b:00): 48, pid=9, name=python, DBE (double bit error) ECC", "Xid"),
    ("n1:5:9 [0] NCCL WARN MNNVL (cliqueSize 8) is available but not working on this system. Check the IMEX"
     " configuration (nvidia-imex-ctl -N).", "IMEX"),
    ("HW Exception by GPU node-3 (Agent handle: 0x55) reason :GPU Hang", "GPU Hang"),
    ("RuntimeError: No HIP GPUs are available", "No HIP GPUs"),
    ("RuntimeError: Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)", "DEVICE_LOST"),
    ("RuntimeError: [ERROR] HCCL error in: /torch_npu/ProcessGroupHCCL.cpp:64\nEJ0001: 2025-02-02 Failed to"
     " initialize the HCCP process. Reason: Maybe the last training process is running.", "EJ0001"),
    ("RuntimeError: synStatus=20 [Device already acquired] Device acquire failed.", "already acquired"),
    ("ERROR:megatron.core.rerun_state_machine:Unexpected result nan on rank 3 at iteration #9 invocation #1"
     " (message='loss')\nERROR:megatron.core.rerun_state_machine:Rank 3, node n2, device 3, iteration #9:"
     " Possible transient error!", "Possible transient error"),
    # The batch system.
    ("srun: error: Node failure on n[4-5]\nsrun: error: n1: tasks 0-7: Killed", "Node failure"),
    ("srun: error: Task launch for StepId=36.0 failed on node n31: Job credential expired", "n31"),
    ("srun: error: Aborting, io error with slurmstepd on node 3", "io error"),
    ("slurmstepd: error: *** STEP 9.0 STEPD TERMINATED ON n4 AT 2025-01-02T03:04:05 DUE TO JOB NOT ENDING"
     " WITH SIGNALS ***", "STEPD TERMINATED"),
    ("ssh: connect to host n17 port 22: No route to host", "n17"),
    ("amdgpu 0000:c1:00.0: amdgpu: GPU reset begin!", "GPU reset"),
    ("RuntimeError: synStatus=26 [Generic failure] Device acquire failed.", "acquire failed"),
    ("[ 1843.3] NVRM: The NVIDIA GPU 0000:b3:00.0\n               NVRM: (PCI ID: 10de:26b5) installed in this"
     " system has\n               NVRM: fallen off the bus and is not responding to commands.", "fallen off"),
    ("nvidia-nvswitch3: SXid (PCI:0000:c3:00.0): 20034, Fatal, Link 30 LTSSM Fault Up", "SXid"),
]  # fmt: skip

DISK = [
    ("deepspeed_aio:  open for write  failed on /nvme/zero_stage_3/a.swp error = 28\nAssertionError",
     "a.swp error = 28"),
    ("botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject operation",
     "PutObject"),
    ("OSError: [Errno 28] No space left on device: '/ckpt/iter_0000500/.metadata'", "No space left"),
    ("safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull,"
     ' message: "No space left on device" })', "No space left"),
    ("OSError: [Errno 122] Disk quota exceeded: '/home/me/.cache/x'", "quota"),
    ("OSError: [Errno 108] Cannot send after transport endpoint shutdown: '/lustre/ckpt'", "108"),
    ("OSError: [Errno 107] Transport endpoint is not connected: '/mnt/gcs/run'", "107"),
    ("cp: cannot stat '/mnt/gcs/a': Transport endpoint is not connected", "/mnt/gcs/a"),
    ("OSError: [Errno 121] Remote I/O error: '/gpfs/a'", "121"),
    ("FileNotFoundError: [Errno 116] Stale NFS file handle", "Stale NFS"),
    ("RuntimeError: Parent directory /ckpt/new does not exist.", "Parent directory"),
    ("RuntimeError: basic_ios::clear: iostream error", "iostream error"),
    ("OSError: Not enough disk space. Needed: 305 GiB (download: 100 GiB)", "Not enough disk"),
    ("OSError: [Errno 30] Read-only file system: '/cache'\n\nThe above exception was the direct cause of the"
     " following exception:\n\nException: Failed to write dataset materials to the data cache directory.",
     "Read-only|data cache"),
    # A healthy account of shared memory beside a disk that is full.
    ("n1:5:9 [1] NCCL INFO Channel 00 : 1[1b000] -> 2[1c000] via direct shared memory\n"
     "OSError: [Errno 28] No space left on device: '/ckpt/a'", "/ckpt/a"),
]  # fmt: skip

DATA = [
    (f"{HEAD}struct.error: unpack requires a buffer of 8 bytes", "struct.error"),
    ("botocore.exceptions.ClientError: An error occurred (404) when calling the HeadObject operation: Not"
     " Found", "HeadObject"),
    (f"{HEAD}ValueError: buffer is smaller than requested size", "buffer is smaller"),
    (f"{HEAD}ValueError: buffer size must be a multiple of element size", "multiple of element size"),
    (f"{HEAD}ValueError: mmap length is greater than file size", "mmap length"),
    (f"{HEAD}ValueError: cannot mmap an empty file", "empty file"),
    (f"{HEAD}EOFError: No data left in file", "No data left"),
    (f"{HEAD}IndexError: The train blend oversamples the contributing datasets and, for example, requests 9"
     " samples", "oversamples"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/data/en_text_document.idx'", r"\.idx"),
    ("OSError: Can't load tokenizer for 'org/tok'. If you were trying to load it from", "org/tok"),
    ("RuntimeError: Internal: src/sentencepiece_processor.cc(1101) [model_proto->Parse", "sentencepiece"),
    ("pyarrow.lib.ArrowInvalid: Parquet magic bytes not found in footer.", "Parquet magic"),
    ("datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset", "Generat"),
    ("huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1)", "GatedRepo"),
    ("requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co',"
     " port=443): Max retries exceeded with url: /a/b\"), '(Request ID: 1)')", "huggingface.co"),
    ("gzip.BadGzipFile: Not a gzipped file (b'PK')", "BadGzipFile"),
    ("zstandard.ZstdError: zstd decompress error: Unknown frame descriptor", "ZstdError"),
    (f"{HEAD}RuntimeError: Index file /tmp/a/index.json took too long to download, bailing out: 60.0 < 60.003 sec.",
     "index.json"),
    (f"{HEAD}IndexError: Relative sample index 85 is not present in the 17/shard.00085.mds file.", "index 85"),
    ("Dataset does not exist: /data/text_document\nPath should be a basename that both .idx and .bin can be"
     f" appended to get full filenames.\n{HEAD}AttributeError: 'NoneType' object has no attribute 'sizes'",
     "does not exist: /data/text_document$"),
]  # fmt: skip

DIVERGED = [
    (f"{HEAD}ValueError: Gradient is nan or inf for model.decoder.3.mlp.weight", "Gradient is nan"),
    (f"{HEAD}RuntimeError: Rank 3, node n2, device 3, iteration 41: Unexpected result nan"
     " (message='found NaN in local forward loss calculation')", "Unexpected result nan"),
    (f"{HEAD}RuntimeError: Rank 0, node n2, device 0, iteration 41: Unexpected result tensor(inf,"
     " device='cuda:0') (message='found Inf in local forward loss calculation')", "tensor"),
    (f"{HEAD}AssertionError: Rank 5: found NaN in local forward loss calculation. Device: 5", "found NaN"),
    (f"{HEAD}Exception: Skipped 50 iterations in a row due to Overflow - Exiting training.", "Skipped 50"),
    (f"{HEAD}FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.",
     "Minimum loss scale"),
    (f"{HEAD}RuntimeError: The total norm of order 2.0 for gradients from `parameters` is non-finite, so it"
     " cannot be clipped.", "non-finite"),
    (f"{HEAD}RuntimeError: Function 'MulBackward0' returned nan values in its 0th output.", "MulBackward0"),
    (f"{HEAD}RuntimeError: Train loss contains a NaN.", "Train loss contains"),
    (f"{HEAD}ValueError: The loss returned in `training_step` is inf.", "training_step"),
    ("Loss is nan, stopping training", "stopping training"),
    ("step 41: NaN loss encountered. Stopping training.", "NaN loss"),
    (f"{HEAD}Exception: NaN detected in loss, aborting", "NaN detected"),
    (f"{HEAD}AssertionError: loss is not finite", "not finite"),
    ("ValueError: [Megatron-FSDP](check_for_nan_in_grad=True) Detected NaN or Inf in wgrad: t", "wgrad"),
]  # fmt: skip

ASSERTION = [
    (f"{HEAD}{WRAPPED}invalid usage (run with NCCL_DEBUG=WARN for details), NCCL version 2.28.3\n"
     "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast error:\n"
     "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000", "Duplicate GPU"),
    ("n1:5:9 [0] init.cc:1057 NCCL WARN Multiple Ranks are using the same GPU/Partition. Set"
     " NCCL_MULTI_RANK_GPU_ENABLE=1", "same GPU"),
    ("ValueError: num_attention_heads (25) must be a multiple of tensor_model_parallel_size (2).",
     "must be a multiple of"),
    ("RuntimeError: Number of layers (30) is not evenly divisible by 4 stages", "divisible by"),
    ("ValueError: the batch 100 is not a multiple of 16 ranks", "not a multiple of"),
    ("RuntimeError: CUDA error: invalid device ordinal\nCUDA kernel errors might be", "device ordinal"),
    ("ValueError: Please correct the following DeepSpeed config values that mismatch TrainingArguments"
     " values:\n- ds train_batch_size=16 vs hf train_batch_size=32", "mismatch"),
    ("usage: pretrain_gpt.py [-h]\npretrain_gpt.py: error: unrecognized arguments: --use-flash", "--use-flash"),
    ("train.py: error: argument --zero-stage: invalid choice: 4 (choose from 0, 1, 2, 3)", "--zero-stage"),
    ("omegaconf.errors.ConfigKeyError: Key 'lr' is not in struct", "Key 'lr'"),
    ("AssertionError: Train batch size: -4 has to be greater than 0", "has to be greater"),
]  # fmt: skip

NCCL = [
    ("RuntimeError: The Inner error is reported as above. The process exits for this inner error, and the"
     " current working operator name is HcclAllreduce.\nEI0002: [PID: 13] The wait execution of the Notify"
     " register times out.", "EI0002"),
    (f"{HEAD}{WRAPPED}{SYSTEM}socketStartConnect: Connect to 10.0.0.2<41> failed : No route to host",
     "Connect to 10.0.0.2"),
    (f"{HEAD}socket.gaierror: [Errno -2] Name or service not known", "gaierror"),
    ("[rank1]:[E925 02:00:00.1 ProcessGroupNCCL.cpp:1834] [PG ID 2 Rank 1] Timeout at NCCL work: 31, last"
     " enqueued NCCL work: 58", "NCCL work: 31"),
    ("n1:5:9 [0] transport/net_ib.cc:1301 NCCL WARN NET/IB: Got completion from peer n2<9> with status="
     "IBV_WC_RETRY_EXC_ERR(12) opcode=IBV_WC_SEND(0) vendor_err=129", "Got completion"),
    ("n1:5:9 [0] NCCL WARN NET/IB : Got completion with error 12, opcode 1, len 0, vendor err 129", "error 12"),
    ("n1:5:9 [0] misc/socket.cc:483 NCCL WARN socketStartConnect: Connect to 10.0.0.2<9> failed : Software"
     " caused connection abort", "Connect to 10.0.0.2"),
    (f"{HEAD}{WRAPPED}internal error - please report this issue to the NCCL developers\n"
     "ncclInternalError: Internal check failed.\nLast error:\nBootstrap : no socket interface found",
     "no socket interface"),
    ("n1:5:9 [0] NCCL WARN NCCL version mismatch with remote peer n2 (local: 2.27.3, remote 2.26.2)",
     "version mismatch"),
    ("RuntimeError: Timed out initializing process group in store based barrier on rank: 0", "store based"),
    ("torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError", "RendezvousTimeoutError"),
    ("torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store"
     " has failed. See inner exception for details.", "C10d store"),
    ("torch.distributed.DistNetworkError: The client socket has failed to connect to any network address of"
     " (n1, 29500).", "client socket"),
    ("RuntimeError: create:torch_npu/ProcessGroupHCCL.cpp:89 HCCL function error: HcclAllreduce, error code is"
     " 6\nEI0006: [PID: 9] Getting socket times out. Reason: Remote Rank did not send the data in time.",
     "HCCL function error|EI0006"),
    ("EI0002: [PID: 13] The wait execution of the Notify register times out.", "EI0002"),
    ("[PID: 9] 2026-08-12-10:56:40.384.694 Communication_Error_Get_Socket(EI0006): Getting socket times out.",
     "EI0006"),
    ("n1:5:9 [4] ibvwrap.c:130 NCCL WARN Call to ibv_create_qp failed", "ibv_create_qp"),
    ("ip-10-0-0-7:82:99 [0] NCCL WARN NET/OFI Request completed with error. RC: 21. Error: unknown error", "RC: 21"),
    ("n1:5:9 [0] nccl_net_ofi_rdma_init:7978 NCCL WARN NET/OFI OFI fi_getinfo() call failed: No data available",
     "fi_getinfo"),
    ("n1:5:9 [0] allocator.cc:79 NCCL WARN Cuda failure 711 'peer mapping resources exhausted'", "peer mapping"),
    # Pasted with an indentation; the warning is not what ended it.
    ("    [W socket.cpp:663] [c10d] The client socket has failed to connect to [n1]:29500 (errno: 110).\n"
     "    RuntimeError: The client socket has failed to connect to any network address of (n1, 29500).",
     "any network address"),
]  # fmt: skip

HANG = [
    ("Did not get initial heartbeat. Waited 3600 seconds.\nsrun: error: n1: task 0: Killed", "initial"),
    ("[rank2]:[F704 13:48:58 ProcessGroupNCCL.cpp:1224] [PG 3 Rank 2] ProcessGroupNCCL's watchdog got stuck"
     " for 600 seconds without making progress", "watchdog got stuck for 600"),
    ("[rank1]:[E ProcessGroupNCCL.cpp:1316] [PG 0 Rank 1] Heartbeat monitor timed out! Process will be"
     " terminated after dumping debug info.\nAborted (core dumped)", "Heartbeat monitor"),
    ("[ERROR] [RankMonitorServer:3] Did not get subsequent heartbeat. Waited 1800 seconds.", "subsequent"),
    ("RuntimeError: NPU function error: AclrtSynchronizeDeviceWithTimeout, error code is 507048\n"
     "[Error]: The execution of the internal task times out. ", "internal task|507048"),
    ("Timeout (0:10:00)!\nThread 0x00007f (most recent call first):\nSegmentation fault (core dumped)",
     "0:10:00"),
]  # fmt: skip

FAILED = [
    ("RuntimeError: npuSynchronizeDevice NPU function error: aclrtSynchronizeDevice, error code is 507015\n"
     "EZ9999: Inner Error!\n", "error code is 507015"),
    ("RuntimeError: NCCL Error 5: invalid usage (run with NCCL_DEBUG=WARN for details)", "invalid usage"),
    (f"{HEAD}zipfile.BadZipFile: File is not a zip file", "BadZipFile"),
    (f"{HEAD}AssertionError: only L2 norm or inf supported for gradients".replace("Assertion", "Value"),
     "only L2 norm"),
    ("slurmstepd: error: pyxis: couldn't start container", "couldn't start container"),
    ("Memory access fault by GPU node-1 (Agent handle: 0x1f82) on address 0x7a. Reason: Page not present or"
     " supervisor privilege.\nAborted (core dumped)", "Memory access fault"),
    ("RuntimeError: HIP error: invalid device function\nHIP kernel errors might be", "invalid device func"),
    ("hipErrorNoBinaryForGpu: Unable to find code object for all current devices!", "hipErrorNoBinary"),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "no kernel image"),
    ("triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 147456, Hardware limit:"
     " 101376. Reducing block sizes may help.", "Required: 147456"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate more than 1EB memory.", "1EB"),
    ("double free or corruption (!prev)\nAborted (core dumped)", "double free"),
    ("/job/run.sh: line 4: torchrun: command not found", "torchrun"),
    ("srun: error: Unable to create step for job 81: Memory required by task is not available", "Memory req"),
    ("terminate called after throwing an instance of 'c10::Error'\n  what():  Expected a proper Tensor\n"
     "Aborted (core dumped)", "^Expected a proper Tensor"),
    (f"{HEAD}torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:", "inductor"),
    (f"{WRAPPED}invalid argument (run with NCCL_DEBUG=WARN for details), NCCL version 2.26.2", "invalid arg"),
    (f"{HEAD}OSError: [Errno 107] Transport endpoint is not connected", "107"),
    ("libgomp: Thread creation failed: Resource temporarily unavailable", "libgomp"),
    ("OMP: Error #34: System unable to allocate necessary resources for OMP thread:\nAborted (core dumped)", "#34"),
    # The script went on without it.
    (f"x.sh: line 8: module: command not found\n{HEAD}ValueError: bad", "^ValueError: bad$"),
    (f"{HEAD}RuntimeError: Error(s) in loading state_dict for GPTModel:\n  size mismatch for a.weight\n",
     "loading state_dict"),
]  # fmt: skip

ENDED = [
    ("cancelled", f"{HEAD}KeyboardInterrupt", "KeyboardInterrupt"),
    ("cancelled", "TERM_OWNER: job killed by owner.\nExited with signal termination: Killed.", "TERM_OWNER"),
    ("timeout", "=>> PBS: job killed: walltime 3632 exceeded limit 3600", "walltime"),
    ("timeout", "slurmstepd: *** JOB 7 CANCELLED AT 2016-05-05T10:00:00 DUE TO TIME LIMIT ***", "TIME LIMIT"),
    ("timeout", "TERM_RUNLIMIT: job killed after reaching LSF run time limit.", "TERM_RUNLIMIT"),
    ("preempted", "TERM_PREEMPT: job killed after preemption.", "TERM_PREEMPT"),
]  # fmt: skip

GROUPS: dict[Outcome, list[tuple[str, str]]] = {
    "oom": OOM, "node": NODE, "disk": DISK, "data": DATA, "diverged": DIVERGED,
    "assertion": ASSERTION, "nccl": NCCL, "hang": HANG, "failed": FAILED,
}  # fmt: skip
ROWS = [(outcome, log, cause) for outcome, rows in GROUPS.items() for log, cause in rows]


@pytest.mark.parametrize(("outcome", "log", "cause"), [*ROWS, *ENDED])
def test_a_message_has_its_outcome(outcome: str, log: str, cause: str) -> None:
    for verdict in (verdict_of_log(log), classify(None, [log], False)):
        assert verdict is not None
        assert verdict.outcome == outcome, verdict
        assert verdict.cause is not None and re.search(cause, verdict.cause), verdict
        assert "\n" not in verdict.cause and len(verdict.cause) <= 300


GONE = f"{HEAD}{WRAPPED}remote process exited or there was a network error"


def test_in_a_log_of_all_ranks_the_peers_only_say_that_one_is_gone() -> None:
    verdict = verdict_of_log(f"{HEAD}KeyError: 'lm_head.weight'\n{GONE}")
    assert verdict is not None and verdict.cause == "KeyError: 'lm_head.weight'"
    # What another exception replaced was no failure.
    chained = f"{HEAD}KeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n"
    verdict = verdict_of_log(chained + GONE)
    assert verdict is not None and verdict.outcome == "nccl"


def test_a_command_that_is_not_there_counts_where_nothing_else_is_said() -> None:
    missing = "/job/run.sh: line 3: nvidia-smi: command not found\n"
    ended = (
        "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2025-01-02T03:04:05 DUE TO TIME LIMIT ***"
    )
    for log, outcome in ((missing, "failed"), (missing + ended, "timeout")):
        verdict = verdict_of_log(log)
        assert verdict is not None and verdict.outcome == outcome


def test_an_exception_that_python_ignores_hides_none_after_it() -> None:
    ignored = "Exception ignored in: <function f at 0x7f>\nTraceback (most recent call last):\nKeyError: 'a'\n"
    assert verdict_of_log(ignored) is None
    unnamed = "Exception ignored in: <function f at 0x7f>\nSystemExit: 1\n"
    for before in (ignored, unnamed):
        verdict = verdict_of_log(f"{before}ValueError: of the run")
        assert verdict is not None and verdict.cause == "ValueError: of the run"


HARMLESS = [
    "n1:5:9 [1] NCCL INFO Channel 00 : 1[1b000] -> 2[1c000] via direct shared memory",
    "n1:5:9 [1] NCCL INFO NET/IB : No device found.",
    "n1:5:9 [1] NCCL INFO misc/socket.cc:58 -> Connection reset by peer, retrying",
    "n1:5:9 [1] NCCL INFO [Service thread] Connection closed by localRank 3",
    "n1:5:9 [1] NCCL INFO comm 0x55 rank 1 nranks 8 busId 1b000 - Abort COMPLETE",
    "    [W socket.cpp:663] [c10d] The client socket has failed to connect to [n1]:29500 (errno: 110).",
    "Dataset does not exist: using the mock dataset",
    "[0] misc/ibvwrap.cc:212 NCCL WARN Call to ibv_open_device failed",
    "n1:5:9 [1] NCCL WARN NET/IB : mlx5_0:1 Got non-fatal async event: port active(9)",
    "[2025-01-01 10:00:00,1] [INFO] [loss_scaler.py:190:update_scale] [deepspeed] OVERFLOW! Rank 0 Skipping"
    " step. Attempted loss scale: 65536, reducing to 32768",
    "[2025-01-01 10:00:00,1] [INFO] [launch.py:350:main] Process 7 exits successfully.",
    "W0101 10:00:00.1 99 torch/distributed/elastic/multiprocessing/api.py:900] Sending process 7 closing"
    " signal SIGTERM",
    "/x/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: Unexpected error from"
    " cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW",
    "WARNING:megatron.core.rerun_state_machine:Rank 3, node n2, device 3, iteration #9: Possible transient"
    " error!",
    "ERROR:megatron.core.rerun_state_machine:Unexpected result 41.2 on rank 3 at iteration #9 invocation #1"
    " (message='Spiky loss')",
    "OSError: [Errno 116] Stale file handle: '/nfs/a', retrying in 5 s (1 of 9)",
    "wandb: Network error (ConnectionError), entering retry loop.",
    "'(MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443)\"))' thrown while requesting HEAD"
    " a, retrying in 1s [Retry 1/5].",
    "slurmstepd: error: task 3 hit memory limit at least once during execution. This may or may not result in"
    " some failure.",
    "  check_for_nan_in_loss_and_grad .................. True",
    "  exit_signal_handler ............................. False",
    "  nccl_communicator_config_path ................... None",
    "  error_injection_type ............................ transient_error",
    "The process is killed by SIGKILL by OOM killer due to high memory usage, or it segfaulted.",
    "usage: pretrain_gpt.py [-h] [--exit-signal-handler] [--num-layers-must-be-a-multiple-of N]",
    "For debugging, consider passing CUDA_LAUNCH_BLOCKING=1. See out-of-memory in the documentation:"
    " https://pytorch.org/docs/stable/notes/cuda.html#out-of-memory",
    'Traceback (most recent call last):\n  File "/x/a.py", line 3, in f\n    raise ValueError("must be a'
    ' multiple of 8")\n  File "/x/b.py", line 4, in g\n    assert not oom, "CUDA out of memory"\n',
    "  what it does: kills the process with signal 9 if it does not end",
    "> finished creating GPT datasets ...\ncompleted with exit code 0",
    "[INFO] grad norm is nan, skipping this step; will stop after 10 of them",
    "Early stopping: best loss so far is 2.1, patience is infinite",
    "nvidia-nvswitch3: SXid (PCI:0000:c3:00.0): 12028, Non-fatal, Link 32",
    "{'loss': nan, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.1}",
    "Gradient norm 0.31, loss 2.11, nan_count 0, inf_count 0",
    "epoch 1: 12 samples were killed by the filter (code 3)",
    "memory (MB) | allocated: 1.0 | max allocated: 2.0 | reserved: 3.0 | out of 81559",
    "INFO: the previous job was cancelled at 12:00, this one goes on from step 100",
    '            "OOMKilled": false, "Dead": false',
    "To avoid CUDA out of memory errors, set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
    "If you see CUDA out of memory, lower --micro-batch-size",
    "# RuntimeError: CUDA out of memory is what the smaller node says",
    "+ echo 'No space left on device'",
    "Volatile uncorrectable ECC errors: 0",
    "Terminate training when loss is NaN (default: True)",
    "EarlyStopping enabled, best loss is inf, stopping after 10 epochs",
    "  --stop-on-nan    Stop training at a loss that is nan",
    "ImportError: cannot import name 'fused', falling back to torch",
]  # fmt: skip


@pytest.mark.parametrize("line", HARMLESS)
def test_a_harmless_line_is_no_end(line: str) -> None:
    assert verdict_of_log(line) is None
    assert last_resort(line) is None
