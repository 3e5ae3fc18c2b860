"""Joining identifiers changes nothing that parting them would have to undo."""

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal import Entry, IdentifiersLinked, IdentifierUnlinked
from tests.properties.histories import (
    CUSTOMERS,
    FIRST,
    anything,
    known,
    links,
    pairs,
    plain_requests,
    unlinks,
)
from tests.support.folds import digest, folded, linked, profiles_of, unlinked

START = (FIRST, known())
quiet = st.lists(st.one_of(plain_requests, plain_requests, links, unlinks), max_size=6)


def without_link(entries: Sequence[Entry], left: str, right: str) -> list[Entry]:
    """The entries but for those that link these two."""
    return [
        entry
        for entry in entries
        if not (isinstance(entry, IdentifiersLinked) and {entry.identifier, entry.other} == {left, right})
    ]


@given(quiet, quiet, quiet, pairs)
def test_link_and_unlink_leave_everything_as_if_they_had_never_been(
    before: list[Entry], meanwhile: list[Entry], after: list[Entry], pair: tuple[str, str]
) -> None:
    # A link that is there already would not be there any more.
    before, meanwhile = without_link(before, *pair), without_link(meanwhile, *pair)

    joined_and_parted = folded([*START, *before, linked(*pair), *meanwhile, unlinked(*pair), *after])
    never_joined = folded([*START, *before, *meanwhile, *after])

    assert digest(joined_and_parted) == digest(never_joined)
    assert profiles_of(joined_and_parted, CUSTOMERS) == profiles_of(never_joined, CUSTOMERS)


@given(st.lists(anything, max_size=6), plain_requests, pairs)
def test_parting_gives_back_what_each_had_and_what_came_meanwhile(
    before: list[Entry], meanwhile: Entry, pair: tuple[str, str]
) -> None:
    apart = [unlinked(customer) for customer in CUSTOMERS]
    # The last catalog allows any two to be joined, and takes what comes.
    start = [*START, *before, *apart, FIRST]

    joined_and_parted = folded([*start, linked(*pair), meanwhile, unlinked(*pair)])
    never_joined = folded([*start, meanwhile])

    assert digest(joined_and_parted) == digest(never_joined)
    assert profiles_of(joined_and_parted, CUSTOMERS) == profiles_of(never_joined, CUSTOMERS)


def links_left(entries: Sequence[Entry]) -> set[frozenset[str]]:
    """The links that a history of links and partings leaves, worked out one by one."""
    left: set[frozenset[str]] = set()
    for entry in entries:
        if isinstance(entry, IdentifiersLinked):
            left.add(frozenset({entry.identifier, entry.other}))
        elif isinstance(entry, IdentifierUnlinked):
            left = {pair for pair in left if entry.identifier not in pair or (entry.other and entry.other not in pair)}
    return left


def components(pairs_left: set[frozenset[str]]) -> list[set[str]]:
    """Who belongs together by these links."""
    groups = [{customer} for customer in CUSTOMERS]
    for pair in pairs_left:
        touching = [group for group in groups if group & pair]
        groups = [group for group in groups if not group & pair] + [set().union(*touching)]
    return groups


@given(st.lists(st.one_of(plain_requests, links, links, unlinks), max_size=14), st.randoms(use_true_random=False))
def test_only_the_links_that_are_left_matter_and_not_their_order(history: list[Entry], shuffle: Random) -> None:
    left = links_left(history)
    data = [entry for entry in history if not isinstance(entry, IdentifiersLinked | IdentifierUnlinked)]
    in_some_order = [linked(*pair) for pair in left]
    shuffle.shuffle(in_some_order)

    lived = folded([*START, *history])
    afterwards = folded([*START, *data, *in_some_order])
    beforehand = folded([*START, *in_some_order, *data])

    assert digest(lived) == digest(afterwards) == digest(beforehand)
    assert profiles_of(lived, CUSTOMERS) == profiles_of(afterwards, CUSTOMERS) == profiles_of(beforehand, CUSTOMERS)
    found = {customer: set(identifiers) for customer, *_, identifiers in profiles_of(lived, CUSTOMERS)}  # type: ignore[call-overload]
    assert found == {customer: group for group in components(left) for customer in group}


@given(
    st.lists(plain_requests, max_size=5),
    st.permutations([("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")]),
    st.permutations(CUSTOMERS),
)
def test_joined_profile_is_the_same_however_its_identifiers_were_joined(
    data: list[Entry], edges: list[tuple[str, str]], star: list[str]
) -> None:
    chain = [linked(*edge) for edge in edges]
    hub = [linked(star[0], other) for other in star[1:]]

    one, other = folded([*START, *data, *chain]), folded([*START, *hub, *data])

    assert digest(one) == digest(other)
    assert profiles_of(one, CUSTOMERS) == profiles_of(other, CUSTOMERS)
