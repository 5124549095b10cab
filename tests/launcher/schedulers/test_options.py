"""Options of SLURM that are refused: one line that names the key."""

import re
from typing import Any

import pytest

from launcher.errors import ConfigError
from launcher.schedulers.options import SECRET
from tests.slurm.fakes import make_options

LINES: list[tuple[dict[str, Any], str]] = [
    ({"partition": "a\nb"}, r"scheduler.partition: 'a\nb' is not one line"),
    ({"account": "a\r"}, r"scheduler.account: 'a\r' is not one line"),
    ({"qos": "a\0"}, r"scheduler.qos: 'a\x00' is not one line"),
    ({"reservation": "\n"}, r"scheduler.reservation: '\n' is not one line"),
    ({"constraint": "a\n#SBATCH --uid=0"},
     r"scheduler.constraint: 'a\n#SBATCH --uid=0' is not one line"),
    ({"exclude": ("n1", "n2\nn3")}, r"scheduler.exclude[1]: 'n2\nn3' is not one line"),
    ({"sbatch": {"comment": "a\nb"}}, r"scheduler.sbatch.comment: 'a\nb' is not one line"),
    ({"sbatch": {"a\nb": 1}}, r"scheduler.sbatch key 'a\nb': 'a\nb' is not one line"),
    ({"environment": {"WANDB_API_KEY": "x"}},
     "scheduler.environment.WANDB_API_KEY: looks like a secret, which files would keep; export it"
     " where you call launch: sbatch passes the environment on"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), LINES, ids=[next(iter(s)) for s, _ in LINES])
def test_what_may_not_be_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        make_options(**settings).check()


def test_what_may_be_said() -> None:
    """In a shell's eyes it is anything but harmless; here it is text."""
    text = 'it\'s "x" $(touch HACKED) `id` ; ü漢 %j'
    make_options(
        partition=text,
        account=text,
        qos=text,
        reservation=text,
        constraint=text,
        exclude=(text,),
        sbatch={"comment": text, "mem": 0, "hold": True},
        modules=(text,),
        setup=("two\nlines",),
        environment={"A": "two\nlines", "B": text},
    ).check()


SECRETS = [
    ("WANDB_API_KEY", True), ("HF_TOKEN", True), ("AWS_SECRET_ACCESS_KEY", True),
    ("DB_PASSWORD", True), ("password", True), ("APIKEY", True), ("MY_CREDENTIALS", True),
    ("TOKEN", True), ("NCCL_DEBUG", False), ("TOKENIZERS_PARALLELISM", False),
    ("KEYBOARD", False), ("MONKEY", False), ("SECRETARY", False), ("TOKENS", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "secret"), SECRETS)
def test_what_looks_like_a_secret(name: str, secret: bool) -> None:
    assert bool(SECRET.search(name)) is secret
