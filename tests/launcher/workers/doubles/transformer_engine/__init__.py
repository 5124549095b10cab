"""Stands in for Transformer Engine: its optimizers, and names of all that no run here asks for.

Its presence alone changes what megatron-core runs, as in each of NVIDIA's images.
"""

import sys
from unittest.mock import MagicMock

from transformer_engine.unused import Unused

__version__ = "2.8.0"
for path in ("fp8", "router", "tensor"):
    sys.modules[f"{__name__}.pytorch.{path}"] = Unused(path)
common = MagicMock()

from transformer_engine import pytorch  # noqa: E402, F401
