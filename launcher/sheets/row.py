"""One row of a sheet on its way to a point: what it states, and what has to be assumed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from launcher.planner.engines import ENGINES
from launcher.planner.points import GIB, NUMBERS, RECOMPUTE, Number, device
from launcher.sheets import aliases, spelling
from launcher.sheets.frameworks import GRADIENT, UNKNOWN, Framework, framework
from launcher.spec.cluster import Cluster
from launcher.spec.shape import ModelShape

Row = Mapping[str, str]

LARGEST_GATED = 3.6
"""ffn / hidden up to which a feed-forward block of three matrices is assumed; of two it has 4."""

BLANK = ("", "-", "?", "na", "n/a", "nan", "none", "null", "tbd", "auto", "default")
"""What says that nothing is said."""

STRATEGY = "zero_stage_or_strategy"

MOST_SEQUENCES = 1e6
"""A global batch of as many is one of tokens."""


@dataclass
class Reader:
    """A row, and what had to be assumed of it."""

    row: Row
    clusters: Mapping[str, Cluster]
    models: Mapping[str, ModelShape]
    notes: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    @cached_property
    def framework(self) -> Framework:
        """What it was run with."""
        names = (STRATEGY, "source", "backend", "model", "notes")
        return framework(" ".join(self._said(name) for name in names).lower())

    def values(self) -> dict[str, Any]:
        """Every field of `Points`."""
        splits = {name: self._size(name, 1) for name in ("tp", "pp", "cp", "ep")}
        machine = self._machine()
        model = self._model(splits)
        splits["vpp"] = self._chunks(model["layers"] / splits["pp"])
        copy = splits["tp"] * splits["pp"] * splits["cp"]
        gpus = self._gpus(machine, copy)
        dp = max(gpus // copy, 1)
        strategy = self._strategy(dp * splits["cp"], machine)
        micro = self._size("micro_batch", 1)
        split = splits["tp"] > 1
        sp = self._flag("seq_parallel", split and strategy["engine"] != ENGINES.index("deepspeed"))
        return {
            **model, **machine, **splits, **strategy, "gpus": gpus, "sp": sp and split,
            "micro_batch": micro,
            "global_batch": self._batch(micro * dp, splits["pp"], model["sequence"]),
            "recompute": RECOMPUTE.index(self._word("recompute", spelling.RECOMPUTED, "none")),
            "flash": self._flag("flash_attn", self.framework.flash),
            "dropout": self.framework.gpt_dropout and not model["gated"],
        }  # fmt: skip

    def _said(self, name: str) -> str:
        return self.row.get(name, "")

    def _number(self, name: str, thousand: int = 1000) -> float | None:
        """What a column states; 0 of anything is nothing stated."""
        return spelling.number(self._said(name), thousand) or None

    def _default(self, name: str, value: Any) -> Any:
        self.assumed.append(name)
        shown = f"{value:g}" if isinstance(value, float | int) else value
        self.notes.append(f"{name} {shown}{self._instead(name)}")
        return value

    def _instead(self, name: str) -> str:
        """What a cell says that cannot be used."""
        if name == "engine" or (name == "zero" and not re.search(r"\d", self._said(STRATEGY))):
            return ""
        said = self._said(STRATEGY if name == "zero" else name)
        return "" if said.lower() in BLANK else f" (not {said!r})"

    def _size(self, name: str, default: float) -> float:
        return self._number(name) or self._default(name, default)

    def _flag(self, name: str, default: bool) -> bool:
        said = spelling.flag(name, self._said(name))
        return self._default(name, int(default)) == 1 if said is None else said

    def _word(self, name: str, patterns: Sequence[tuple[spelling.T, str]], default: Any) -> Any:
        said = spelling.first(patterns, self._said(name)) if self._said(name) else None
        return self._default(name, default) if said is None else said

    def _chunks(self, layers: float) -> float:
        """Virtual stages of a stage of so many layers."""
        each = self._number("layers_per_chunk")
        return layers / each if each and not self._number("vpp") else self._size("vpp", 1)

    def _gpus(self, machine: Mapping[str, Any], copy: float) -> float:
        """Cards: what is stated of them first, then nodes, then dp, then the hardware's "8x"."""
        nodes, dp, stated = self._number("nodes"), self._number("dp"), self._number("n_gpus")
        of_nodes = nodes * machine["gpus_per_node"] if nodes else None
        counted = aliases.machine(self._said("hardware"), self.clusters).cards
        gpus = stated or of_nodes or (dp * copy if dp else None) or counted
        gpus = gpus or self._default("n_gpus", max(copy, 8.0))
        if stated and of_nodes and of_nodes != stated:
            per_node = machine["gpus_per_node"]
            self.notes.append(f"{stated:g} gpus (not {nodes:g} nodes of {per_node:g})")
        if dp and dp != gpus / copy:
            self.notes.append(f"dp {max(gpus // copy, 1):g} (not {dp:g}: {gpus:g} gpus / {copy:g})")
        return gpus

    def _batch(self, at_once: float, stages: float, sequence: float) -> float:
        """Sequences of a step."""
        said = self._said("global_batch")
        stated = self._number("global_batch", 1024)
        if stated and (stated >= MOST_SEQUENCES or "tok" in said.lower()):
            sequences = max(round(stated / sequence / at_once), 1) * at_once
            self.notes.append(f"a batch of {sequences:g} for {said.removesuffix(' tokens')} tokens")
            return sequences
        steps = self._number("accumulation")
        if not stated and steps:
            return at_once * steps
        return stated or self._default("global_batch", at_once * 4 * stages)

    def _model(self, splits: Mapping[str, float]) -> dict[str, Any]:
        like = aliases.model(self._said("model"), self.models)
        layers, hidden = self._depth_and_width(like)
        sizes = like if like and like.hidden == hidden else None
        near = max(round(hidden / (128 * splits["tp"])), 1) * splits["tp"]  # tp divides them
        heads = self._like(sizes, "heads", near)
        wide = like.ffn / like.hidden if like else 4
        ffn = self._like(sizes, "ffn", round(wide * hidden))
        sizes = sizes if sizes and sizes.heads == heads else None
        experts = self._experts(like, splits["ep"])
        out = {
            "layers": layers, "hidden": hidden, "heads": heads, "ffn": ffn, "experts": experts,
            "kv_heads": self._like(sizes, "kv_heads", heads),
            "head_dim": sizes.head_dim if sizes else hidden / heads,
            "top_k": self._like(like, "top_k", 2) if experts else 2,
            "gated": (gated := self._trait(like, "gated", ffn <= LARGEST_GATED * hidden)),
            "tied": self._trait(like, "tied", self.framework.gpt_tied and not gated),
            "vocab": self._vocab(like),
            "sequence": self._number("seq_len", 1024)
            or self._default("seq_len", like.sequence if like else 2048),
        }  # fmt: skip
        if like:
            self._compare(like)
        return out

    def _like(self, shape: ModelShape | None, name: str, default: float) -> float:
        """What is stated, else what a model of ours has, else an assumption."""
        return self._number(name) or (
            getattr(shape, name) if shape else self._default(name, default)
        )

    def _trait(self, shape: ModelShape | None, name: str, default: bool) -> bool:
        said = spelling.flag(name, self._said(name))
        if said is None:
            return getattr(shape, name) if shape else bool(self._default(name, int(default)))
        return said

    def _depth_and_width(self, like: ModelShape | None) -> tuple[float, float]:
        layers, hidden = self._number("layers"), self._number("hidden")
        if like:
            return layers or like.layers, hidden or like.hidden
        if layers and hidden:
            return layers, hidden
        params = spelling.billions(self._said("params_b")) or aliases.billions(self._said("model"))
        if not (params or layers or hidden):
            params = self._default("params_b", 7.0)
            if self._said("model").lower() not in BLANK:
                self.notes.append(f"no model {self._said('model')!r} is known")
        guessed = aliases.guess(params, layers, hidden)
        layers = layers or self._default("layers", guessed[0])
        return layers, hidden or self._default("hidden", guessed[1])

    def _experts(self, like: ModelShape | None, ep: float) -> float:
        stated = spelling.number(self._said("experts"))
        if stated is None and like:
            return like.experts
        if stated is None and (ep > 1 or aliases.sounds_like_experts(self._said("model"))):
            return float(self._default("experts", 0))
        return stated if stated and stated > 1 else 0

    def _vocab(self, like: ModelShape | None) -> float:
        stated = self._number("vocab") or (like.padded_vocab if like else None)
        noted = re.search(r"vocab ~?(\d+)k", self._said("notes"))
        if stated or not noted:
            return stated or self._default("vocab", 51200)
        self.assumed.append("vocab")
        self.notes.append(f"vocab {noted[1]}000 of the notes")
        return 1000.0 * int(noted[1])

    def _compare(self, like: ModelShape) -> None:
        """Note what the model's name was taken for, and where the sizes contradict it."""
        names = ("layers", "hidden", "ffn", "heads", "kv_heads", "experts", "top_k", "vocab")
        stated = {name: value for name in names if (value := self._number(name))}
        own = {"vocab": (like.vocab, like.padded_vocab)}
        unlike = [
            name for name in stated if stated[name] not in own.get(name, (getattr(like, name),))
        ]
        if unlike:  # after a colon: a name and a blank is how a value is assumed
            self.notes.append(f"unlike {like.name}: {'/'.join(unlike)}")
        elif spelling.bare(self._said("model")) != spelling.bare(like.name) and len(stated) < 5:
            self.notes.append(f"model {like.name}")
        params = spelling.billions(self._said("params_b"))
        if params and not unlike and abs(params * 1e9 / like.params - 1) > 0.2:
            self.notes.append(f"{like.params / 1e9:.1f} B parameters (not {params:g})")

    def _machine(self) -> dict[str, Any]:
        found = aliases.machine(self._said("hardware"), self.clusters)
        if found.assumed:
            self._default("hardware", found.assumed)
        number: Number = self._word("precision", spelling.PRECISIONS, "bf16")
        if "tf32" in self._said("precision").lower():
            self.notes.append("precision fp32 without TF32")
        cluster = found.cluster
        values = device(cluster.accelerator, number, cluster.network_gb_s)
        if found.memory_gb:
            # A card of 80 GB lets a process have 78.6 GiB; see conf/cluster/h100.yaml.
            values["memory"] = found.memory_gb * 78.6 / 80 * GIB
        per_node = self._size("gpus_per_node", cluster.gpus_per_node)
        return {**values, "gpus_per_node": per_node, "number": NUMBERS.index(number), "fused": True}

    def _strategy(self, dp: float, machine: Mapping[str, Any]) -> dict[str, Any]:
        said, used = self._said(STRATEGY).lower(), self.framework
        fully = re.search(spelling.FSDP, said) is not None
        engine = "fsdp" if fully else used.engine
        if used is UNKNOWN and not fully:
            self._default("engine", engine)
        zero = spelling.first(spelling.STAGES, said) if said else None
        if zero is None:
            zero = self._default("zero", 3 if engine == "fsdp" else 1)
        if used.sharded and "ddp" in said:
            zero = 1
        if group := re.search(r"group (\d+)", said):
            shards = float(group[1])
        else:
            inside = re.search(spelling.HYBRID, said)
            shards = min(dp, machine["gpus_per_node"]) if inside else dp
        offload = spelling.flag("offload", self._said("offload"))
        if offload is None:
            offload = re.search(spelling.OFFLOADED, said) is not None
        gradient = used.gradient
        if fully or (used is not UNKNOWN and engine == "deepspeed" and zero > 1):
            gradient = GRADIENT  # beyond ZeRO 1 DeepSpeed keeps only what it adds up
        return {
            "zero": zero, "engine": ENGINES.index(engine), "offload": offload,
            "shards": shards, "gradient": gradient[NUMBERS[machine["number"]]],
            "fused_loss": used.fused_loss,
        }  # fmt: skip
