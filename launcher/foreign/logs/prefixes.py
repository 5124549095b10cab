"""Prefixes of lines: the ranks, hosts, tasks and times that launchers, clusters and containers put
before what a program printed.

Formats: torchrun ``--tee`` and torch's own excepthook (``[default7]:``, ``[rank7]: ``), ``srun
--label``, Open MPI's ``--tag-output`` and ``--timestamp-output``, SageMaker's MPI, Hydra's
``-prepend-rank``, AMD Primus' (``[20251121 12:10:29][rank-31/32][INFO ] [trainer.py:9] : ``), pdsh
and the DeepSpeed launcher (``host: ``), Ray, torchx and nemo-run (``trainer/0 `` behind a time),
``kubectl logs --timestamps --prefix``, containerd's CRI files, ``docker logs -t`` and docker's JSON
files, ``docker compose``, GitHub and GitLab, Jenkins' Timestamper, ``logcli``, syslog and journald,
``ts`` of moreutils, tables of CloudWatch (``| 2025-05-16T16:40:02.222-07:00 | ``).
"""

import json
import re
from typing import NamedTuple

_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_ZONED = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)"
# A tag that has its own separator in one version and none in another: what Python indents, it
# indents by an even number of spaces.
_ODD = r"(?: (?=(?:  )*(?! )))?"
# One name and a number is a host; `bf16: True` is a key, `step10: ` one of a loop.
_HOST = (
    r"(?!(?:bf|fp|tf|int|uint|float)\d+:)(?!(?:step|epoch|iter|layer|stage|beta)[-.]?\d+:)"
    r"(?P<host>localhost|(?=[a-z0-9-]*\d)[a-z](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*"
    r"|\d{1,3}(?:\.\d{1,3}){3}|[A-Za-z][\w.-]*(?=: \[[A-Za-z]*\d+\]:))"
    r": (?!(?!\w*(?:Error|Exception)\b)\S*\s*$)"
)
TOKEN = re.compile(
    r"(?:"
    rf"(?:\s*\| )?{_ZONED} \| |"
    # a time, and what stands behind one: a stream, a section, labels, a task
    rf"(?:\[{_ZONED}\]|{_TIME})"
    r"(?: std(?:out|err) [FP]| \d\d[OE]\+?| \{\w+=\"[^}]*\})?"
    r"(?: (?=[\w.-]*[A-Za-z])[\w.-]+/\d+(?= ))?(?: |$)"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d "
    r"(?:(?P<machine>[\w.-]+) [\w./@-]+\[\d+\]: )?"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}(?=\[\S+\]<std)"
    rf"|\s*\[(?:[^\]\s,]*,(?:mpirank:)?\d+(?:,[\w.-]+)?|\d+)\]<std\w+>:{_ODD}"
    rf"|\s*\[(?:[A-Za-z][\w-]*?)?_?\d+\]:{_ODD}"
    r"|\s*\[(?P<node>[\w.-]+):\d+\]:\s"
    r"|\[\d+\] (?!NVIDIA|Tesla|AMD|Quadro)"
    r"|\[pod/[\w./-]+\] "
    r"|[A-Za-z][\w.-]{2,}/\d+ (?![|/])"
    r"|\s*\((?:[^()]{1,80}(?:\([^()]{1,80}\))? )?pid=\d+(?:, ip=[\w.:]+)?\)\s"
    r"|\s*\d+:\s"
    r"|[A-Za-z][\w.-]*[-_]\d+ +\|(?: |$)"
    r"|\[\d{8} \d\d:\d\d:\d\d\]\[rank-\d+/\d+\]\[[A-Z]+ *\] *(?:\[[\w.-]+:\d+\] *: ?)?"
    rf"|{_HOST}"
    r")"
)
DOCKER = '{"log":"'


class Line(NamedTuple):
    """A line, and what stood before it."""

    text: str
    """As the program printed it, with its own indentation."""
    prefix: str = ""
    host: str | None = None
    """The machine that printed it, where the prefix names one."""


def split(line: str) -> Line:
    """Part a line from its prefixes: one or several, in any order."""
    if line.startswith(DOCKER):
        line = _docker(line)
    begin, host = 0, None
    while (token := TOKEN.match(line, begin)) and token.end() > begin:
        begin = token.end()
        host = token["host"] or token["machine"] or token["node"] or host
    return Line(line[begin:], line[:begin], host)


def _docker(line: str) -> str:
    """One record of docker's JSON files as ``docker logs -t`` prints it."""
    try:
        record = json.loads(line)
        return f"{record['time']} {record['log']}".rstrip("\r\n")
    except (ValueError, KeyError, TypeError):  # cut off, or another program's
        return line
