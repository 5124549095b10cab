"""One row of a sheet on its way to a point: what it states, and what has to be assumed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from launcher.errors import LayoutError
from launcher.planner.engines import ENGINES
from launcher.planner.points import (
    DISPATCHERS,
    GIB,
    NUMBER_FORMATS,
    NumberFormat,
    device_fields,
    recompute_fields,
    stage_fields,
)
from launcher.sheets import aliases, recomputation, spelling
from launcher.sheets.cells import BLANK
from launcher.sheets.frameworks import MEGATRON_GRADIENT, UNKNOWN, Framework, framework
from launcher.sheets.reading import ADAPTERS, STRATEGY
from launcher.spec import pipeline
from launcher.spec.cluster import Cluster
from launcher.spec.shape import ModelShape

Row = Mapping[str, str]

LARGEST_GATED = 3.6
"""ffn / hidden up to which a feed-forward block of three matrices is assumed; of two it has 4."""

AMBIGUOUS = re.compile(r"mixed|\bamp|^(?:yes|true|on)$", re.I)
"""Precision of 16 bits, whichever it is."""
PLACEHOLDER_B = 7.0
"""Parameters of a point that stands for a row without a model, billions: it is never shown."""

MOST_SEQUENCES = 1e6
"""A global batch of as many is one of tokens."""


MOST_CHUNKS = 1000
"""Stages of a pipeline, or model chunks of one, beyond which a number is no such number."""


@dataclass
class RowReader:
    """A row, and the assumptions made to read it."""

    row: Row
    clusters: Mapping[str, Cluster]
    models: Mapping[str, ModelShape]
    notes: list[str] = field(default_factory=list)
    """Assumptions and contradictions, for a person."""
    assumed: list[str] = field(default_factory=list)
    """Columns that got a default."""
    refusals: list[str] = field(default_factory=list)
    """Reasons for which a prediction would be one of something else."""

    @cached_property
    def framework(self) -> Framework:
        """Framework that it was run with."""
        names = (STRATEGY, "source", "backend", "model", "notes")
        return framework(" ".join(self._cell(name) for name in names).lower())

    def values(self) -> dict[str, Any]:
        """Return every field of `Points`; notes and assumptions come in the order of this code."""
        splits = {name: self._size(name, 1) for name in ("tp", "pp", "cp", "ep")}
        machine = self._machine()
        model = self._model(splits)
        splits["vpp"] = self._chunks(model["layers"] / splits["pp"])
        replica = splits["tp"] * splits["pp"] * splits["cp"]
        gpus = self._gpus(machine, replica)
        dp = max(gpus // replica, 1)
        strategy = self._strategy(dp * splits["cp"], machine)
        micro = self._size("micro_batch", 1)
        split = splits["tp"] > 1
        sp = self._flag("seq_parallel", split and strategy["engine"] != ENGINES.index("deepspeed"))
        return {
            **model,
            **stage_fields(self._stages(int(model["layers"]), splits)),
            **machine,
            **splits,
            **strategy,
            "gpus": gpus,
            "sp": sp and split,
            "micro_batch": micro,
            "global_batch": self._batch(micro * dp, splits["pp"], model["sequence"]),
            **self._recompute(),
            "dispatcher": DISPATCHERS.index(
                spelling.dispatcher(self._cell("dispatcher")) or "alltoall"
            ),
            "flash": self._flag("flash_attn", self.framework.flash),
            "dropout": self.framework.gpt_dropout and not model["gated"],
        }

    def _cell(self, name: str) -> str:
        return self.row.get(name, "")

    def _number(self, name: str, thousand: int = 1000) -> float | None:
        """Number that a column states; 0 of anything is nothing stated."""
        return spelling.number(self._cell(name), thousand) or None

    def _default(self, name: str, value: Any) -> Any:
        self.assumed.append(name)
        text = f"{value:g}" if isinstance(value, float | int) else value
        self.notes.append(f"{name} {text}{self._unusable(name)}")
        return value

    def _unusable(self, name: str) -> str:
        """Remark on a cell that cannot be used, ``" (not 'V100')"``; empty where it is blank."""
        if name == "engine" or (name == "zero" and not re.search(r"\d", self._cell(STRATEGY))):
            return ""
        text = self._cell(STRATEGY if name == "zero" else name)
        return "" if text.lower() in BLANK else f" (not {text!r})"

    def _size(self, name: str, default: float) -> float:
        return self._number(name) or self._default(name, default)

    def _flag(self, name: str, default: bool) -> bool:
        flag = spelling.flag(name, self._cell(name))
        return self._default(name, int(default)) == 1 if flag is None else flag

    def _refuse(self, name: str) -> None:
        """Say that what a column states cannot be predicted; nothing where it is blank."""
        if (text := self._cell(name)).lower() not in BLANK:
            self.refusals.append(f"no prediction is made for {name} {text!r}")

    def _read(
        self, name: str, read: Callable[[str], spelling.T | None], default: spelling.T
    ) -> Any:
        """Value that a reader finds in a column; what states another one is refused by name."""
        text = self._cell(name)
        value = read(text) if text else None
        if value is None and not (name == "precision" and AMBIGUOUS.search(text)):
            self._refuse(name)
        return self._default(name, default) if value is None else value

    def _stages(self, layers: int, splits: Mapping[str, float]) -> list[int]:
        """Layers of each pipeline stage."""
        # More stages than layers, or than anybody has, is refused by the rules.
        pp, vpp = (min(max(int(splits[name]), 1), MOST_CHUNKS) for name in ("pp", "vpp"))
        even = pipeline.layers_of_stages(pipeline.even(layers, pp * vpp), pp)
        text = spelling.pipeline_layout(self._cell("pipeline_layout"))
        if text is None:
            self._refuse("pipeline_layout")
            return even
        try:
            pipeline.check(text, pp, vpp, layers)
        except LayoutError as error:
            self.refusals.append(str(error))
            return even
        return pipeline.layers_of_stages(pipeline.layers_of_chunks(text), pp)

    def _recompute(self) -> dict[str, Any]:
        stated = recomputation.read(self.row)
        kind, method = stated.kind, stated.method
        if kind is None:
            self._refuse("recompute")
            self._refuse("recompute_modules")
            kind = self._default("recompute", "none")
        if stated.modules is None:
            self._refuse("recompute_modules")
        if stated.layers and method is None:
            method = self._default("recompute_method", "block")
        return recompute_fields(kind, stated.modules or (), stated.layers, method or "block")

    def _chunks(self, layers: float) -> float:
        """Virtual stages of a stage of so many layers."""
        chunk = self._number("layers_per_chunk")
        return layers / chunk if chunk and not self._number("vpp") else self._size("vpp", 1)

    def _gpus(self, machine: Mapping[str, Any], replica: float) -> float:
        """Cards: a number of them first, then nodes, then dp, then the hardware's "8x".

        Args:
            machine: fields of the points that the hardware decides.
            replica: cards that hold one copy of the model.
        """
        nodes, dp, n_gpus = self._number("nodes"), self._number("dp"), self._number("n_gpus")
        of_nodes = nodes * machine["gpus_per_node"] if nodes else None
        of_hardware = aliases.machine(self._cell("hardware"), self.clusters).cards
        gpus = n_gpus or of_nodes or (dp * replica if dp else None) or of_hardware
        gpus = gpus or self._default("n_gpus", max(replica, 8.0))
        if n_gpus and of_nodes and of_nodes != n_gpus:
            per_node = machine["gpus_per_node"]
            self.notes.append(f"{n_gpus:g} gpus (not {nodes:g} nodes of {per_node:g})")
        if dp and dp != gpus / replica:
            derived = max(gpus // replica, 1)
            self.notes.append(f"dp {derived:g} (not {dp:g}: {gpus:g} gpus / {replica:g})")
        return gpus

    def _batch(self, at_once: float, stages: float, sequence: float) -> float:
        """Sequences of a step.

        Args:
            at_once: sequences of one micro batch over all replicas.
            stages: of the pipeline, for a default that fills it.
            sequence: tokens of one.
        """
        text = self._cell("global_batch")
        batch = self._number("global_batch", 1024)
        if batch and (batch >= MOST_SEQUENCES or "tok" in text.lower()):
            sequences = max(round(batch / sequence / at_once), 1) * at_once
            self.notes.append(f"a batch of {sequences:g} for {text.removesuffix(' tokens')} tokens")
            return sequences
        micro_batches = self._number("accumulation")
        if not batch and micro_batches:
            return at_once * micro_batches
        return batch or self._default("global_batch", at_once * 4 * stages)

    def _model(self, splits: Mapping[str, float]) -> dict[str, Any]:
        name = self._cell("model")
        shape = aliases.model(name, self.models)
        if shape and not shape.experts and aliases.sounds_like_experts(name):
            shape = None  # a mixture made of it
        if ADAPTERS.search(f"{name} {self._cell('task')}".lower()):
            self.refusals.append("adapters are trained, and no formula is of them")
        layers, hidden = self._depth_and_width(shape)
        # Heads and ffn of a model of ours mean nothing for one that is wider or narrower.
        same_width = shape if shape and shape.hidden == hidden else None
        heads_guess = max(round(hidden / (128 * splits["tp"])), 1) * splits["tp"]  # tp divides them
        heads = self._size_like(same_width, "heads", heads_guess)
        ffn_ratio = shape.ffn / shape.hidden if shape else 4
        ffn = self._size_like(same_width, "ffn", round(ffn_ratio * hidden))
        same_heads = same_width if same_width and same_width.heads == heads else None
        experts = self._experts(shape, splits["ep"])
        kv_heads = self._size_like(same_heads, "kv_heads", heads)
        top_k = self._size_like(shape, "top_k", 2) if experts else 2
        gated = self._flag_like(shape, "gated", ffn <= LARGEST_GATED * hidden)
        tied = self._flag_like(shape, "tied", self.framework.gpt_tied and not gated)
        vocab = self._vocab(shape)
        sequence = self._number("seq_len", 1024)
        sequence = sequence or self._default("seq_len", shape.sequence if shape else 2048)
        if shape:
            self._compare(shape)
        return {
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "ffn": ffn,
            "experts": experts,
            "kv_heads": kv_heads,
            "head_dim": same_heads.head_dim if same_heads else hidden / heads,
            "top_k": top_k,
            "gated": gated,
            "tied": tied,
            "vocab": vocab,
            "sequence": sequence,
        }

    def _size_like(self, shape: ModelShape | None, name: str, default: float) -> float:
        """The number that the row states, else that of a model of ours, else a default."""
        return self._number(name) or (
            getattr(shape, name) if shape else self._default(name, default)
        )

    def _flag_like(self, shape: ModelShape | None, name: str, default: bool) -> bool:
        """The flag that the row states, else that of a model of ours, else a default."""
        flag = spelling.flag(name, self._cell(name))
        if flag is None:
            return getattr(shape, name) if shape else bool(self._default(name, int(default)))
        return flag

    def _depth_and_width(self, shape: ModelShape | None) -> tuple[float, float]:
        layers, hidden = self._number("layers"), self._number("hidden")
        if shape:
            return layers or shape.layers, hidden or shape.hidden
        if layers and hidden:
            return layers, hidden
        model = self._cell("model")
        params = spelling.billions(self._cell("params_b")) or aliases.billions(model)
        named = model.lower() not in BLANK
        if aliases.is_no_decoder(model):
            self.refusals.append(f"{model!r} is no model of a decoder's layers alone")
        if named and not (layers or hidden):
            self.notes.append(f"no model {model!r} is known")
        if params or layers or hidden:
            guess = aliases.guess(params, layers, hidden)
            layers = layers or self._default("layers", guess[0])
            return layers, hidden or self._default("hidden", guess[1])
        reason = f"no model {model!r} is known" if named else "no model is named"
        self.refusals.append(f"{reason}, and no size of it is stated")
        self.assumed += ["layers", "hidden"]  # placeholders, of which nothing is shown
        return aliases.guess(PLACEHOLDER_B)

    def _experts(self, shape: ModelShape | None, ep: float) -> float:
        experts = spelling.number(self._cell("experts"))
        if experts is None and shape:
            return shape.experts
        model = self._cell("model")
        if experts is None and (ep > 1 or aliases.sounds_like_experts(model)):
            of = f"{model!r} has" if aliases.sounds_like_experts(model) else f"ep {ep:g} is of"
            self.refusals.append(f"{of} experts, and how many is not stated")
            return float(self._default("experts", 0))
        if experts and experts > 1 and not shape and {"layers", "hidden"} & set(self.assumed):
            self.refusals.append("layers and hidden of a model with experts are not stated")
        return experts if experts and experts > 1 else 0

    def _vocab(self, shape: ModelShape | None) -> float:
        vocab = self._number("vocab") or (shape.padded_vocab if shape else None)
        noted = re.search(r"vocab ~?(\d+)k", self._cell("notes"))
        if vocab or not noted:
            return vocab or self._default("vocab", 51200)
        self.assumed.append("vocab")
        self.notes.append(f"vocab {noted[1]}000 of the notes")
        return 1000.0 * int(noted[1])

    def _compare(self, shape: ModelShape) -> None:
        """Note the model that the name was taken for, and the sizes that contradict it."""
        names = ("layers", "hidden", "ffn", "heads", "kv_heads", "experts", "top_k", "vocab")
        sizes = {name: value for name in names if (value := self._number(name))}
        right = {"vocab": (shape.vocab, shape.padded_vocab)}
        unlike = [
            name for name in sizes if sizes[name] not in right.get(name, (getattr(shape, name),))
        ]
        if unlike:  # after a colon: a name and a blank is how a value is assumed
            self.notes.append(f"unlike {shape.name}: {'/'.join(unlike)}")
        elif spelling.bare(self._cell("model")) != spelling.bare(shape.name) and len(sizes) < 5:
            self.notes.append(f"model {shape.name}")
        params = spelling.billions(self._cell("params_b"))
        if params and not unlike and abs(params * 1e9 / shape.params - 1) > 0.2:
            self.notes.append(f"{shape.params / 1e9:.1f} B parameters (not {params:g})")

    def _machine(self) -> dict[str, Any]:
        machine = aliases.machine(self._cell("hardware"), self.clusters)
        if machine.assumed:
            self._default("hardware", machine.assumed)
        number_format: NumberFormat = self._read("precision", spelling.precision, "bf16")
        if "tf32" in self._cell("precision").lower():
            self.notes.append("precision fp32 without TF32")
        cluster = machine.cluster
        values = device_fields(cluster.accelerator, number_format, cluster.network_gb_s)
        if machine.memory_gb:
            # A card of 80 GB lets a process have 78.6 GiB; see conf/cluster/h100.yaml.
            values["memory"] = machine.memory_gb * 78.6 / 80 * GIB
        on_a_node = machine.cards / machine.nodes if machine.cards and machine.nodes else None
        return {
            **values,
            "gpus_per_node": self._number("gpus_per_node")
            or on_a_node
            or self._default("gpus_per_node", cluster.gpus_per_node),
            "number_format": NUMBER_FORMATS.index(number_format),
            "fused": True,
        }

    def _strategy(self, dp: float, machine: Mapping[str, Any]) -> dict[str, Any]:
        text, framework = self._cell(STRATEGY).lower(), self.framework
        fsdp = re.search(spelling.FSDP, text) is not None
        engine = "fsdp" if fsdp else framework.engine
        if framework is UNKNOWN and not fsdp:
            self._default("engine", engine)
        zero = spelling.first(spelling.STAGES, text) if text else None
        if zero is None:
            zero = self._default("zero", 3 if engine == "fsdp" else 1)
        if framework.sharded and "ddp" in text:
            zero = 1
        if group := re.search(r"group (\d+)", text):
            shards = float(group[1])
        else:
            hybrid = re.search(spelling.HYBRID, text)  # shards inside a node, copies across nodes
            shards = min(dp, machine["gpus_per_node"]) if hybrid else dp
        offload = spelling.flag("offload", self._cell("offload"))
        if offload is None:
            offload = re.search(spelling.OFFLOADED, text) is not None
        gradient = framework.gradient
        if fsdp or (framework is not UNKNOWN and engine == "deepspeed" and zero > 1):
            gradient = MEGATRON_GRADIENT  # beyond ZeRO 1 DeepSpeed keeps only what it adds up
        number_format = NUMBER_FORMATS[machine["number_format"]]
        gradient_bytes = gradient[number_format]
        # Megatron reduces gradients as it keeps them, the others in the weights' precision.
        reduced_bytes = 4.0 if number_format == "fp32" else 2.0
        if reduced := spelling.precision(self._cell("reduce_precision")):
            reduced_bytes = 4.0 if reduced == "fp32" else 2.0
        elif engine == "megatron":
            reduced_bytes = gradient_bytes
        return {
            "zero": zero,
            "engine": ENGINES.index(engine),
            "offload": offload,
            "shards": shards,
            "gradient_bytes": gradient_bytes,
            "sums_late": 0,
            "reduced_bytes": reduced_bytes,
            "fused_loss": framework.fused_loss,
        }
