"""Epilog of ``launch --help``, made of the verbs and of the fields of a request."""

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources

from launcher.cli.verb import Verb

EXAMPLES = """\
  launch sweep=parallelism_grid
  launch curriculum=four_stage
  launch sweep=parallelism_grid layout.pp=2 'sweep.axes.layout.tp=[1,4]'
  launch -m layout.tp=1,2 layout.zero=0,1
  launch plan sweep=parallelism_grid model=llama_13b cluster=h100 cluster.nodes=3"""

COLUMN, WIDTH = 32, 100
"""Columns of the terminal where summaries begin and where lines end."""


def overview(groups: Mapping[str, Sequence[Verb]]) -> str:
    """Return the help of all verbs by groups, then examples, keys and exit codes."""
    lines = [line for title, verbs in groups.items() for line in (f"{title}:", *_lines(verbs))]
    fields = request_fields()
    files = [name for name in fields if _is_group(name)]
    values = ", ".join(name for name in fields if name not in files)
    keys = (
        f"keys: {', '.join(files[:-1])} and {files[-1]} take the name of a file below conf/"
        f" (or --config-dir); their fields follow a dot. Of this command itself: {values}."
    )
    paragraphs = [
        "verbs (launch VERB --help says more)",
        "",
        *lines,
        "",
        "examples:",
        EXAMPLES,
        "",
        *textwrap.wrap(keys, WIDTH),
        "exit code: 0, 1 the work failed, 2 the request was wrong.",
        "",
    ]
    return "\n".join(paragraphs)


def _lines(verbs: Sequence[Verb]) -> Iterator[str]:
    for verb in verbs:
        for usage, summary in ((verb.usage, verb.summary), *verb.more):
            command = " ".join(filter(None, ("  launch", verb.name, usage)))
            text = textwrap.wrap(summary, WIDTH - COLUMN)
            yield f"{command:{COLUMN - 1}} {text[0]}"
            yield from (" " * COLUMN + line for line in text[1:])


def request_fields() -> list[str]:
    """Names of the fields of a request.

    They are read from the source: importing the class imports numpy, which would delay the help.
    """
    source = resources.files("launcher.request").joinpath("request.py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    request = next(node for node in classes if node.name == "Request")
    return [
        field.target.id
        for field in request.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]


def _is_group(name: str) -> bool:
    return resources.files("conf").joinpath(name).is_dir()
