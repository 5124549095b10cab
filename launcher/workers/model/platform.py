"""Import megatron-core; on a host without CUDA, answer its `torch.cuda` questions first.

megatron-core has no device abstraction: it asks ``torch.cuda.current_device()`` where to allocate
and writes ``device="cuda"`` in some factories. Here the answer is "on the CPU". No mathematics
is replaced.
"""

import contextlib
import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

CPU = torch.device("cpu")
LISTENERS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Linux's tables of sockets."""
LISTENING = "0A"
"""State, in them, of one that listens."""
LISTEN_SECONDS = 10.0
"""Seconds after which a rank leaves it to torch to wait for rank 0."""
FACTORIES = (
    *("tensor", "zeros", "ones", "empty", "full", "arange", "rand", "randn"),
    *("empty_like", "zeros_like", "ones_like"),
)


def make_deterministic(wanted: bool) -> None:
    """Have torch take algorithms that sum in one order, and raise where an operation has none."""
    torch.use_deterministic_algorithms(wanted)
    # It would also fill every new tensor, buffers of a whole checkpoint too: none is read before.
    torch.utils.deterministic.fill_uninitialized_memory = False


def device() -> Any:
    """Device of this rank."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return CPU


def overlap_pays() -> bool:
    """Return True where communication runs beside compute; gloo takes the same cores."""
    return torch.cuda.is_available()


def fusion_pays() -> bool:
    """Return True where kernels that torch.compile makes are worth the seconds to build them."""
    return torch.cuda.is_available()


def card() -> int:
    """Index of this rank's card, as CUDA numbers those that this process sees.

    SLURM may show each of its tasks one card only, which is number 0 then.
    """
    started_by_slurm = os.environ.get("SLURM_LOCALID") == os.environ["LOCAL_RANK"]
    several_ranks = int(os.environ["LOCAL_WORLD_SIZE"]) > 1
    if started_by_slurm and several_ranks and torch.cuda.device_count() == 1:
        os.environ["LOCAL_RANK"] = "0"  # DeepSpeed takes its device from there
    return int(os.environ["LOCAL_RANK"])


def join(timeout: timedelta) -> None:
    """Take this rank's card, and meet the other ranks (env:// rendezvous)."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(card())
    _await_first_rank()
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timeout)


def _await_first_rank() -> None:
    """Wait until rank 0 listens, where it is on this machine, or for some seconds.

    torch asks once, and again after half a second or more: as long as a short trial's first step.
    """
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    if int(os.environ["RANK"]) == 0 or not one_machine or not LISTENERS[0].exists():
        return
    port, deadline = int(os.environ["MASTER_PORT"]), time.monotonic() + LISTEN_SECONDS
    while not _is_listened_on(port) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_listened_on(port: int) -> bool:
    """Return True where somebody on this machine listens on a port, as Linux tells anybody.

    To try to connect would take the port now and then: from it to itself, while nobody listens.
    """
    for table in LISTENERS:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False


def import_megatron() -> None:
    """Import megatron.core, prepared for this host; to be called before any other import of it."""
    # It warns of every optional library it does without, and of its own use of torch, on each rank.
    for module in ("megatron", "torch.distributed"):
        warnings.filterwarnings("ignore", module=module)
    if torch.cuda.is_available():
        with _without("wandb"):
            import megatron.core.models.gpt
        return
    _answer_where()
    _answer_random_state()
    _answer_streams()
    _allocate_on_cpu()
    with _without("wandb"), without_compile():
        import megatron.core.models.gpt  # noqa: F401
    _answer_megatron()


class Stream:
    """Stand-in for a CUDA stream and event: on the CPU everything is already in order."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream)

    def __hash__(self) -> int:
        return 0

    def record_event(self, *args: Any) -> "Stream":
        """Return this stream, which is its own event."""
        return self

    def query(self) -> bool:
        """Return True: on the CPU no work is ever pending."""
        return True

    def _nothing(self, *args: Any, **options: Any) -> None:
        pass

    wait_stream = wait_event = wait = record = synchronize = _nothing


def _answer_where() -> None:
    torch.cuda.current_device = _constant(CPU)
    torch.cuda.set_device = _constant(None)
    torch.cuda.synchronize = _constant(None)
    torch.cuda.empty_cache = _constant(None)


def _answer_random_state() -> None:
    """Let the one CPU generator play the CUDA generator."""
    generator = torch.default_generator
    torch.cuda.manual_seed = lambda seed: generator.manual_seed(seed)
    torch.cuda.manual_seed_all = _constant(None)  # torch.manual_seed has seeded the CPU's
    for module in (torch.cuda, torch.cuda.random):
        module.get_rng_state = lambda device=None: generator.get_state()
        module.set_rng_state = lambda state, device=None: generator.set_state(state)


def _answer_streams() -> None:
    torch.cuda.Stream = torch.cuda.Event = Stream
    torch.cuda.current_stream = _constant(Stream())
    torch.cuda.default_stream = _constant(Stream())
    torch.cuda.stream = _constant(contextlib.nullcontext())
    torch.cuda.nvtx.range_push = _constant(None)
    torch.cuda.nvtx.range_pop = _constant(None)


def _allocate_on_cpu() -> None:
    for name in FACTORIES:
        setattr(torch, name, _on_cpu(getattr(torch, name)))
    torch.Tensor.cuda = lambda self, *args, **options: self
    torch.nn.Module.cuda = lambda self, *args, **options: self
    real_type = torch.Tensor.type

    def named_type(self: Any, dtype: Any = None, *args: Any, **options: Any) -> Any:
        """Name the type as on a card: the optimizers look for torch.cuda.FloatTensor."""
        if dtype is not None:
            return real_type(self, dtype, *args, **options)
        name = real_type(self)
        return name if ".cuda." in name else name.replace("torch.", "torch.cuda.", 1)

    torch.Tensor.type = named_type


def _answer_megatron() -> None:
    """Replace the two functions of megatron-core that ask for themselves where a tensor is."""
    import megatron.core.tensor_parallel.random as rng
    import megatron.core.transformer.moe.token_dispatcher as dispatcher

    generator, move = torch.default_generator, dispatcher.maybe_move_tensor_to_cpu

    def set_state(state: Any, device: Any = -1, graph_safe: bool = False) -> None:
        """Set the state now; the original waits until CUDA is initialised."""
        generator.set_state(state)

    def to_cpu(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        """Convert sizes to numpy here too; the original does only when they leave a GPU."""
        return tensor.numpy() if as_numpy and torch.is_tensor(tensor) else move(tensor)

    rng._set_cuda_rng_state = set_state
    dispatcher.maybe_move_tensor_to_cpu = to_cpu


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Make an optional import fail: megatron-core's inference part imports wandb, for 0.4 s."""
    loaded = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if loaded is not None:
            sys.modules[module] = loaded


@contextlib.contextmanager
def without_compile() -> Iterator[None]:
    """Turn torch.compile off: decorators compile at import, which takes seconds and a compiler."""
    real = torch.compile
    torch.compile = lambda function: function
    try:
        yield
    finally:
        torch.compile = real


def _constant(value: Any) -> Callable[..., Any]:
    # A new function each time: dynamo refuses one object under two names of torch.cuda.
    return lambda *args, **options: value


def _on_cpu(factory: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(factory)
    def wrapper(*args: Any, **options: Any) -> Any:
        target = options.get("device")
        if target is not None and not isinstance(target, int) and str(target).startswith("cuda"):
            options["device"] = CPU
        options.pop("pin_memory", None)  # means page-locked for a card
        return factory(*args, **options)

    return wrapper
