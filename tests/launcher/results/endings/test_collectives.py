"""The ranks that a hang waits for, from what each rank had come to."""

from collections.abc import Sequence

import pytest

from launcher.results.endings.collectives import Group, Missing, Operation, missing

WORLD, TP, OTHER_TP, DP = (0, 1, 2, 3), (0, 1), (2, 3), (0, 2)


def group(
    ranks: tuple[int, ...] | None,
    last: int,
    pending: int | None = None,
    sends: str | None = None,
) -> Group:
    """A group that a rank came to ``last`` all-reduces of, and waits in one of them or in a send."""
    operations = [Operation(number=pending, operation="all_reduce")] if pending else []
    operations += [Operation(number=0, operation=sends, point_to_point=True)] if sends else []
    return Group(
        name=str(ranks),
        description="TENSOR" if ranks in (TP, OTHER_TP) else "DATA" if ranks == DP else "WORLD",
        ranks=ranks,
        last=Operation(number=last, operation="all_reduce") if last else None,
        pending=tuple(operations),
    )


CASES: list[tuple[str, dict[int, Sequence[Group]], str | None]] = [
    (
        "one is late",
        {0: [group(TP, 7, 7)], 1: [group(TP, 6)]},
        "rank 1 is missing from all_reduce number 7 of tensor (ranks 0, 1)",
    ),
    (
        "one wrote nothing",
        {0: [group(WORLD, 3, 3)], 1: [group(WORLD, 3, 3)], 2: [group(WORLD, 3, 3)]},
        "rank 3 is missing from all_reduce number 3 of world (ranks 0, 1, 2, 3)",
    ),
    (
        "one never came to the group",
        {0: [group(TP, 1, 1)], 1: [group(WORLD, 4)]},
        "rank 1 is missing from all_reduce number 1 of tensor (ranks 0, 1)",
    ),
    (
        "a chain: 0 waits for 1 no more than 1 for 3, who waits for nobody",
        {
            0: [group(TP, 9, 9)],
            1: [group(TP, 8), group(WORLD, 2, 2)],
            2: [group(OTHER_TP, 9, 9), group(WORLD, 1)],
            3: [group(OTHER_TP, 8), group(WORLD, 1)],
        },
        "rank 3 is missing from all_reduce number 2 of world (ranks 0, 1, 2, 3)",
    ),
    (
        "a receive of the stage before",
        {0: [], 2: [group(DP, 0, sends="recv 1<-0")]},
        "rank 0 is missing from recv 1<-0 of data (ranks 0, 2)",
    ),
    ("all came: the network", {0: [group(TP, 7, 7)], 1: [group(TP, 7, 7)]}, None),
    ("nobody waits", {0: [group(TP, 7)], 1: [group(TP, 7)]}, None),
    ("a group of unknown ranks", {0: [group(None, 7, 7)], 1: []}, None),
    (
        "a send to nobody that there is",
        {0: [group(TP, 0, sends="send 0->5")], 1: []},
        None,
    ),
    ("each waits for the other", {0: [group(TP, 1, sends="recv 0<-1")],
                                 1: [group(TP, 1, sends="recv 1<-0")]}, None),
    ("nothing was written", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_who_is_waited_for(records: dict[int, Sequence[Group]], message: str | None) -> None:
    absent = missing(records)
    assert (absent and str(absent)) == message


def test_many_ranks_are_counted() -> None:
    assert str(Missing(tuple(range(20)), "barrier")) == (
        "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 more are missing from barrier"
    )
