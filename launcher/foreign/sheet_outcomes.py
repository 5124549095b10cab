"""Outcomes as people write them: in a column for it, in words, or in passing among notes."""

import re
from collections.abc import Sequence

from launcher.results.outcomes import Outcome
from launcher.sheets import spelling

FAULTS: Sequence[tuple[Outcome, str]] = (
    ("oom", r"\booms?\b|out.of.memory|memory.?error|cuda alloc\w* error"),
    ("hang", r"\bhangs?\b|\bhung\b|stuck|\bfroze\b|dead.?lock"),
    ("nccl", r"\bnccl\b"),
    ("diverged", r"diverg|\bnans?\b|\binf\b"),
    ("preempted", r"preempt"),
    ("timeout", r"time.?out|timed.out|time limit|wall.?time"),
    ("cancelled", r"cancel|killed by hand|aborted by"),
    ("disk", r"disk|no space"),
    ("assertion", r"assert|not divisible|does not divide|invalid"),
    ("node", r"\bnode (?:fail|down)|\becc\b|\bxid\b"),
    ("rejected", r"reject|impossible"),
    ("pruned", r"prune|skipped|\bnot run\b|\bnot started|\bnever (?:run|started)"),
    ("failed", r"fail|error|crash|\bdied\b|\bng\b|^[x\u00d7\u2717\u2718]$|失敗|エラー"),
)
UNDONE = (
    r"\b(?:not|never|no|isn.?t|wasn.?t|didn.?t|hasn.?t|couldn.?t)\b.{0,20}?"
    r"\b(?:finish|complet|succe|pass|done|ok|good|converge|train)"
    r"|\b(?:incomplete|uncompleted|unfinished|unsuccess|partial)|\bhalf.done|未完"
)
ENDED: Sequence[tuple[Outcome, str]] = (
    ("failed", UNDONE),
    ("failed", r"abort|core dump"),
    ("cancelled", r"\bkill|stopped|interrupt|terminat|中断|停止"),
    ("pruned", r"\bpending|queued|\bheld\b|\bto.?do\b|\bplanned|\bwaiting|\btbd\b"),
    ("failed", r"\brunning|in progress|ongoing|\bstarted\b|実行中"),
    ("ok", r"\bok(?:ay)?\b|\bsucce|\bdone\b|\bcomplet|\bfinish|\bpass(?:ed|es)?\b|\bfine\b"
           r"|\bclean\b|成功|完了|^(?:[o\u25cb\u25ef]|true|good)$|^yes\b"),
)  # fmt: skip
"""Words that count only in a column for it: notes may say that a run was started anyway."""

_FAULT = (
    r"(?:errors?|fail\w*|crash\w*|ooms?|out.of.memory|hangs?|hung|nans?|issues?|problems?"
    r"|exceptions?|diverge\w*|timeouts?|spikes?)"
)
DENIED = (
    rf"\b(?:no|not|never|without|w/o|zero|0|didn.?t|did not)[\s-]+(?:an?\s+|any\s+)?{_FAULT}\b"
    rf"(?:(?:\s*(?:/|or|nor)\s*){_FAULT}\b)*|\berror.free\b"
)
"""Faults that there were none of."""


_NAMED = {
    "nccl": r"\bnccl\b.{0,20}(?:error|fail|abort|crash|watchdog|time.?out)"
    r"|(?:error|fail\w*) (?:in|of) nccl",
    "disk": r"disk (?:is )?full|disk quota|disk error|out of disk|no space",
    "pruned": r"prune|\bnot run\b|\bnot started|\bnever (?:run|started)",
    "timeout": r"time.?out|timed.out|time limit",
    "failed": r"\bfail|(?<![\w-])error(?! bar| of|s? (?:margin|rate))|crash|\bdied\b|\bng\b"
    r"|^[x\u00d7\u2717\u2718]$|失敗|エラー",
}
NOTED: Sequence[tuple[Outcome, str]] = tuple(
    (outcome, _NAMED.get(outcome, pattern)) for outcome, pattern in FAULTS
)
"""Faults among notes, which also name the disk, NCCL's version and steps that were skipped."""
UNDONE_NOTED = re.sub(r"\|ok\|good|\|train|\|partial", "", UNDONE)
"""Notes compare too: "not as good", "no training slowdown"."""


def noted(text: str) -> Outcome | None:
    """The fault that notes tell of; None where they tell of none."""
    plain = re.sub(DENIED, "fine", text.lower())
    if (fault := spelling.first(NOTED, plain)) is not None:
        return fault
    return "failed" if re.search(UNDONE_NOTED, plain) else None


def stated(text: str) -> Outcome | None:
    """Outcome in a column for it; None where no word of it is known here."""
    plain = re.sub(DENIED, "fine", text.lower().strip())
    fault = spelling.first(FAULTS, plain)
    return spelling.first(ENDED, plain) if fault is None else fault
