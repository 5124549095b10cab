"""Seconds of one optimizer step, itemised.

Symbols as in `launcher.planner.memory`. A step is m micro batches through the slowest pipeline
stage, the bubble, and what happens once a step. Formulas and their sources: docs/planner.md.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from launcher.decode import Positive
from launcher.planner.points import FP8, FP32, Array, Points, Repeated


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeConstants:
    """Figures that no formula gives. Those in `launcher.sheets.fit.SPREADS` are fitted to runs."""

    matmul: Positive = 0.80
    """Share of the peak that a large bf16 matrix product reaches on an A100."""
    matmul_h100: Positive = 0.90
    """Ratio of that share on an H100 to that on an A100."""
    matmul_fp8: Positive = 1.0
    """Ratio of that share in fp8 to that in bf16."""
    half_rows: Positive = 300.0
    """Rows (tokens) at which a matrix product reaches half of that."""
    half_width: Positive = 100.0
    """Inner size, and columns, at which it reaches half of that."""
    memory: Positive = 0.80
    """Share of the memory bandwidth that kernels without matrix products reach."""
    hidden_bytes: Positive = 32.0
    """Bytes such kernels move in a layer's forward pass, per token and unit of hidden."""
    ffn_bytes: Positive = 8.0
    """Bytes they move per token and unit of ffn."""
    score_traffic: Positive = 10.0
    """Bytes moved per attention score where attention is not flash."""
    flash: Positive = 0.60
    """Speed of flash attention / that of a large matrix product."""
    flash_h100: Positive = 0.60
    """Ratio of `flash` on an H100 to that on an A100, which FlashAttention 2 was written for."""
    launch: Positive = 37e-6
    """Seconds the host needs per kernel."""
    link: Positive = 0.70
    """Share of the bandwidth inside a node that collectives reach."""
    network: Positive = 0.75
    """Share of the bandwidth between nodes that collectives reach."""
    collective: Positive = 20e-6
    """Seconds of a collective of no bytes between two ranks."""
    ring: Positive = 5e-6
    """Seconds that each further rank adds to gathering or scattering a bucket of weights."""
    send: Positive = 40e-6
    """Seconds of a send of no bytes between pipeline stages."""
    exposed_gradients: Positive = 0.3
    """Share of the data parallel communication that no computation hides."""
    exposed_gathers: Positive = 0.2
    """Share of the gathering of weights under ZeRO 3 that no computation hides."""
    exposed_sends: Positive = 0.5
    """Share of the sends between pipeline stages that no computation hides."""
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
        return np.sum([getattr(self, field.name) for field in dataclasses.fields(self)], axis=0)


def step_time(points: Points, constants: TimeConstants) -> StepTime:
    """Seconds of one optimizer step of each point."""
    parts = _Parts(points, constants)
    m, p = points.accumulation, points.pp
    layers = points.most_layers
    forward, backward = parts.forward(), parts.backward()
    again = points.repeated
    recompute = parts.recompute(again)
    tensor, experts, send = parts.tensor(again), parts.experts(again), parts.send()
    # The host starts kernels and collectives; where it is slower than the device, that waits.
    device = forward + backward + recompute + tensor + experts
    layer = _smooth_max(device, parts.host(again))
    # Where layers do not split evenly, the last stage, which has the head, may lack some.
    head = np.maximum(parts.head() - (layers - points.last_layers) * layer, 0.0)
    stage = layers * layer + send
    return StepTime(
        compute=m * (layers * (forward + backward) + head),
        host=m * layers * (layer - device),
        recompute=m * layers * recompute,
        tensor=m * layers * tensor,
        experts=m * layers * experts,
        pipeline=m * send,
        bubble=(p - 1) / points.vpp * stage,
        data=parts.data(m * (stage + head), layers * backward),
        optimizer=parts.optimizer(),
        other=np.where(points.cpu > 0, constants.cpu_step, constants.step),
    )


class _Parts:
    """Seconds of one layer and one micro batch, and of what happens once a step."""

    def __init__(self, points: Points, constants: TimeConstants) -> None:
        self.points, self.constants = points, constants
        cpu, c = points.cpu > 0, constants
        hopper = points.peak_half > 500e12
        matmul_ratio = np.where(hopper, c.matmul_h100, 1.0)
        self.flash = np.where(cpu, 1.0, c.flash * np.where(hopper, c.flash_h100, 1.0))
        in_fp8 = (points.number_format == FP8) & (points.peak > points.peak_half)
        fp8_ratio = np.where(in_fp8, c.matmul_fp8, 1.0)
        share = np.where(cpu, 1.0, c.matmul * matmul_ratio)
        self.half_speed = points.peak_half * share
        self.speed = points.peak * share * fp8_ratio
        self.memory = points.memory_rate * np.where(cpu, 1.0, c.memory)
        self.launch = np.where(cpu, c.cpu_launch, c.launch)
        self.collective = np.where(cpu, c.cpu_collective, c.collective)
        self.link = points.link_rate * np.where(cpu, 1.0, c.link)
        self.network = points.network_rate * np.where(cpu, 1.0, c.network)
        close = points.tp * points.cp
        self.tensor_rate = self._rate(close, close)
        # Context parallel ranks hold the same weights, and reduce with the data parallel ones.
        in_node = np.maximum(points.gpus_per_node // points.tp, 1)
        self.data_rate = self._rate(close * points.dp, np.minimum(in_node, points.cp * points.dp))
        self.stage_rate = np.where(points.gpus <= points.gpus_per_node, self.link, self.network)
        self.element_bytes = np.where(points.number_format == FP32, 4.0, 2.0)
        """Bytes of an activation."""

    def _rate(self, reach: Array, members: Array) -> Array:
        """Bytes/s that a rank of a collective gets: all cards of a node send to the next node.

        Args:
            reach: ranks from the first to the last of the group, those of other groups included.
            members: ranks of the group in one node.
        """
        inside = self.points.gpus_per_node
        adapters = np.minimum(members, inside) * self.network
        return np.where(reach <= inside, self.link, np.minimum(self.link, adapters))

    def forward(self) -> Array:
        """Seconds of the forward pass of one layer."""
        return self._matmuls() + self.scores() + self._memory_bound()

    def backward(self) -> Array:
        """Seconds of the backward pass of one layer: every product twice.

        Flash attention has a fifth product: it stores no scores, and computes them again.
        """
        return 2 * self._matmuls() + 2.5 * self.scores() + 2 * self._memory_bound()

    def recompute(self, again: Repeated) -> Array:
        """Seconds of what the backward pass of one layer computes again.

        Args:
            again: what is computed again, `Points.repeated`.
        """
        hidden, ffn = self._traffic()
        # Of what such kernels move of the residual stream, the two norms read and write a half.
        return (
            again.core_attn * self.scores()
            + again.layernorm * hidden / 2
            + again.feed_forward * self._ffn_matmuls()
            + again.activation * ffn
            + again.rest * (self._attention_matmuls() + hidden / 2)
        )

    def head(self) -> Array:
        """LM head and loss, forward and backward."""
        points, n = self.points, self.points.micro_batch_tokens
        logits = n * points.vocab / points.tp
        product = self._matmul(n, points.hidden, points.vocab / points.tp)
        return 3 * (product + 12 * logits / self.memory)

    def scores(self) -> Array:
        """Attention scores and their product with V, forward: 4 n s q / t, half of it if flash."""
        points = self.points
        n = points.micro_batch_tokens
        flops = 4 * n * points.sequence * points.query_width / points.tp
        moved = n * points.sequence * points.heads / points.tp
        moved = moved * self.constants.score_traffic
        flash = 0.5 * flops / (self.half_speed * self.flash)
        return np.where(points.flash > 0, flash, flops / self.half_speed + moved / self.memory)

    def tensor(self, again: Repeated) -> Array:
        """4 all-reduces of n h, or as many pairs of gather and scatter; 1 more for attention, and
        1 for the feed-forward block, where they are recomputed (``again``).
        """
        points, t = self.points, self.points.tp
        n, count = points.micro_batch_tokens, 4 + again.feed_forward + again.rest
        moved = 2 * (t - 1) / t * n * points.hidden * self.element_bytes
        all_reduce = moved / self.tensor_rate + self.collective * np.log2(t)
        c = points.cp
        # Keys and values of the tokens that the other context parallel ranks hold.
        keys = 2 * points.key_width / t * n * (c - 1) * self.element_bytes
        ring = 3 * keys / self.tensor_rate + 3 * (c - 1) * self.collective
        return np.where(t > 1, count * all_reduce, 0.0) + np.where(c > 1, ring, 0.0)

    def experts(self, again: Repeated) -> Array:
        """Dispatch and combine, forward and backward, and again where that is recomputed
        (``again``): of a token's experts some are in the node.
        """
        points, e = self.points, self.points.ep
        count = 4 + 2 * again.feed_forward
        tokens = points.micro_batch_tokens / np.where(points.sp > 0, points.tp, 1)
        # To each rank of the group go the tokens of its experts; or all of them, and what comes of
        # those is added up in the precision of the router's weights, fp32.
        gathered = e * (self.element_bytes + 4) / 2
        sent = np.where(points.gathers_tokens, gathered, points.active_ffns * self.element_bytes)
        moved = tokens * sent * points.hidden
        # Ranks of a group are next to each other: as many of them as can share a node.
        in_node = np.minimum(points.gpus_per_node, e) / e
        dispatch = moved * (
            (1 - in_node) / self.network + np.maximum(in_node - 1 / e, 0) / self.link
        )
        return np.where(e > 1, count * (dispatch + self.collective * np.log2(e)), 0.0)

    def send(self) -> Array:
        """Sends of one micro batch to the next stage and back, once per chunk."""
        points = self.points
        moved = points.micro_batch_tokens * points.hidden * self.element_bytes / points.tp
        latency = np.where(points.cpu > 0, self.constants.cpu_send, self.constants.send)
        exposed = np.where(points.cpu > 0, 1.0, self.constants.exposed_sends)
        seconds = moved / self.stage_rate * exposed + latency
        return np.where(points.pp > 1, 2 * points.vpp * seconds, 0.0)

    def data(self, compute: Array, last_backward: Array) -> Array:
        """Reduce gradients and gather weights, under ZeRO 3 again for each micro batch.

        Args:
            compute: seconds of all micro batches, which hide what ZeRO 3 gathers.
            last_backward: seconds of one backward pass, the last or, under ZeRO 2, each of which
                hides a reduction.
        """
        points, c = self.points, self.constants
        ranks = points.dp * points.cp
        moved = (ranks - 1) / ranks * sum(self._params()) / self.data_rate
        # ZeRO 0 reduces and gathers gradients (an all-reduce), ZeRO 1 to 3 gather weights instead.
        # ZeRO 2 keeps no gradients of others, and so reduces after each micro batch.
        reductions = np.where(points.zero == 2, points.accumulation, 1.0)
        # What is all-reduced late is so under ZeRO 1 too, in a pipeline.
        reduced = points.reduced_bytes * np.where((points.sums_late > 0) & (points.zero == 1), 2, 1)
        step = moved * np.where(
            points.zero == 0, 2 * reduced, reductions * reduced + self.element_bytes
        )
        late = points.sums_late > 0
        exposed = np.where((points.cpu > 0) | late, 1.0, c.exposed_gradients)
        hidden = (1 - exposed) * step
        step_shown = exposed * step + np.maximum(hidden - reductions * last_backward, 0.0)
        # ZeRO 3: gathered for the forward and the backward pass of each micro batch, and reduced.
        gathers = moved * (2 * self.element_bytes + reduced) * points.accumulation
        late = np.where(points.cpu > 0, gathers, c.exposed_gathers * gathers)
        zero3_shown = np.maximum(late + np.maximum(gathers - late - compute, 0.0), step_shown)
        # ZeRO 3 gathers each layer twice for each micro batch, and reduces it.
        m, layers = points.accumulation, points.layers / points.pp + 2
        calls = np.select([points.zero == 3, points.zero == 2], [3 * layers * m, m], 1.0)
        latency = calls * self.collective * np.log2(np.maximum(ranks, 1))
        hops = 2 * layers * c.ring * (points.zero > 0) * (points.shards - 1)
        ring = np.where(points.cpu > 0, 0.0, hops)
        exposed_step = np.where(points.zero == 3, zero3_shown, step_shown)
        return np.where(ranks > 1, exposed_step + latency + ring, 0.0)

    def optimizer(self) -> Array:
        """Read and write weight, gradient and both moments."""
        points = self.points
        dense, experts = self._params()
        shards = np.maximum(np.where(points.zero > 0, points.shards, 1), 1)
        spread = np.where(points.ep > 1, np.maximum(shards * points.tp / points.ep, 1), shards)
        params = dense / shards + experts / np.where(points.zero > 0, spread, 1)
        return 28 * params / self.memory  # 16 bytes of Adam's fp32 state read, 12 written

    def _params(self) -> tuple[Array, Array]:
        """Parameters that a rank holds: dense ones, and experts, which fewer ranks share."""
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
        return _smooth_max(2 * rows * inner * width / (self.speed * share), moved / self.memory)

    def _matmuls(self) -> Array:
        """Seconds of the products of a layer's forward pass."""
        return self._attention_matmuls() + self._ffn_matmuls()

    def _attention_matmuls(self) -> Array:
        points, t, h = self.points, self.points.tp, self.points.hidden
        n = points.micro_batch_tokens
        projections = self._matmul(n, h, (points.query_width + 2 * points.key_width) / t)
        return projections + self._matmul(n, points.query_width / t, h)

    def _ffn_matmuls(self) -> Array:
        points, t, h = self.points, self.points.tp, self.points.hidden
        rows = points.micro_batch_tokens * points.active_ffns
        into = self._matmul(rows, h, (1 + points.gated) * points.ffn / t)
        return into + self._matmul(rows, points.ffn / t, h)

    def _memory_bound(self) -> Array:
        """Seconds of memory traffic of a layer's forward pass that no product accounts for."""
        hidden, ffn = self._traffic()
        return hidden + ffn

    def _traffic(self) -> tuple[Array, Array]:
        """Seconds of norms, residuals and rotary embeddings, and of activation functions."""
        points, c = self.points, self.constants
        hidden = c.hidden_bytes * points.hidden / np.where(points.sp > 0, points.tp, 1)
        ffn = c.ffn_bytes * points.ffn * points.active_ffns / points.tp
        per_byte = points.micro_batch_tokens * self.element_bytes / 2 / self.memory
        return hidden * per_byte, ffn * per_byte

    def host(self, again: Repeated) -> Array:
        """Seconds to launch a layer's kernels: forward, two backward, and what is recomputed.

        Args:
            again: what is computed again, `Points.repeated`.
        """
        points = self.points
        scores, collective = 6 * (points.flash == 0), points.tp > 1
        experts = 12 * (points.experts > 0)
        kernels = 14 + scores + 2 * collective + experts
        # Of the 14: core attention, two norms, and the feed-forward block with its residual.
        attention, norms, feed_forward = 1 + scores, 2, 4 + collective + experts
        recomputed = (
            again.core_attn * attention
            + again.layernorm * norms
            + again.feed_forward * (feed_forward - 1)
            + again.activation
            + again.rest * (kernels - attention - norms - feed_forward)
        )
        return (3 * kernels + recomputed) * self.launch


def _smooth_max(first: Array, second: Array) -> Array:
    """Seconds of two activities that overlap, though not perfectly: the 4-norm of both."""
    return (first**4 + second**4) ** 0.25
