"""A process that ranks are forked from: ``python -m launcher.workers.fork_server``.

A rank needs seconds of a core to import torch, megatron-core and DeepSpeed; a fork of a process
that has imported them has them at once. On a socket that it inherits, one JSON object a line:

    to it:    {"command": [...], "environment": {...}, "log": "..."}
    from it:  {"ready": true} or {"refused": REASON}, once;  {"pid": 7} of each rank that it has
              started;  {"pid": 7, "code": -9} when that rank has ended

It ends when the other side of the socket is closed, and its ranks with it. Nothing that a trial
could spoil is shared: a rank gets its own session, environment, files and signals, and what it
writes to memory is its own. A process that has touched CUDA cannot be forked, nor can one with
threads: it refuses, and every rank is then started by itself.
"""

import argparse
import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from launcher.results.run_folder import RunFolder
from launcher.workers import libraries, train
from launcher.workers.process import orphans, standard_streams
from launcher.workers.tracking import tracker

MODULE = "launcher.workers.train"
"""Program of a rank, as its command names it."""


def main() -> None:
    """Import the libraries, and fork ranks until nobody asks any more."""
    parser = argparse.ArgumentParser(prog="python -m launcher.workers.fork_server")
    parser.add_argument("--accelerator", required=True, help="name of the card, or cpu")
    parser.add_argument("--engines", nargs="*", default=[], help="that ranks will train with")
    parser.add_argument("--socket", type=int, required=True, help="its file descriptor")
    parser.add_argument("--first", nargs=argparse.REMAINDER, help="command of the first rank")
    options = parser.parse_args()
    channel = socket.socket(fileno=options.socket)
    # Without it torch asks the driver whether there are cards, which a fork does not survive.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    # Objects of the libraries are never garbage: to look for it takes a seventh of their import,
    # and a collection in a rank would copy their pages.
    gc.disable()
    libraries.load(options.accelerator)
    if obstacle() is None:
        _prepare_data(options.first, channel)
    libraries.load_engines(options.engines)
    from launcher.workers import training_loop  # noqa: F401

    tracker.load()
    gc.freeze()
    gc.enable()
    if reason := obstacle():
        _send(channel, {"refused": reason})
        return
    _send(channel, {"ready": True})
    _serve(channel)


def _prepare_data(first: list[str], channel: socket.socket) -> None:
    """Prepare the data of the first trial in a fork, while this process imports what is left.

    That trial waits for it as for any other that prepares the same, and says what is wrong.
    """
    try:
        if os.fork():
            return
    except OSError:  # no room for a process: the trial does it
        return
    with suppress(BaseException):
        channel.close()
        os.environ["MEGALAUNCH_PARENT"] = str(os.getppid())
        orphans.die_with_parent()
        standard_streams.redirect(Path(os.devnull))
        from launcher.workers.data import dataset

        options = train.parsed(_words(first))
        dataset.prepare(RunFolder(options.folder).spec().trained, options.cache)
    os._exit(0)


def _words(command: list[str]) -> list[str]:
    """Return the words of a rank's command after its program."""
    return command[command.index(MODULE) + 1 :]


def obstacle() -> str | None:
    """Reason for which this process cannot be forked safely; None where it can."""
    if sys.platform != "linux":  # the system's own libraries may not be used in a fork of macOS
        return f"ranks are not forked on {sys.platform}"
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"the libraries have started threads: {threads - 1}"
    if "/libcuda.so" in Path("/proc/self/maps").read_text():
        return "the libraries have loaded the CUDA driver"
    return None


def _serve(channel: socket.socket) -> None:
    """Start ranks that are asked for, and tell of those that ended."""
    ended, wakeup = socket.socketpair()
    for end in (ended, wakeup):
        end.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # a handler, or none wakes it up
    partial = b""
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            for pid, code in _ended_children():
                _send(channel, {"pid": pid, "code": code})
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                ended.recv(4096)
            if channel in ready:
                received = channel.recv(1 << 16)
                if not received:
                    return
                *lines, partial = (partial + received).split(b"\n")
                for line in lines:
                    _send(channel, {"pid": _fork(json.loads(line), (channel, ended, wakeup))})


def _ended_children() -> Iterator[tuple[int, int]]:
    """Process and exit code of each child that has ended; minus the signal that ended it."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def _fork(request: dict[str, Any], sockets: tuple[socket.socket, ...]) -> int:
    """Start a rank, and return its process."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_rank(request, sockets, parent)
    return pid


def _become_rank(
    request: dict[str, Any], sockets: tuple[socket.socket, ...], parent: int
) -> NoReturn:
    """Do what the command of a rank does in a process of its own."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in sockets:
            end.close()
        standard_streams.redirect(Path(request["log"]))
        os.environ.clear()
        os.environ.update(request["environment"], MEGALAUNCH_PARENT=str(parent))
        if os.environ["RANK"] == "0":
            tracker.fork_ahead()
        train.main(_words(request["command"]))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
