"""Plain data becomes frozen dataclasses, or one line that says what is wrong.

Modules: launcher.decode, launcher.errors.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from launcher.decode import Count, Fraction, added, decode, encode, field_at, fingerprint
from launcher.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    size: Count
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    inner: Inner
    share: Fraction = 0.5
    names: tuple[str, ...] = ()
    free: dict[str, float] = field(default_factory=dict)
    maybe: Inner | None = None


GOOD: list[tuple[dict[str, Any], Outer]] = [
    ({"inner": {"size": 1}}, Outer(inner=Inner(size=1))),
    ({"inner": {"size": 1}, "share": 1}, Outer(inner=Inner(size=1), share=1.0)),
    ({"inner": {"size": 1}, "names": ["x"]}, Outer(inner=Inner(size=1), names=("x",))),
    ({"inner": {"size": 1}, "free": {"any": 2}}, Outer(inner=Inner(size=1), free={"any": 2.0})),
    ({"inner": {"size": 1e3}}, Outer(inner=Inner(size=1000))),
    ({"inner": {"size": 1}, "maybe": None}, Outer(inner=Inner(size=1))),
    (
        {"inner": {"size": 1}, "maybe": {"size": 2, "kind": "b"}},
        Outer(inner=Inner(size=1), maybe=Inner(size=2, kind="b")),
    ),
]


@pytest.mark.parametrize(("data", "value"), GOOD)
def test_decodes_and_encodes_back(data: dict[str, Any], value: Outer) -> None:
    assert decode(Outer, data) == value
    assert decode(Outer, encode(value)) == value


BAD: list[tuple[Any, str]] = [
    ([], "root: expected a mapping, got []"),
    ({}, "root.inner: is required"),
    ({"inner": {}}, "root.inner.size: is required"),
    ({"inner": {"size": True}}, "root.inner.size: expected a whole number, got True"),
    ({"inner": {"size": 0}}, "root.inner.size: 0 is below 1"),
    ({"inner": {"size": 1, "kin": 1}}, "root.inner.kin: no such key; did you mean 'root.inner.kind'?"),
    ({"inner": {"size": 1, "kind": "c"}}, "root.inner.kind: 'c' is not one of a, b"),
    ({"inner": {"size": 1}, "share": 2}, "root.share: 2.0 is above 1"),
    ({"inner": {"size": 1}, "share": float("nan")}, "root.share: nan is not a finite number"),
    ({"inner": {"size": 1}, "names": "x"}, "root.names: expected a list, got 'x'; write [x]"),
    ({"inner": {"size": 1}, "names": [1]}, "root.names[0]: expected a text, got 1"),
    ({"inner": {"size": 1}, "free": {"k": "v"}}, "root.free.k: expected a number, got 'v'"),
    ({"inner": {"size": 1}, "maybe": {"size": 0}}, "root.maybe.size: 0 is below 1"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD)
def test_says_what_is_wrong(data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(Outer, data, "root")
    assert str(caught.value) == message


def test_a_fingerprint_is_of_the_content() -> None:
    first = fingerprint(Outer(inner=Inner(size=1)))
    assert first == fingerprint(Outer(inner=Inner(size=1)))
    assert first != fingerprint(Outer(inner=Inner(size=2)))
    assert len(first) == 12


@dataclass(frozen=True, kw_only=True)
class Older:
    name: str = "x"


@dataclass(frozen=True, kw_only=True)
class Younger(Older):
    more: str = added("as before")


def test_a_field_that_is_added_leaves_the_fingerprints_of_before() -> None:
    assert fingerprint(Younger()) == fingerprint(Older())
    assert fingerprint({"of": [Younger()]}) == fingerprint({"of": [Older()]})
    assert fingerprint(Younger(more="new")) != fingerprint(Older())
    assert encode(Younger()) == {"name": "x", "more": "as before"}  # files say it


def test_field_at_follows_a_dotted_path() -> None:
    assert field_at(Outer, ("maybe", "kind")) == Literal["a", "b"]
    assert field_at(Outer, ("free", "anything")) is Any
    with pytest.raises(ConfigError, match=r"^inner: has no keys|^inner.size: has no keys"):
        field_at(Outer, ("inner", "size", "more"))
