"""Classify the end of a run: log tails, exit codes, the scheduler's status -> outcome and cause.

One rank fails and its peers then fail of it: a CUDA out-of-memory error on rank 3 is a gloo
"Connection closed by peer" on rank 0. So evidence is weighed in this order, each over all ranks:

1. what the scheduler itself decided (`Status.stopped`), and the kernel's memory killer;
2. the messages of `PATTERNS` that name a root cause, in the table's order;
3. an exception nothing below explains, on a rank that ended by itself;
4. a signal: sent from outside, or the crash of a rank that left no message; by its exit code, else
   by a line of a launcher that tells of it (`launcher.results.endings.deaths`);
5. the messages that a healthy rank also prints when its peer is gone (``echo`` in the table);
6. the last line.

A scheduler ends the other ranks once one has failed. It must leave the exit codes of those it
ended at None: a negative code here is a signal that nobody of ours sent.
"""

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.results.endings import deaths
from launcher.results.endings.deaths import CRASHES, Death, signal_name
from launcher.results.endings.patterns import PATTERNS
from launcher.results.outcomes import Outcome
from launcher.results.run_folder import Status

LONGEST = 300
"""Characters of a cause at most: it is a cell of a table."""

EXCEPTION = re.compile(
    r"^(?: {2})?(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Iteration|Expired)(?:: ?.*)?$"
    r"|^(?:[a-z_]\w*\.)+\w*(?:Failed|Failure|Timeout|NotFound|Unsupported|Invalid|File)(?:: .*)?$"
    r"|^(?:[a-z_]\w*\.)+(?:\w*error|timeout)(?:: .*)?$"
    r"|^ *what\(\): +\S"
)
CHAINED = re.compile(r"^(?:During handling of the above|The above) exception")
LAUNCHER_EXCEPTION = re.compile(
    r"^(?:\w+\.)*(?:"
    r"ChildFailedError"  # torchrun, of a worker that failed
    r"|SignalException"  # torchrun, of a signal it got
    r"|CalledProcessError"  # the deepspeed launcher, of its child
    r"|ProcessExitedException"  # torch.multiprocessing, of its child
    r"|ProcessRaisedException"
    r")\b"
)

# Parts of a line that say nothing of their own: log prefixes, colours.
PREFIX = re.compile(r"^(?:\d+: )?(?:\[(?:rank|default)\d+\]: ?)?")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Lines that quote code: a traceback's or a hang dump's frame may say anything.
FRAME = re.compile(r'^\s*(?:File "|frame #\d+|(?:Current t|T)hread 0x|[│╭╰])')
# The begin of lines that quote a script, an interpreter or bash -x, and of glog's warnings.
QUOTED = re.compile(r"\s*(?:(?:#|>>>|\+{1,3}) |\[?W(?:\d{3,4})? )")
# Lines that warn, and of what goes on all the same: NCCL's account of its set-up, what is tried
# again or replaced. Each form begins with a letter: lines are searched faster so.
GOES_ON = re.compile(
    r"Warning(?<=\wWarning): |warnings\.warn\(|WARNING\b"
    r"|NCCL INFO\b(?!.*(?:Error|Exception): )|[Ff]alling back\b"
    r"|[Rr]etrying\b(?!.*\b(?:[Gg]iving up|gave up|exceeded|exhausted)\b)|[Ww]ill retry\b"
)
SLURM_ERROR = re.compile(
    r"^(?:srun|slurmstepd|sbatch|salloc): (?:error|fatal): (?!.*may or may not)"
)
# Lines that every failure ends in, whatever it was.
NOISE = re.compile(
    r"^\s*$|^[\s=~^_*-]+$|^rank \d+ on \S+, process \d+, attempt \d+$|^Traceback \(most"
    r"|^During handling of|^The above exception"
    r"|closing signal SIG|via signal SIG|death signal|\(exitcode: -?\d+\)|ChildFailedError"
    r"|^\s*(?:time|host|rank|exitcode|error_file|traceback)\s+: |^\S+ FAILED$|^Failures:"
    r"|^Root Cause|<NO_OTHER_FAILURES>|Killing subprocess|received SIGTERM, exiting"
    r"|exits with return code|^srun: |^slurmstepd: |^Extension modules: |^Fatal Python error"
    r"|^\[\d+\]:$|^terminate called|^Aborted|^Segmentation fault|CUDA_LAUNCH_BLOCKING"
    r"|TORCH_USE_CUDA_DSA|might be asynchronously"
)


@dataclass(frozen=True, slots=True)
class EndVerdict:
    """Outcome of a run that is over, and its cause."""

    outcome: Outcome
    cause: str | None = None
    """One line; None where the outcome is ok."""
    rank: int | None = None
    """The rank that shows it, where it is one."""


def classify(
    status: Status | None, tails: Sequence[str], has_result: bool, srun_tail: str = ""
) -> EndVerdict:
    """Return the outcome and the cause of a run that is over.

    Args:
        status: as the scheduler left it; None where it was lost.
        tails: the last part of each rank's log, the index is the rank.
        has_result: result.json was written.
        srun_tail: the last part of what was printed around the ranks, by srun and the like.
    """
    codes = status.exit_codes if status else ()
    if has_result and not any(codes):
        return EndVerdict("ok")
    if status and status.stopped:
        return EndVerdict(status.stopped, _stopped(status))
    logs = tuple("\n".join(_clean(tail)) for tail in tails)
    srun_lines = f"{srun_tail}\n{status.reason or ''}" if status else srun_tail
    run = _Run(
        logs=logs,
        codes=codes,
        kernel_oom=bool(status and status.kernel_oom),
        srun_log="\n".join(_clean(srun_lines)),
        reason=status.reason if status else None,
    )
    verdicts = (rule(run) for rule in RULES)
    return next(verdict for verdict in verdicts if verdict)


def verdict_of_log(log: str) -> EndVerdict | None:
    """Return the outcome and the cause that a log of all ranks states; None where it states none.

    An exit code and a request to end are none: they are `last_resort`'s.
    """
    logs = ("\n".join(_clean(log)),)
    run = _Run(logs=logs, codes=(), kernel_oom=False, srun_log="", reason=None, merged=True)
    verdicts = (rule(run) for rule in RULES if rule is not _last_line)
    return next((verdict for verdict in verdicts if verdict), None)


def last_resort(log: str) -> EndVerdict | None:
    """Return the verdict by the lines that any failure ends in, where a log says no more.

    A launcher that was told to end, or whose processes were, is cancelled; an exit code has failed.
    """
    lines = [_bare(line) for line in re.split(r"[\r\n]+", log)]
    if line := deaths.stopped(lines):
        return EndVerdict("cancelled", _shorten(line))
    ends = deaths.deaths(lines)
    for death in ends:
        if death.signal is None:
            return EndVerdict("failed", _shorten(death.cause))
    if ends:
        return EndVerdict("cancelled", _shorten(ends[0].cause))
    line = next((line for line in lines if SLURM_ERROR.search(line)), None)
    return EndVerdict("failed", _shorten(line.strip())) if line else None


def tail(path: Path, size: int = 65536) -> str:
    """Read the last ``size`` bytes of a log, from a whole line on; "" where there is no file."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(length - size, 0))
            text = file.read(size).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    _, newline, whole_lines = text.partition("\n")
    return whole_lines if length > size and newline else text


def _stopped(status: Status) -> str:
    if status.stopped == "cancelled":
        return "cancelled on request"
    if status.stopped != "timeout":
        return status.reason or f"stopped by the scheduler: {status.stopped}"
    limit = "" if status.time_limit is None else f" of {status.time_limit:g} s"
    return f"stopped at the time limit{limit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """Evidence of a run's end: cleaned logs and exit codes, the index of each is the rank."""

    logs: tuple[str, ...]
    codes: tuple[int | None, ...]
    kernel_oom: bool
    srun_log: str
    """Output around the ranks, and the scheduler's reason."""
    reason: str | None
    merged: bool = False
    """The one log is that of all ranks and of what started them."""

    def code(self, rank: int) -> int | None:
        return self.codes[rank] if rank < len(self.codes) else None

    @property
    def ranks(self) -> list[int]:
        """Ranks with a log: first those that failed by themselves, last those that did well."""
        return sorted(range(len(self.logs)), key=lambda rank: _suspicion(self.code(rank)))

    @property
    def suspects(self) -> list[int]:
        """Ranks that failed by themselves; where no code is known, those without one."""
        failed = [rank for rank in self.ranks if (self.code(rank) or 0) > 0]
        without_code = [rank for rank in self.ranks if self.code(rank) is None]
        return failed or ([] if any(self.codes) else without_code)

    def signals(self) -> Iterator[tuple[int, int]]:
        """Rank and number of each signal."""
        return ((rank, -code) for rank, code in enumerate(self.codes) if code and code < 0)

    def cause(self, rank: int, line: str) -> str:
        """Make a line of a rank's log the cause; with the rank where there are several."""
        message = line.strip().removesuffix(" ***").removeprefix("launcher.workers.errors.")
        message = message.removeprefix("what():").lstrip()
        return _shorten(f"rank {rank}: {message}" if len(self.logs) > 1 else message)


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _suspicion(code: int | None) -> int:
    """Sort key of a rank: 0 if it failed by itself, 1 if it was ended, 2 if it did well."""
    return 2 if code == 0 else 1 if code is None or code < 0 else 0


def _killed_by_kernel(run: _Run) -> EndVerdict | None:
    for rank, number in run.signals():
        if run.kernel_oom and number == signal.SIGKILL:
            cause = f"rank {rank} was killed by the kernel's memory killer"
            return EndVerdict("oom", cause, rank)
    return None


def _message(run: _Run, echo: bool) -> EndVerdict | None:
    for pattern in PATTERNS:
        for rank in run.ranks if pattern.echo is echo else ():
            match = pattern.search(run.logs[rank])
            if match:
                return EndVerdict(pattern.outcome, run.cause(rank, _line(match)), rank)
        match = pattern.search(run.srun_log) if pattern.echo is echo else None
        if match:
            return EndVerdict(pattern.outcome, _shorten(_line(match).strip()))
    return None


def _root_cause(run: _Run) -> EndVerdict | None:
    return _message(run, echo=False)


def _exception(run: _Run) -> EndVerdict | None:
    for rank in run.suspects:
        raised = _raised(run.logs[rank])
        if run.merged:  # that of one rank is followed by those of its peers
            raised = [line for line in raised if not _is_echo(line)]
        if raised and not _is_echo(raised[-1]):
            return EndVerdict("failed", run.cause(rank, raised[-1]), rank)
    return None


def _outside_signal(run: _Run) -> EndVerdict | None:
    for rank, number in run.signals():
        if number not in CRASHES:
            cause = f"rank {rank} was killed by {signal_name(number)} from outside"
            return EndVerdict("node", cause, rank)
    return None


def _crash(run: _Run) -> EndVerdict | None:
    for rank, number in run.signals():
        log = run.logs[rank] if rank < len(run.logs) else ""
        if number in CRASHES - {signal.SIGABRT} and not _is_echo(log):
            return EndVerdict("failed", f"rank {rank} died of {signal_name(number)}", rank)
    return None


def _told_death(run: _Run) -> EndVerdict | None:
    return _told(run, deaths.root_death)


def _told_abort(run: _Run) -> EndVerdict | None:
    return _told(run, deaths.abort)


def _told(run: _Run, find: Callable[[Sequence[str]], Death | None]) -> EndVerdict | None:
    """EndVerdict on a death that a line tells of: that of a rank without a code, or of a child."""
    for rank in run.ranks:
        killed = (run.code(rank) or 0) < 0  # that says more than its log
        if not killed and (death := find(run.logs[rank].split("\n"))):
            return EndVerdict(_outcome(death), run.cause(rank, death.cause), rank)
    if any(code is not None for code in run.codes):
        return None  # srun tells of those too that it ended itself; the codes are of the others
    death = find(run.srun_log.split("\n"))
    return EndVerdict(_outcome(death), _shorten(death.cause)) if death else None


def _outcome(death: Death) -> Outcome:
    return "failed" if death.signal in CRASHES else "node"


def _echo(run: _Run) -> EndVerdict | None:
    verdict = _message(run, echo=True)
    if run.merged and verdict and "CANCELLED AT" in (verdict.cause or ""):
        first = next(iter(deaths.deaths(run.logs[0].split("\n"))), None)
        if first and first.signal is None:  # srun ends a step of which a task has failed
            return EndVerdict("failed", _shorten(first.cause))
    return verdict


def _abort(run: _Run) -> EndVerdict | None:
    # After the echoes: NCCL's watchdog prints one and then aborts its own rank.
    for rank, number in run.signals():
        return EndVerdict("failed", f"rank {rank} died of {signal_name(number)}", rank)
    return None


def _last_line(run: _Run) -> EndVerdict:
    for rank in run.ranks:
        lines = [line for line in run.logs[rank].split("\n") if not NOISE.search(line)]
        if lines:
            return EndVerdict("failed", run.cause(rank, f"last line: {lines[-1].strip()}"), rank)
    for rank, code in enumerate(run.codes):
        if code:
            cause = f"rank {rank} ended with exit code {code} and did not say why"
            return EndVerdict("failed", cause, rank)
    return EndVerdict("failed", run.reason or "ended without a result, and no rank said why")


RULES: tuple[Callable[[_Run], EndVerdict | None], ...] = (
    _killed_by_kernel,
    _root_cause,
    _exception,
    _outside_signal,
    _crash,
    _told_death,
    _echo,
    _abort,
    _told_abort,
    _last_line,
)


def _clean(log: str) -> Iterator[str]:
    """Yield the lines of a log without prefixes, colours, quoted code and warnings."""
    in_frame = ignored = False
    source = ""
    for raw in re.split(r"[\r\n]+", log):
        line = _bare(raw)
        if FRAME.search(line):
            in_frame = True
        elif in_frame and line.startswith("    "):
            source = line.strip() if line.strip().startswith("assert") else source
        elif line.startswith("Exception ignored in"):
            ignored = True  # in a destructor: Python prints its traceback and goes on
        elif ignored and EXCEPTION.search(line):
            ignored = in_frame = False
        elif not QUOTED.match(line) and not GOES_ON.search(line):
            ignored = ignored and line.startswith("Traceback")
            in_frame = False
            yield f"{line}: {source}" if line == "AssertionError" and source else line


def _bare(line: str) -> str:
    return PREFIX.sub("", line if line.isprintable() else CONTROL.sub("", line))


def _line(match: re.Match[str]) -> str:
    """Line of a match, from the exception's name on if it has one, else from the match."""
    text = match.string
    begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    begin = max(begin, match.start() - LONGEST)
    name = re.search(r"(?:\w+\.)*\w*(?:Error|Exception): ", text[begin : match.start()])
    start = begin + name.start() if name else match.start()
    return text[start : len(text) if end < 0 else end]


def _raised(log: str) -> list[str]:
    """Exceptions of a log, without those that another replaced and those of launchers."""
    raised: list[str] = []
    previous = None
    for line in log.split("\n"):
        if raised and raised[-1] is previous and CHAINED.search(line):
            del raised[-1]
        elif EXCEPTION.search(line):
            raised.append(line)
        previous = line
    return [line for line in raised if not LAUNCHER_EXCEPTION.search(line)]


def _is_echo(text: str) -> bool:
    return any(pattern.search(text) for pattern in PATTERNS if pattern.echo)
