"""Import, in the process that ranks are forked from, all that every rank would import itself."""

import gc

from launcher.workers import libraries, train
from tests.launcher.workers import ranks

train._import(ranks.spec())
libraries.load_engines(("megatron", "deepspeed"))
from launcher.workers import training_loop  # noqa: E402, F401
from launcher.workers.data import batches, dataset  # noqa: E402, F401
from launcher.workers.sampling import evaluation  # noqa: E402, F401

train._import = lambda spec: None  # its patches are not applied twice

# DeepSpeed collects garbage again and again while it sets up: not among the libraries' objects.
gc.collect()
gc.freeze()
