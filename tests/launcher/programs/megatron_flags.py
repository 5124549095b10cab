"""Flags of Megatron-LM's ``pretrain_gpt.py`` in some releases, read from its sources; nothing of it
is run.

``python -m tests.launcher.programs.megatron_flags CHECKOUT core_v0.12.0 ... HEAD > FILE`` prints a
JSON object: release -> the flags that it ``added`` and ``removed``, the first one's being all added.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ARGUMENTS = "megatron/training/arguments.py"
FACTORY = re.compile(r"\w*ArgumentGroupFactory")
"""Classes that make a flag of each field of a dataclass (since core 0.16)."""


class Release:
    """One commit of a checkout."""

    def __init__(self, checkout: str, name: str) -> None:
        self._checkout, self._name = checkout, name
        self._classes: dict[str, ast.ClassDef] | None = None

    def flags(self) -> set[str]:
        """Return its flags."""
        tree = ast.parse(self._text(ARGUMENTS))
        return {*_added(tree), *self._of_dataclasses(tree)}

    def _of_dataclasses(self, tree: ast.AST) -> Iterator[str]:
        for call in _calls(tree):
            if not FACTORY.fullmatch(_name(call.func)):
                continue
            excluded = {node.value for node in ast.walk(_exclusion(call, tree))
                        if isinstance(node, ast.Constant)}  # fmt: skip
            for name, default, words in self._fields(_name(call.args[0])):
                if name not in excluded:
                    yield from words or _flags_of(name, default)

    def _fields(self, class_name: str) -> Iterator[tuple[str, object, list[str]]]:
        """Yield name, default and explicit flags of the fields of a class and of its parents."""
        definition = self.classes.get(class_name)
        if definition is None:
            return
        for base in definition.bases:
            yield from self._fields(_name(base))
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                value = node.value
                default = value.value if isinstance(value, ast.Constant) else None
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                words = [text for text in texts if isinstance(text, str) and text[:2] == "--"]
                if isinstance(value, ast.Call):
                    defaults = [k.value for k in value.keywords if k.arg == "default"]
                    default = next((d.value for d in defaults if isinstance(d, ast.Constant)), None)
                yield node.target.id, default, words

    @property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Definitions of classes in its sources, by their names."""
        if self._classes is None:
            paths = self._git("ls-tree", "-r", "--name-only", self._name, "megatron").split()
            sources = [path for path in paths if path.endswith(".py") and "config" in path]
            trees = [ast.parse(self._text(path)) for path in sources]
            nodes = [node for tree in trees for node in ast.walk(tree)]
            self._classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
        return self._classes

    def _text(self, path: str) -> str:
        return self._git("show", f"{self._name}:{path}")

    def _git(self, *words: str) -> str:
        command = ["git", "-C", self._checkout, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(node: ast.AST) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _added(tree: ast.AST) -> Iterator[str]:
    """Yield the flags that ``add_argument`` is called with."""
    for call in _calls(tree):
        if _name(call.func) == "add_argument":
            for word in call.args:
                if isinstance(word, ast.Constant) and str(word.value).startswith("--"):
                    yield word.value


def _exclusion(call: ast.Call, tree: ast.AST) -> ast.AST:
    """Return what a factory leaves out: a list, or what a variable of that name is assigned."""
    given = next((k.value for k in call.keywords if k.arg == "exclude"), ast.List(elts=[]))
    if not isinstance(given, ast.Name):
        return given
    assigned = [n.value for n in ast.walk(tree) if isinstance(n, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == given.id for t in n.targets)]  # fmt: skip
    return ast.List(elts=assigned)


def _flags_of(name: str, default: object) -> list[str]:
    word = name.replace("_", "-")
    return [f"--no-{word}", f"--disable-{word}"] if default is True else [f"--{word}"]


def changes(checkout: str, releases: Sequence[str]) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each release with the flags that it has and the one before has not, and the reverse."""
    before: set[str] = set()
    for name in releases:
        flags = Release(checkout, name).flags()
        yield name, {"added": sorted(flags - before), "removed": sorted(before - flags)}
        before = flags


def read(path: Path) -> dict[str, set[str]]:
    """Return the flags of each release of a file that this has printed."""
    flags: set[str] = set()
    releases = {}
    for name, change in json.loads(path.read_text()).items():
        flags = (flags | set(change["added"])) - set(change["removed"])
        releases[name] = flags
    return releases


if __name__ == "__main__":
    print(json.dumps(dict(changes(sys.argv[1], sys.argv[2:])), indent=0))
