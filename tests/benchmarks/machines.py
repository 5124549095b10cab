"""Rates of failures, and the time of a start and of a checkpoint, on machines of four sizes."""

import math
from dataclasses import dataclass

HOUR = 3600.0
DAYS = 54.0
"""As long as the part of Llama 3's training whose failures are known."""
LLAMA3_H = DAYS * 24 * 2048 / 419
"""Hours between failures of a node: 419 unexpected in 54 days on 2,048 nodes, arXiv:2407.21783."""
RSC_H = 7.9 * 128
"""Hours between failures of a node: 7.9 h for 1,024 GPUs in a cluster of research, arXiv:2410.21680."""
CARD_FLOPS = 400e12
"""Per second: Llama 3 has 380 to 430e12, arXiv:2407.21783, table 4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Rates that are equal on machines of any size."""

    start_s: float = 660.0
    """Failure seen to first step, without reading: median interval of retries on 504 B200,
    arXiv:2605.09370."""
    node_gb_s: float = 1.2
    """To and from storage, per node: 2.3 TB in 40 s on BLOOM's 48 nodes."""
    storage_gb_s: float = 2000.0
    """All nodes together: sustained by Llama 3's storage, arXiv:2407.21783, section 3.3.1."""
    copy_gb_s: float = 10.0
    """From one card to the memory of its host; PCIe 5 x16 has 64, cards share it. Assumed."""
    pause_s: float = 2.0
    """Pause of all ranks for each save, besides the copy. Assumed."""
    hang_share: float = 0.166
    """Share of failures that nothing reports: "abnormal" in 428 failures, arXiv:2503.20263."""
    broken_share: float = 0.587
    """Share of failures after which a node has to go: those of GPUs in Llama 3, section 3.3.4."""
    named_share: float = 0.8
    """Chance that the logs name that node: arXiv:2503.20263 has it among its first five."""
    damaged_share: float = 0.01
    """Share of checkpoints that are damaged when they are needed. Assumed; NVIDIA/Megatron-LM#1570."""
    divergence_h: float = 268.0
    """Between divergences that do not heal: about 20 in PaLM's 64 days, none known in BLOOM's 105
    and in Llama 3's 54."""
    seen_s: float = 30.0
    """Until a crash is seen."""
    hang_after_s: float = 300.0
    """Our watchdog's: the default of hang_after."""
    patience: float = 200.0
    """Steps until a spike that stays is a divergence: spike_guard.patience."""
    margin: float = 100.0
    """Steps before it whose weights are not trusted: spike_guard.margin."""
    person_s: float = 45 * 60.0
    """Median until a person has restarted it, log-normal, sigma 1: nights count. Assumed."""
    look_h: float = 4.0
    """Mean until a person sees a divergence, exponential. Assumed."""
    swap_h: float = 1.0
    """Until a person has found another node, where none is held ready. Assumed."""
    repair_h: float = 24.0
    """Until a broken node is a spare again. Assumed."""
    spare_sigmas: float = 3.0
    """Nodes held ready: those in repair on average, and so many standard deviations. BLOOM had 4
    for 48."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A model on a number of nodes of eight cards."""

    name: str
    nodes: int
    params: float
    model_parallel: int
    """Cards that hold one copy of the weights together."""
    step_s: float
    """Seconds of a step of 4, 8 or 16 M tokens at 400 TFLOP/s per card."""
    node_mtbf_h: float
    rates: Rates

    @property
    def mtbf_s(self) -> float:
        """Mean time between failures of the run."""
        return self.node_mtbf_h * HOUR / self.nodes

    @property
    def spares(self) -> int:
        """Nodes held ready."""
        broken = self.rates.broken_share * self.rates.repair_h * HOUR / self.mtbf_s
        return math.ceil(broken + self.rates.spare_sigmas * math.sqrt(broken))

    @property
    def write_s(self) -> float:
        """A checkpoint has 12 bytes per parameter (docs/checkpoints.md)."""
        return 12 * self.params / self._bytes_s

    @property
    def copy_s(self) -> float:
        """Seconds of a save from the cards to their hosts."""
        return 12 * self.params / (8 * self.nodes * self.rates.copy_gb_s * 1e9)

    @property
    def down_s(self) -> float:
        """From a start to the first step."""
        return self.rates.start_s + self.restore_s

    @property
    def restore_s(self) -> float:
        """Every rank reads its weights, and 12 bytes of what its optimizer steps on."""
        copies = 8 * self.nodes / self.model_parallel
        return (12 + 4 * copies) * self.params / self._bytes_s

    @property
    def _bytes_s(self) -> float:
        return min(self.nodes * self.rates.node_gb_s, self.rates.storage_gb_s) * 1e9


def machine(name: str, nodes: int, mtbf_h: float, rates: Rates) -> Machine:
    """Llama 3 of 8, 70 or 405 B, whichever such a number of nodes is used for."""
    billions, cards, tokens = {3: (8, 2, 4e6), 128: (70, 32, 8e6), 2048: (405, 128, 16e6)}[nodes]
    step_s = 6 * billions * 1e9 * tokens / (8 * nodes * CARD_FLOPS)
    return Machine(
        name=name,
        nodes=nodes,
        params=billions * 1e9,
        model_parallel=cards,
        step_s=step_s,
        node_mtbf_h=mtbf_h,
        rates=rates,
    )
