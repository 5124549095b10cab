"""Imported once by the process that ranks are forked from: what every rank would import itself."""

import ranks

from launcher.workers import train

train._import(ranks.spec())

from launcher.workers import deepspeed_engine, deepspeed_pipeline, megatron_engine  # noqa: E402, F401

train._import = lambda spec: None  # its patches are not applied twice
