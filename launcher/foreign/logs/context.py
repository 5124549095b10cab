"""Context that a log of any kind may state: times, job, hosts, cards, commit."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[ T](?P<time>\d\d:\d\d:\d\d)"
    r"|\b(?P<american>\d\d/\d\d/\d{4}) (?P<time_of>\d\d:\d\d:\d\d)"  # nanotron
    r"|[A-Z][a-z]{2} (?P<date>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})"  # ctime, mpirun
)
DATED = re.compile(r"CANCELLED AT |datetime: ")
OFTEN = 3
"""Lines that a host has stood before, once it is one: `conv1: ` may begin one as well."""
BEGINNING = 80
"""Characters of a line in which a time is its own, not one that it tells of."""
JOB = re.compile(r"\*\*\* (?:JOB|STEP) (\d+)(?:\.\S+)? ON (\S+) |\bSLURM_JOB_?ID[=:] ?(\d+)")
NCCL_HOST = re.compile(r"^(\S+?):\d+:\d+ \[\d+\] NCCL INFO")
# AMD Primus puts it before every line.
RANK_OF = re.compile(r"\[rank-\d{1,9}/(\d{1,9})\]")
SIZES = re.compile(r"(?:^\+ |\bexport )(NNODES|GPUS_PER_NODE)=(\d+)\s*$")
MAKERS = ("NVIDIA", "Tesla", "AMD", "Quadro")
CARD = re.compile(
    r"(?:CUDA capacity: |\|\s+\d+\s+|\[\d+\] )((?:NVIDIA|Tesla|AMD|Quadro) [\w. -]*?[\w.])"
    r"(?=\s+with\b|\s{2,}|\s+(?:On|Off)\b|\s*\||\s*$)"
)
COMMIT = re.compile(r"git_hash=([0-9a-f]{7,40})\b")


@dataclass
class LogContext:
    """Fed with every line."""

    began: float | None = None
    """Seconds since 1970, as if its clock showed UTC: lines have no zone."""
    ended: float | None = None
    job_id: str | None = None
    hosts: set[str] = field(default_factory=set)
    card: str | None = None
    commit: str | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    """NNODES and GPUS_PER_NODE, where a script was traced; ranks, where a prefix counts them."""
    _before: Counter[str] = field(default_factory=Counter)
    """What may be hosts -> lines that it stood before."""

    def feed(self, line: str, prefix: str = "", host: str | None = None) -> None:
        """Take a line, what stood before it, and the machine that this names."""
        self._time(f"{prefix}{line}")
        if "[rank-" in prefix and (ranks := RANK_OF.search(prefix)):
            self.arguments["world_size"] = ranks[1]
        if host is not None:
            self._before[host] += 1
            if self._before[host] == OFTEN:
                self.hosts.add(host)
        if "NCCL INFO" in line and (machine := NCCL_HOST.match(line)):
            self.hosts.add(machine[1])
        elif ("SLURM_JOB" in line or "CANCELLED" in line) and (job := JOB.search(line)):
            self.job_id = job[1] or job[3]
        elif "NODE" in line and (size := SIZES.search(line)):
            self.arguments[size[1]] = size[2]
        if self.card is None and any(maker in line for maker in MAKERS):
            card = CARD.search(line)
            self.card = card[1] if card else None
        if self.commit is None and "git_hash=" in line and (commit := COMMIT.search(line)):
            self.commit = commit[1]

    def join(self, other: "LogContext") -> None:
        """Take what another file of the same run says."""
        self.began = min((t for t in (self.began, other.began) if t is not None), default=None)
        self.ended = max((t for t in (self.ended, other.ended) if t is not None), default=None)
        self.job_id = self.job_id or other.job_id
        self.hosts |= other.hosts
        self.card = self.card or other.card
        self.commit = self.commit or other.commit
        self.arguments = other.arguments | self.arguments

    def _time(self, line: str) -> None:
        dated = DATED.search(line) if "CANCELLED AT" in line or "datetime" in line else None
        match = TIME.search(line, dated.end()) if dated else TIME.search(line[:BEGINNING])
        if match is None:
            return
        try:
            written = _written(match).replace(tzinfo=UTC)
        except ValueError:  # digits that are no date
            return
        time = written.timestamp()
        self.began = time if self.began is None else min(self.began, time)
        self.ended = time if self.ended is None else max(self.ended, time)


def _written(match: re.Match[str]) -> datetime:
    """Time that a line has. Raises ValueError: its digits are no date."""
    if match["day"]:
        return datetime.fromisoformat(f"{match['day']}T{match['time']}")
    if match["american"]:
        return datetime.strptime(f"{match['american']} {match['time_of']}", "%m/%d/%Y %H:%M:%S")
    return datetime.strptime(match["date"], "%b %d %H:%M:%S %Y")
