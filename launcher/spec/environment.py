"""Rules of the variables that a user gives to ranks."""

import re
from collections.abc import Mapping

from launcher.errors import ConfigError

SECRET = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.I)

OURS = {
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("CUDA_VISIBLE_DEVICES", "DS_ACCELERATOR", "OMP_NUM_THREADS"),
}
"""Names that the launcher sets for each rank."""

OUR_PREFIXES = ("MEGALAUNCH_", "SLURM_")

DETERMINISTIC = {
    "NCCL_ALGO": "Ring",  # the order of a tree's sums follows from where the nodes are
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0",
}
"""Variables of a run whose sums are to be made in one order on cards, as Megatron-LM asks for them
(megatron/training/determinism.py)."""

READ_AT_START = re.compile(r"(?:LD|PYTHON)\w*")
"""Names that are read when a process starts: in a running rank they would change nothing."""


def check_determinism(environment: Mapping[str, str | int], where: str) -> None:
    """Raise ConfigError on a variable that a deterministic run needs another value of."""
    for name, value in DETERMINISTIC.items():
        if str(environment.get(name, value)) != value:
            raise ConfigError(
                f"{where}.{name}: {environment[name]}, train.deterministic true needs {value}"
            )


def check(environment: Mapping[str, str | int], where: str) -> None:
    """Raise ConfigError on a variable that a rank cannot be given by its spec."""
    for name, value in environment.items():
        key = f"{where}.{name}"
        if not name.isidentifier():
            raise ConfigError(f"{where}: {name!r} is no name of a variable")
        if type(value) not in (str, int) or "\0" in str(value):
            raise ConfigError(f"{key}: expected a text or a whole number, got {value!r}")
        if SECRET.search(name):
            raise ConfigError(
                f"{key}: looks like a secret, which files would keep; export it where you call"
                " launch"
            )
        if name in OURS or name.startswith(OUR_PREFIXES):
            raise ConfigError(f"{key}: the launcher sets it for each rank; leave it out")
        if READ_AT_START.fullmatch(name):
            raise ConfigError(
                f"{key}: is read when a process starts, before a spec is; export it where you call"
                " launch"
            )
