"""Garbage is collected between steps, and at no other time.

Modules: launcher.workers.process.garbage
"""

import gc
import weakref

import pytest

from launcher.workers.process import garbage


class Node:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_objects_live_until_the_step_is_over() -> None:
    with garbage.collected_between_steps() as collect:
        assert not gc.isenabled()
        node = weakref.ref(Node())
        several = [[Node()] for _ in range(5_000)]  # enough for automatic collections
        assert node() is not None
        collect(1)
        assert node() is None and several
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_old_objects_are_collected_now_and_then() -> None:
    with garbage.collected_between_steps() as collect:
        node = Node()
        collect(1)
        collect(2)  # it is among the old ones now
        old = weakref.ref(node)
        del node
        collect(garbage.ALL_EVERY - 1)
        assert old() is not None
        collect(garbage.ALL_EVERY)
        assert old() is None


def test_collection_is_automatic_again_after_an_error() -> None:
    with pytest.raises(RuntimeError), garbage.collected_between_steps():
        raise RuntimeError
    assert gc.isenabled()
