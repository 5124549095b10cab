"""Classes of the schedulers, by the name that ``scheduler.name`` gives them."""

from launcher.schedulers import Scheduler
from launcher.schedulers.local import Local
from slurm.scheduler import Slurm

SCHEDULERS: dict[str, type[Scheduler]] = {"local": Local, "slurm": Slurm}
