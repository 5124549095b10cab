"""Rows of a sheet somebody else made, as points: what is blank gets a default, and is named.

Columns: hardware n_gpus (or nodes) gpus_per_node model params_b layers hidden ffn heads kv_heads
experts top_k vocab seq_len global_batch micro_batch tp pp vpp cp ep dp zero_stage_or_strategy (or
zero) recompute seq_parallel precision flash_attn, and of what was measured tokens_per_s_per_gpu,
step_s, mem_gb, oom (or outcome). All others are left alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from launcher.cluster import Cluster
from launcher.planner.points import (
    ENGINES,
    GIB,
    NUMBERS,
    RECOMPUTE,
    Array,
    Number,
    Points,
    device,
)
from launcher.shape import ModelShape

Row = Mapping[str, str]

FLAGS = {"1": True, "1.0": True, "true": True, "yes": True,
         "0": False, "0.0": False, "false": False, "no": False}  # fmt: skip


LARGEST_GATED = 3.6
"""ffn / hidden up to which a feed-forward block of three matrices is assumed; of two it has 4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """The rows, as columns."""

    rows: Sequence[Row]
    points: Points
    notes: Sequence[str]
    """For each row what was assumed: ``seq_len 2048, vocab 51200``."""

    def figure(self, name: str) -> Array:
        """A column of numbers, nan where it is blank or is none."""
        found = [_number(row.get(name, "")) for row in self.rows]
        return np.array([np.nan if value is None else value for value in found])

    @property
    def speed(self) -> Array:
        """Measured tokens per second and device; nan where not measured."""
        stated, points = self.figure("tokens_per_s_per_gpu"), self.points
        tokens = points.global_batch * points.sequence / points.gpus
        with np.errstate(divide="ignore", invalid="ignore"):
            speed = np.where(np.isfinite(stated), stated, tokens / self.figure("step_s"))
        return np.where(speed > 0, speed, np.nan)

    @property
    def step_seconds(self) -> Array:
        """Measured seconds of a step; nan where not measured."""
        points, stated = self.points, self.figure("step_s")
        derived = points.global_batch * points.sequence / (self.speed * points.gpus)
        known = ["global_batch" not in note for note in self.notes]
        return np.where(np.isfinite(stated), stated, np.where(known, derived, np.nan))

    @property
    def memory_kinds(self) -> list[str]:
        """For each row what its ``mem_gb`` means: a key of `launcher.planner.memory.KINDS`."""
        return [_memory_kind(row) for row in self.rows]

    @property
    def oom(self) -> Array:
        """1.0 where a run did not fit, 0.0 where it did, nan where that is not known."""
        return np.array([_oom(row) for row in self.rows])


def read(
    rows: Sequence[Row], clusters: Mapping[str, Cluster], models: Mapping[str, ModelShape]
) -> Sheet:
    """Understand a sheet.

    Args:
        rows: column name -> text.
        clusters: by name; a row's hardware picks the one whose accelerator it names.
        models: by name, for rows that say no sizes.
    """
    by_name = {_bare(name): shape for name, shape in models.items()}
    readers = [_Reader(row, clusters, by_name) for row in rows]
    values = [reader.values() for reader in readers]
    notes = [", ".join(reader.assumed) for reader in readers]
    return Sheet(rows=rows, points=Points.from_rows(values), notes=notes)


@dataclass(slots=True)
class _Reader:
    """One row on its way to a point."""

    row: Row
    clusters: Mapping[str, Cluster]
    models: Mapping[str, ModelShape]
    assumed: list[str] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """Every field of `Points`."""
        splits = {name: self._count(name, 1) for name in ("tp", "pp", "vpp", "cp", "ep")}
        model, machine = self._model(splits["tp"]), self._machine()
        size = splits["tp"] * splits["pp"] * splits["cp"]
        stated = _number(self.row.get("n_gpus", ""))
        nodes = _number(self.row.get("nodes", ""))
        if stated is None and nodes is not None:
            stated = nodes * machine["gpus_per_node"]
        dp = _number(self.row.get("dp", ""))
        gpus = stated or (dp * size if dp else None) or self._default("n_gpus", max(size, 8))
        dp = max(gpus // size, 1)
        strategy = self._strategy(dp * splits["cp"])
        micro = self._count("micro_batch", 1)
        batch = _number(self.row.get("global_batch", ""))
        batch = batch or self._default("global_batch", micro * dp * 4 * splits["pp"])
        sp = self._flag(
            "seq_parallel", splits["tp"] > 1 and strategy["engine"] != ENGINES.index("deepspeed")
        )
        return {
            **model, **machine, **splits, **strategy, "gpus": gpus, "sp": sp and splits["tp"] > 1,
            "micro_batch": micro, "global_batch": batch, "recompute": self._recompute(),
            "offload": False, "flash": self._flag("flash_attn", True),
        }  # fmt: skip

    def _default(self, name: str, value: Any) -> Any:
        self.assumed.append(
            f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}"
        )
        return value

    def _count(self, name: str, default: float) -> float:
        return _number(self.row.get(name, "")) or self._default(name, default)

    def _flag(self, name: str, default: bool) -> bool:
        said = FLAGS.get(self.row.get(name, "").strip().lower())
        return self._default(name, int(default)) == 1 if said is None else said

    def _recompute(self) -> int:
        said = self.row.get("recompute", "").strip().lower()
        return RECOMPUTE.index(said if said in RECOMPUTE else self._default("recompute", "none"))

    def _model(self, tp: float) -> dict[str, Any]:
        known = self.models.get(_bare(self.row.get("model", "")))
        layers, hidden = self._depth_and_width(known)
        near = max(round(hidden / (128 * tp)), 1) * tp  # heads of 128, so that tp divides them
        heads = self._size("heads", known, near)
        ffn = self._size("ffn", known, 4 * hidden)
        stated = {
            name: _number(self.row.get(name, "")) for name in ("kv_heads", "experts", "top_k")
        }
        noted = re.search(r"vocab ~?(\d+)k", self.row.get("notes", ""))
        default = known.padded_vocab if known else 1000 * int(noted[1]) if noted else None
        vocab = _number(self.row.get("vocab", "")) or default or self._default("vocab", 51200)
        return {
            "layers": layers, "hidden": hidden, "heads": heads,
            "head_dim": known.head_dim if known else hidden / heads,
            "kv_heads": stated["kv_heads"] or (known.kv_heads if known else heads), "ffn": ffn,
            "vocab": vocab, "sequence": self._sequence(known),
            "gated": known.gated if known else ffn <= LARGEST_GATED * hidden,
            "tied": known.tied if known else False,
            "experts": stated["experts"] or (known.experts if known else 0),
            "top_k": stated["top_k"] or (known.top_k if known else 2),
        }  # fmt: skip

    def _depth_and_width(self, known: ModelShape | None) -> tuple[float, float]:
        layers, hidden = (_number(self.row.get(name, "")) for name in ("layers", "hidden"))
        if layers and hidden:
            return layers, hidden
        if known:
            return known.layers, known.hidden
        named = re.search(r"(\d+(?:\.\d+)?)b", self.row.get("model", "").lower())
        params = _number(self.row.get("params_b", "")) or (float(named[1]) if named else None)
        layers, hidden = _guess(params or self._default("params_b", 7.0))
        self.assumed.append(f"layers {layers:g}, hidden {hidden:g}")
        return layers, hidden

    def _size(self, name: str, known: ModelShape | None, default: float) -> float:
        stated = _number(self.row.get(name, "")) or (getattr(known, name) if known else None)
        return stated or self._default(name, default)

    def _sequence(self, known: ModelShape | None) -> float:
        default = known.sequence if known else 2048
        return _number(self.row.get("seq_len", "")) or self._default("seq_len", default)

    def _machine(self) -> dict[str, Any]:
        said = self.row.get("hardware", "")
        number = self._precision()
        if number not in self.row.get("precision", "").lower():
            self._default("precision", number)
        cluster = _cluster(said, self.clusters)
        if cluster is None:
            cluster = self.clusters[self._default("hardware", "h100")]
        values = device(cluster.accelerator, number, cluster.network_gb_s)
        if memory := re.search(r"(\d+)\s*GB", said):
            # A card of 80 GB lets a process have 78.6 GiB; see conf/cluster/h100.yaml.
            values["memory"] = float(memory[1]) * 78.6 / 80 * GIB
        per_node = _number(self.row.get("gpus_per_node", "")) or cluster.gpus_per_node
        return {**values, "gpus_per_node": per_node, "number": NUMBERS.index(number), "fused": True}

    def _precision(self) -> Number:
        said = self.row.get("precision", "").lower()
        known: tuple[Number, ...] = ("fp8", "bf16", "fp16", "fp32")
        return next((name for name in known if name in said), "bf16")

    def _strategy(self, dp: float) -> dict[str, Any]:
        said = (self.row.get("zero_stage_or_strategy") or self.row.get("zero") or "").lower()
        source = f"{said} {self.row.get('source', '')} {self.row.get('backend', '')}".lower()
        stage = re.search(r"zero[_-]?(\d)|^\s*(\d)(?:\.0)?\s*$", said)
        if stage:
            zero = int(stage[1] or stage[2])
        elif "fsdp" in said:
            zero = 3
        elif "none" in said or "ddp" in said:
            zero = 0
        else:
            zero = self._default("zero", 1)
        plain = any(word in source for word in ("megatron", "mcore", "nemo", "ptd"))
        engine = "fsdp" if "fsdp" in said else "megatron" if plain else "deepspeed"
        group = re.search(r"group (\d+)", said)
        shards = float(group[1]) if group else dp
        half = self._precision() in ("fp16", "bf16") and engine == "deepspeed"
        fp16 = self._precision() == "fp16"
        return {
            "zero": zero, "engine": ENGINES.index(engine), "shards": shards,
            "gradient": 2.0 if half or fp16 else 4.0,
        }  # fmt: skip


def _oom(row: Row) -> float:
    """What the column oom says, or the outcome."""
    flag = FLAGS.get(row.get("oom", "").strip().lower())
    known = {"oom": True, "ok": False}.get(row.get("outcome", "").strip().lower())
    said = known if flag is None else flag
    return np.nan if said is None else float(said)


def _memory_kind(row: Row) -> str:
    """What its column mem_kind says, or the notes."""
    said = (row.get("mem_kind") or row.get("notes") or "").lower()
    if "nvidia-smi" in said or "device" in said:
        return "device"
    if "allocated" in said:
        return "allocated last" if "last rank" in said else "allocated first"
    return "reserved"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and value >= 0 else None


def _bare(name: str) -> str:
    """A model's name without what people write differently: ``LLAMA3.1_70B``, ``llama2-7b``."""
    plain = re.sub(r"\(.*\)|\[.*\]", "", name.lower())
    plain = re.sub(r"(llama-?_?3)\.\d", r"\1", plain).replace("llama2", "llama")
    return re.sub(r"\W|_", "", plain)


def _guess(params_b: float) -> tuple[float, float]:
    """Layers and hidden of a GPT of so many parameters: hidden = 128 x layers, 12 L h^2 of them."""
    layers = max(round((params_b * 1e9 / (12 * 128**2)) ** (1 / 3)), 1)
    return float(layers), 128.0 * layers


def _cluster(hardware: str, clusters: Mapping[str, Cluster]) -> Cluster | None:
    """The cluster whose accelerator a sheet means: ``A100-40GB``, ``NVIDIA H100 80GB HBM3``."""
    words = re.findall(r"[a-z]+\d+", hardware.lower())
    small = "40gb" in hardware.lower()
    names: Iterable[str] = (f"{word}_40gb" if small else word for word in words)
    found = [name for name in [*names, *words] if name in clusters]
    return clusters[found[0]] if found else None
