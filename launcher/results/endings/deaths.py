"""Lines that say how a process died, and the first of them: all there is where no rank says why.

Launchers, shells and containers print them of every process of a run. The first death is the
run's; those after it are mostly of peers that the launcher or the batch system then ended.
"""

import itertools
import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

NAMES = {
    "abort": signal.SIGABRT,
    "aborted": signal.SIGABRT,
    "bus error": signal.SIGBUS,
    "floating point exception": signal.SIGFPE,
    "floating-point exception": signal.SIGFPE,
    "hangup": signal.SIGHUP,
    "illegal instruction": signal.SIGILL,
    "interrupt": signal.SIGINT,
    "killed": signal.SIGKILL,
    "segmentation fault": signal.SIGSEGV,
    "terminated": signal.SIGTERM,
}
"""Signals as strsignal(3) and shells call them, in small letters."""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
"""Signals a process brings upon itself."""

REQUESTS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals that ask to end: launchers send them to peers, people and batch systems to runs."""

FROM_SHELL = 128
"""A shell, a container and srun report the death by signal N as the exit code 128 + N."""

LONGEST = 250
"""Characters of a line that is told as it is; of a longer one, from what it says on."""

_NAME = f"(?P<name>(?i:{'|'.join(sorted(NAMES, reverse=True))}))"
_CORE = r"(?: *\(core dumped\))?"

FORMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(regex), who)
    for regex, who in (
        (r"\bfailed \(exitcode: (?P<code>-?\d+)\)", "torchrun, of the first worker that failed"),
        (r"\bSignal \d+ \((?P<name>SIG[A-Z0-9]+)\) received by PID \d+", "torchrun, the same"),
        (r"\bexits with return code = (?P<code>-?\d+)", "DeepSpeed launcher/launch.py"),
        (r"\bdied with <Signals\.(?P<name>SIG[A-Z0-9]+): \d+>", "Python subprocess, of accelerate"),
        (r"\bprocess \d+ terminated with signal (?P<name>SIG[A-Z0-9]+)", "torch.multiprocessing"),
        (rf"\btasks? [\d,\[\]-]+: {_NAME}{_CORE}\s*$", "srun, launch.c"),
        (rf"\bline \d+: +\d+ {_NAME}{_CORE}(?: |$)", "bash, of a command in a script"),
        (rf"^{_NAME}{_CORE}\.?\s*$", "a shell, of its command"),
        (rf"^(?:zsh: |\[\d+\] +[+-]? *\d+ +){_NAME}\b", "zsh; a shell, of a job"),
        (rf"^Fatal Python error: {_NAME}", "faulthandler"),
        (r"\bCaught signal (?P<signal>\d+) \(", "UCX"),
        (r"^\[\S+\] Signal: [\w /-]+ \((?P<signal>\d+)\)", "Open MPI, in the process"),
        (r"\bexited on signal (?P<signal>\d+)\b", "Open MPI's mpirun"),
        (r"\bKILLED BY SIGNAL: (?P<signal>\d+)\b", "Intel MPI's hydra"),
        (r"\bEXIT STRING: .*\(signal (?P<signal>\d+)\)", "MPICH's hydra"),
        (r"^\*\*\* (?P<name>SIG[A-Z]+) \(@.*received by PID", "glog"),
        (rf"^FatalError: .{_NAME}. is detected by the operating system", "Paddle"),
        (r"\bcode=(?:killed|dumped), (?:status|signal)=(?P<signal>\d+)/", "systemd"),
        (r"\((?:terminated|killed) by (?P<name>SIG[A-Z0-9]+)\b", "supervisord"),
        (
            r"\b(?:killed|terminated|died|exited) (?:by|with|from|due to|on) signal:? "
            r"(?P<signal>\d+)\b",
            "slurmstepd, xargs, Horovod",
        ),
        (
            r"(?i)\b(?:(?:exit(?:ed)?|terminated|completed|finished)(?: with)?(?: non-zero)?"
            r"(?: exit)?[ _-](?:code|status)|return ?code):?[ =]*(?P<code>-?\d+)\b",
            "docker, kubectl, CI, pdsh, srun, LSF, Python subprocess",
        ),
    )
)
"""Forms of a line, and who prints it; ``code`` is as `subprocess.returncode`, or 128 + signal."""

HINTS = (
    "abort", "bus err", "cancelled", "code", "ctrl-c", "exception", "exit", "fault", "hang",
    "heartbeat", "illegal", "interrupt", "killed", "sig", "terminated", "timeout", "watchdog",
)  # fmt: skip
"""Words, one of which every line that matters here has, in small letters: most lines have none."""

ENDED_BY_SLURM = re.compile(r"\bCANCELLED AT |^srun: (?:Job step aborted|First task exited)")
"""Line after which the batch system ends every process, with SIGTERM and then SIGKILL."""

WAITED = re.compile(
    r"Watchdog caught collective|watchdog got stuck|Heartbeat monitor timed out"
    r"|Did not get \w+ heartbeat|\bHangError: |^Timeout \(\d"
)
"""Line of a rank that waited for its peers or its card as long as it may."""

STOPPED = re.compile(
    r"\bMain process received SIG(?:TERM|INT), exiting"
    r"|^Ctrl-C received; terminating"
    r"|\bSignalException: Process \d+ got signal: \d+"
    r"|\bReceived (?:Signals\.SIG[A-Z]+|\d+) death signal, shutting down workers"
)
"""Last words of a launcher that was itself told to end: of DeepSpeed, Composer and torchrun."""


@dataclass(frozen=True, slots=True)
class Death:
    """One process that died, as a line tells of it."""

    line: str
    signal: int | None = None
    """None where it ended by itself, with an exit code."""

    @property
    def cause(self) -> str:
        """The line, with the name of the signal where it has but its number."""
        if self.signal is None:
            return self.line
        name = signal_name(self.signal)
        named = name in self.line or any(
            word in self.line.lower() for word, number in NAMES.items() if number == self.signal
        )
        return self.line if named else f"{self.line} ({name})"


def deaths(lines: Iterable[str]) -> list[Death]:
    """Deaths in the order of their lines."""
    return list(_deaths(_hints(lines)))


def root_death(lines: Iterable[str]) -> Death | None:
    """The death by a signal that nobody sent to a peer; None where there is none.

    A crash is one wherever it stands. SIGKILL is one where it is the first death: after another,
    or once the batch system ends the run, it is the end of peers. A request to end is none, nor
    is SIGABRT, which NCCL's watchdog sends to its own process once it has said why. Nothing is
    one once a rank has waited for its limit: had a process died before, that would stand before.
    """
    before_waits = itertools.takewhile(lambda line: not WAITED.search(line), _hints(lines))
    first = True
    for death in _deaths(before_waits):
        if death.signal in CRASHES - {signal.SIGABRT}:
            return death
        outside = death.signal is not None and death.signal not in CRASHES | REQUESTS
        if first and outside:
            return death
        first = False
    return None


def abort(lines: Iterable[str]) -> Death | None:
    """The first death by SIGABRT."""
    return next((death for death in deaths(lines) if death.signal == signal.SIGABRT), None)


def stopped(lines: Iterable[str]) -> str | None:
    """The line in which a launcher says that it was told to end."""
    return next((line.strip() for line in _hints(lines) if STOPPED.search(line)), None)


def signal_name(number: int) -> str:
    """Name of a signal, as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _hints(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        letters = line.lower()
        if any(word in letters for word in HINTS):
            yield line


def _deaths(lines: Iterable[str]) -> Iterator[Death]:
    for line in lines:
        if ENDED_BY_SLURM.search(line) or STOPPED.search(line):
            yield Death(line.strip(), signal.SIGTERM)
        elif death := _death(line):
            yield death


def _death(line: str) -> Death | None:
    for form, _ in FORMS:
        if match := form.search(line):
            number = _number(match.groupdict())
            # A launcher puts the whole command before it.
            text = line.strip() if len(line) <= LONGEST else line[match.start() :].strip()
            return None if number == 0 else Death(text, -number if number < 0 else None)
    return None


def _number(groups: dict[str, str | None]) -> int:
    """Exit code, or the signal below 0; 0 where it went well or no signal is known by the name."""
    if name := groups.get("name"):
        known = NAMES.get(name.lower()) or signal.Signals.__members__.get(name)
        return -known if known else 0
    if number := groups.get("signal"):
        return -int(number)
    code = int(groups["code"] or 0)
    return FROM_SHELL - code if FROM_SHELL < code < FROM_SHELL + signal.NSIG else code
