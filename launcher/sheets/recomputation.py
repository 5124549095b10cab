"""Activation checkpointing as the columns of a sheet state it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from launcher.sheets import spelling
from launcher.sheets.cells import BLANK
from launcher.spec.layout import RecomputeMethod
from launcher.spec.shape import CORE_ATTENTION, Recompute, RecomputedModule

METHODS: tuple[RecomputeMethod, ...] = get_args(RecomputeMethod)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recomputation:
    """One row's, as far as it is stated."""

    kind: Recompute | None = None
    modules: tuple[RecomputedModule, ...] | None = ()
    """Those that a selective one repeats; None where they are others than are built here."""
    layers: int | None = None
    """Layers of a full one; None is every layer, one at a time."""
    method: RecomputeMethod | None = None
    """Meaning of ``layers``."""

    @property
    def named_modules(self) -> str | None:
        """Modules as our own table has them; None for core attention, the default."""
        return None if self.modules in (None, (), CORE_ATTENTION) else " ".join(self.modules or ())


def read(row: Mapping[str, str]) -> Recomputation:
    """Read the cells of a normalized row (`launcher.sheets.reading`)."""
    kind_text, modules_text, layers_text, method_text = (
        text if (text := row.get(name, "")).lower() not in BLANK else ""
        for name in ("recompute", "recompute_modules", "recompute_layers", "recompute_method")
    )
    kind = spelling.recompute(row.get("recompute", ""))
    if kind is None and not kind_text:
        kind = spelling.recompute(row.get("recompute_modules", ""))
    if kind == "selective":
        return Recomputation(
            kind=kind, modules=spelling.recomputed_modules(modules_text or kind_text)
        )
    count = spelling.number(layers_text)
    layers = int(count) if count and kind == "full" else None
    method = next((method for method in METHODS if method in method_text.lower()), None)
    if layers is None or (layers == 1 and method == "uniform"):
        return Recomputation(kind=kind)
    return Recomputation(kind=kind, layers=layers, method=method)
