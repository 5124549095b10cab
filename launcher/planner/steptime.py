"""Seconds of one optimizer step, itemised.

Symbols as in `launcher.planner.memory`. A step is m micro batches through the slowest pipeline
stage, the bubble, and what happens once a step. Formulas and their sources: docs/planner.md.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from launcher.decode import Positive
from launcher.planner.engines import MEGATRON
from launcher.planner.points import FP8, FP32, Array, Points


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeConstants:
    """What no formula gives. Those in `launcher.sheets.fit.SPREADS` are fitted to runs."""

    matmul: Positive = 0.80
    """Share of the peak that a large bf16 matrix product reaches on an A100."""
    matmul_h100: Positive = 0.90
    """The same on an H100 / on an A100."""
    matmul_fp8: Positive = 1.0
    """The same in fp8 / in bf16."""
    half_rows: Positive = 300.0
    """Rows (tokens) at which a matrix product reaches half of that."""
    half_width: Positive = 100.0
    """The same for the other two sizes."""
    memory: Positive = 0.80
    """Share of the memory bandwidth that kernels without matrix products reach."""
    hidden_bytes: Positive = 32.0
    """Bytes such kernels move in a layer's forward pass, per token and unit of hidden."""
    ffn_bytes: Positive = 8.0
    """The same per unit of ffn."""
    score_traffic: Positive = 10.0
    """Bytes moved per attention score where attention is not flash."""
    flash: Positive = 0.60
    """Speed of flash attention / that of a large matrix product."""
    flash_h100: Positive = 0.60
    """The same on an H100 / on an A100: FlashAttention 2 was written for the latter."""
    launch: Positive = 37e-6
    """Seconds the host needs per kernel."""
    link: Positive = 0.70
    """Share of the bandwidth inside a node that collectives reach."""
    network: Positive = 0.75
    """The same between nodes."""
    collective: Positive = 20e-6
    """Seconds of a collective of no bytes between two ranks."""
    ring: Positive = 5e-6
    """Seconds that each further rank adds to gathering or scattering a bucket of weights."""
    send: Positive = 40e-6
    """Seconds of a send of no bytes between pipeline stages."""
    exposed_gradients: Positive = 0.3
    """Share of the data parallel communication that no computation hides."""
    exposed_gathers: Positive = 0.2
    """The same of gathering weights under ZeRO 3."""
    exposed_sends: Positive = 0.5
    """The same between pipeline stages."""
    step: Positive = 5e-3
    """Seconds of a step that depend on nothing."""
    cpu_launch: Positive = 25e-6
    """`launch` where ranks are processes of a CPU."""
    cpu_collective: Positive = 2.4e-3
    """`collective` there: gloo between ranks that share the cores."""
    cpu_send: Positive = 400e-6
    """`send` there."""
    cpu_step: Positive = 5e-3
    """`step` there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """Seconds of one step."""

    compute: Array
    """Layers and LM head of the slowest stage, forward and backward."""
    host: Array
    """Waiting for the host to start the next kernel."""
    recompute: Array
    """The forward passes that activation checkpointing repeats."""
    tensor: Array
    """Collectives between tensor and context parallel ranks."""
    experts: Array
    """All-to-all between expert parallel ranks."""
    pipeline: Array
    """Sends between stages."""
    bubble: Array
    """Waiting for the pipeline to fill and to drain."""
    data: Array
    """Data parallel communication that is not hidden."""
    optimizer: Array
    other: Array

    @property
    def total(self) -> Array:
        """Their sum."""
        return np.sum([getattr(self, one.name) for one in dataclasses.fields(self)], axis=0)


def step_time(points: Points, constants: TimeConstants) -> StepTime:
    """Seconds of one optimizer step of each point."""
    parts = _Parts(points, constants)
    m, p = points.accumulation, points.pp
    layers = np.ceil(points.layers / p)
    once, back = parts.forward(), parts.backward()
    again = np.where(points.full, once, np.where(points.selective, parts.scores(), 0.0))
    tensor, experts, send = parts.tensor(), parts.experts(), parts.send()
    # The host starts kernels and collectives; where it is slower than they are, they wait for it.
    busy = once + back + again + tensor + experts
    layer = _either(busy, parts.host() * np.where(points.full, 4, 3))
    # Where layers do not split evenly, the last stage lacks one (`memory._longer`).
    head = np.where(points.layers % p > 0, np.maximum(parts.head() - layer, 0.0), parts.head())
    stage = layers * layer + send
    return StepTime(
        compute=m * (layers * (once + back) + head),
        host=m * layers * (layer - busy),
        recompute=m * layers * again,
        tensor=m * layers * tensor,
        experts=m * layers * experts,
        pipeline=m * send,
        bubble=(p - 1) / points.vpp * stage,
        data=parts.data(m * (stage + head), layers * back),
        optimizer=parts.optimizer(),
        other=np.where(points.cpu > 0, constants.cpu_step, constants.step),
    )


class _Parts:
    """Seconds of one layer and one micro batch, and of what happens once a step."""

    def __init__(self, points: Points, constants: TimeConstants) -> None:
        self.points, self.constants = points, constants
        cpu, c = points.cpu > 0, constants
        hopper = points.peak_half > 500e12
        newer = np.where(hopper, c.matmul_h100, 1.0)
        self.flash = np.where(cpu, 1.0, c.flash * np.where(hopper, c.flash_h100, 1.0))
        low = np.where((points.number == FP8) & (points.peak > points.peak_half), c.matmul_fp8, 1.0)
        share = np.where(cpu, 1.0, c.matmul * newer)
        self.half_speed = points.peak_half * share
        self.speed = points.peak * share * low
        self.memory = points.memory_rate * np.where(cpu, 1.0, c.memory)
        self.launch = np.where(cpu, c.cpu_launch, c.launch)
        self.collective = np.where(cpu, c.cpu_collective, c.collective)
        self.link = points.link_rate * np.where(cpu, 1.0, c.link)
        self.network = points.network_rate * np.where(cpu, 1.0, c.network)
        close = points.tp * points.cp
        self.tensor_rate = self._rate(close, close)
        # Context parallel ranks hold the same weights, and reduce with the data parallel ones.
        there = np.maximum(points.gpus_per_node // points.tp, 1)
        self.data_rate = self._rate(close * points.dp, np.minimum(there, points.cp * points.dp))
        self.stage_rate = np.where(points.gpus <= points.gpus_per_node, self.link, self.network)
        self.stored = np.where(points.number == FP32, 4.0, 2.0)
        """Bytes of an activation."""

    def _rate(self, reach: Array, members: Array) -> Array:
        """Bytes/s and rank of a collective: all cards of a group in a node send to the next node.

        Args:
            reach: ranks from the first to the last of the group, those of other groups included.
            members: of the group in one node.
        """
        inside = self.points.gpus_per_node
        many = np.minimum(members, inside) * self.network
        return np.where(reach <= inside, self.link, np.minimum(self.link, many))

    def forward(self) -> Array:
        """Forward pass of one layer."""
        return self._matmuls() + self.scores() + self._other()

    def backward(self) -> Array:
        """Backward pass: every product twice."""
        return 2 * self._matmuls() + 2.5 * self.scores() + 2 * self._other()

    def head(self) -> Array:
        """LM head and loss, forward and backward."""
        points, n = self.points, self.points.tokens
        logits = n * points.vocab / points.tp
        product = self._matmul(n, points.hidden, points.vocab / points.tp)
        return 3 * (product + 12 * logits / self.memory)

    def scores(self) -> Array:
        """Attention scores and their product with V, forward: 4 n s q / t, half of it if flash."""
        points = self.points
        flops = 4 * points.tokens * points.sequence * points.query / points.tp
        moved = points.tokens * points.sequence * points.heads / points.tp
        moved = moved * self.constants.score_traffic
        flash = 0.5 * flops / (self.half_speed * self.flash)
        return np.where(points.flash > 0, flash, flops / self.half_speed + moved / self.memory)

    def tensor(self) -> Array:
        """4 all-reduces of n h, or as many pairs of gather and scatter; 2 more to recompute."""
        points, t = self.points, self.points.tp
        several = np.where(points.full, 6.0, 4.0)
        moved = 2 * (t - 1) / t * points.tokens * points.hidden * self.stored
        one = moved / self.tensor_rate + self.collective * np.log2(t)
        c = points.cp
        keys = 2 * points.key / t * points.tokens * (c - 1) * self.stored  # of the others' tokens
        ring = 3 * keys / self.tensor_rate + 3 * (c - 1) * self.collective
        return np.where(t > 1, several * one, 0.0) + np.where(c > 1, ring, 0.0)

    def experts(self) -> Array:
        """Dispatch and combine, forward and backward: of a token's experts some are in the node."""
        points, e = self.points, self.points.ep
        held = points.tokens / np.where(points.sp > 0, points.tp, 1)
        moved = held * points.visits * points.hidden * self.stored
        near = np.minimum(points.gpus_per_node, e) / e  # its ranks are next to each other
        out = moved * ((1 - near) / self.network + np.maximum(near - 1 / e, 0) / self.link)
        return np.where(e > 1, 4 * (out + self.collective * np.log2(e)), 0.0)

    def send(self) -> Array:
        """Of one micro batch, to the next stage and back, once per chunk."""
        points = self.points
        moved = points.tokens * points.hidden * self.stored / points.tp
        latency = np.where(points.cpu > 0, self.constants.cpu_send, self.constants.send)
        shown = np.where(points.cpu > 0, 1.0, self.constants.exposed_sends)
        one = moved / self.stage_rate * shown + latency
        return np.where(points.pp > 1, 2 * points.vpp * one, 0.0)

    def data(self, busy: Array, last: Array) -> Array:
        """Reduce gradients and gather weights: 2 P, under ZeRO 3 again for each micro batch.

        Args:
            busy: seconds of all micro batches, which hide what ZeRO 3 gathers.
            last: seconds of the last backward pass, which hides the reduction.
        """
        points, c = self.points, self.constants
        ranks = points.dp * points.cp
        moved = (ranks - 1) / ranks * sum(self._params()) / self.data_rate
        # Megatron reduces gradients as it keeps them, the others in the precision of the weights.
        reduced = np.where(points.engine == MEGATRON, points.gradient, self.stored)
        once = moved * np.where(points.zero == 0, 2 * reduced, reduced + self.stored)
        each = moved * self.stored * 3 * points.accumulation
        shown = np.where(points.cpu > 0, 1.0, c.exposed_gradients)
        whole = shown * once + np.maximum((1 - shown) * once - last, 0.0)
        gathers = np.where(points.cpu > 0, each, c.exposed_gathers * each)
        late = np.maximum(gathers + np.maximum(each - gathers - busy, 0.0), whole)
        # ZeRO 2 reduces after each micro batch; ZeRO 3 gathers each layer twice besides.
        m, layers = points.accumulation, points.layers / points.pp + 2
        calls = np.select([points.zero == 3, points.zero == 2], [3 * layers * m, m], 1.0)
        latency = calls * self.collective * np.log2(np.maximum(ranks, 1))
        passed = 2 * layers * c.ring * (points.zero > 0) * (points.shards - 1)
        ring = np.where(points.cpu > 0, 0.0, passed)
        return np.where(ranks > 1, np.where(points.zero == 3, late, whole) + latency + ring, 0.0)

    def optimizer(self) -> Array:
        """Read and write weight, gradient and both moments."""
        points = self.points
        dense, experts = self._params()
        shards = np.maximum(np.where(points.zero > 0, points.shards, 1), 1)
        spread = np.where(points.ep > 1, np.maximum(shards * points.tp / points.ep, 1), shards)
        own = dense / shards + experts / np.where(points.zero > 0, spread, 1)
        return 28 * own / self.memory

    def _params(self) -> tuple[Array, Array]:
        """Of the weights a rank holds; of experts apart, which fewer ranks share."""
        points = self.points
        split = np.where(points.ep > 1, points.ep, points.tp)
        ffn = np.where(points.experts > 0, 0.0, points.ffn_params) / points.tp
        layer = points.attention_params / points.tp + ffn
        dense = points.layers * layer / points.pp + points.vocab * points.hidden / points.tp
        return dense, points.layers * points.experts / split * points.ffn_params / points.pp

    def _matmul(self, rows: Array, inner: Array, width: Array) -> Array:
        """Roofline of one product, with fewer FLOP/s where a size is small."""
        c = self.constants
        share = (rows / (rows + c.half_rows)) * (inner / (inner + c.half_width))
        share = share * (width / (width + c.half_width))
        share = np.where(self.points.cpu > 0, 1.0, share)
        moved = 2 * (rows * inner + inner * width + rows * width)
        return _either(2 * rows * inner * width / (self.speed * share), moved / self.memory)

    def _matmuls(self) -> Array:
        points, n, t, h = self.points, self.points.tokens, self.points.tp, self.points.hidden
        visited = n * points.visits
        return (
            self._matmul(n, h, (points.query + 2 * points.key) / t)
            + self._matmul(n, points.query / t, h)
            + self._matmul(visited, h, (1 + points.gated) * points.ffn / t)
            + self._matmul(visited, points.ffn / t, h)
        )

    def _other(self) -> Array:
        """Norms, residuals, rotary embeddings, activation functions: memory traffic."""
        points, c = self.points, self.constants
        split = np.where(points.sp > 0, points.tp, 1)
        whole = c.hidden_bytes * points.hidden / split
        ffn = c.ffn_bytes * points.ffn * points.visits / points.tp
        return points.tokens * (whole + ffn) * self.stored / 2 / self.memory

    def host(self) -> Array:
        """Seconds to launch a layer's forward kernels."""
        points = self.points
        kernels = 14 + 6 * (points.flash == 0) + 2 * (points.tp > 1) + 12 * (points.experts > 0)
        return kernels * self.launch


def _either(one: Array, other: Array) -> Array:
    """A smooth maximum: two things that overlap, though not quite."""
    return (one**4 + other**4) ** 0.25
