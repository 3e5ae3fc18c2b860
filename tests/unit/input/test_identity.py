from itertools import count

import pytest

from server.input.identity import IdentityGraph, Link
from server.input.pages import PAGE_ROWS, Arrays


class Rows:
    """Gives rows for customers, far from those of identifiers, and knows which are in use."""

    def __init__(self) -> None:
        self.used: set[int] = set()
        self._numbers = count(3 * PAGE_ROWS)

    def reserve(self) -> int:
        row = next(self._numbers)
        self.used.add(row)
        return row

    def release(self, row: int) -> None:
        self.used.remove(row)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def graph(rows: Rows) -> IdentityGraph:
    return IdentityGraph(rows.reserve, rows.release)


def joined(graph: IdentityGraph, *pairs: tuple[int, int], ruled: bool = False) -> IdentityGraph:
    for left, right in pairs:
        graph.link(left, right, ruled)
    return graph


def groups(graph: IdentityGraph, *rows: int) -> list[set[int]]:
    return [set(graph.members(row)) for row in rows]


def parts(found: list[list[int]]) -> list[set[int]]:
    return [set(part) for part in found]


def test_row_that_nobody_linked_is_alone_and_its_own_customer(graph: IdentityGraph) -> None:
    assert (graph.members(7), graph.customer(7), graph.links(7), graph.customers()) == ([7], 7, [], [])


def test_linked_rows_are_one_customer(graph: IdentityGraph, rows: Rows) -> None:
    joined(graph, (1, 2))

    assert groups(graph, 1, 2) == [{1, 2}, {1, 2}]
    assert graph.customer(1) == graph.customer(2)
    assert {graph.customer(1)} == rows.used == set(graph.customers())


def test_links_reach_through_others(graph: IdentityGraph, rows: Rows) -> None:
    joined(graph, (1, 2), (4, 3), (2, 3), (PAGE_ROWS + 5, 4))

    assert groups(graph, 1, PAGE_ROWS + 5) == [{1, 2, 3, 4, PAGE_ROWS + 5}] * 2
    assert len(rows.used) == 1


def test_customers_that_are_not_linked_stay_two(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), (3, 4))

    assert groups(graph, 1, 3) == [{1, 2}, {3, 4}]
    assert len(graph.customers()) == 2


def test_same_link_twice_is_one_link(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), (2, 1), (1, 2))

    assert len(graph.links(1)) == 1
    assert parts(graph.unlink(1, 2)) == [{1}, {2}]


def test_parted_rows_are_alone_again(graph: IdentityGraph, rows: Rows) -> None:
    joined(graph, (1, 2))

    assert parts(graph.unlink(2, 1)) == [{2}, {1}]
    assert (graph.members(1), graph.members(2), rows.used) == ([1], [2], set())


def test_parting_a_bridge_leaves_two_customers(graph: IdentityGraph, rows: Rows) -> None:
    joined(graph, (1, 2), (2, 3), (3, 4))

    assert parts(graph.unlink(3, 2)) == [{3, 4}, {1, 2}]
    assert len(rows.used) == 2


def test_parting_one_of_two_ways_parts_nobody(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), (2, 3), (3, 1))

    assert parts(graph.unlink(1, 2)) == [{1, 2, 3}]
    assert len(graph.links(1)) == 2


def test_parting_from_everybody_takes_all_links_of_a_row(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), (1, 3), (1, 4), (3, 4))

    first, *others = parts(graph.unlink(1, None))

    assert first == {1}
    assert sorted(others, key=len) == [{2}, {3, 4}]


def test_parting_what_is_not_linked_changes_nothing(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), (2, 3))

    assert (graph.unlink(1, 3), graph.unlink(9, None), graph.unlink(9, 1)) == ([], [], [])
    assert groups(graph, 1) == [{1, 2, 3}]


def test_rows_of_customers_are_given_back_one_by_one(graph: IdentityGraph, rows: Rows) -> None:
    for round_ in range(50):
        joined(graph, (1, 2), (2, 3))
        graph.unlink(2, None)

        assert rows.used == set(), round_


@pytest.mark.parametrize("somebody_first", [True, False])
def test_link_that_somebody_and_a_rule_made_is_one_that_a_rule_asked_for(
    graph: IdentityGraph, somebody_first: bool
) -> None:
    joined(graph, (1, 2), ruled=not somebody_first)
    joined(graph, (2, 1), ruled=somebody_first)

    assert graph.links(1) == [Link(1, 2, True)]
    graph.unlink(1, 2)
    assert not graph.may_join(1, 2)


def test_rule_may_not_join_whom_somebody_has_parted(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), ruled=True)
    graph.unlink(1, 2)

    assert (graph.may_join(1, 2), graph.may_join(2, 1), graph.may_join(1, 3)) == (False, False, True)


def test_rule_may_not_join_them_through_others_either(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), ruled=True)
    graph.unlink(1, 2)
    joined(graph, (1, 3), (2, 4))

    assert (graph.may_join(3, 4), graph.may_join(3, 2), graph.may_join(3, 5)) == (False, False, True)


def test_somebody_may_join_them_again_and_then_a_rule_may_too(graph: IdentityGraph) -> None:
    joined(graph, (1, 2), ruled=True)
    graph.unlink(1, 2)

    joined(graph, (2, 1))
    graph.unlink(1, 2)

    assert graph.may_join(1, 2)


def test_forgotten_rows_take_their_links_and_partings_with_them(graph: IdentityGraph, rows: Rows) -> None:
    joined(graph, (1, 2), (4, 5), ruled=True)
    graph.unlink(1, 2)
    graph.unlink(4, 5)
    joined(graph, (1, 3))

    graph.forget([1, 3])

    assert (graph.apart, rows.used, graph.members(1)) == ({(4, 5)}, set(), [1])
    assert graph.may_join(1, 2)


def test_restored_graph_is_the_same_and_goes_on_alike(graph: IdentityGraph, rows: Rows) -> None:
    joined(graph, *((row, row + 1) for row in range(0, 40, 2)))
    joined(graph, (100, 101), (101, 102), ruled=True)
    graph.unlink(4, 5)
    graph.unlink(100, 101)

    pages: dict[str, dict[int, Arrays]] = {}
    for page in graph.capture():
        pages.setdefault(page.name, {})[page.number] = page.arrays
    other = Rows()
    other.used = set(rows.used)
    again = IdentityGraph(rows.reserve, other.release)
    again.restore({name: [some[n] for n in sorted(some)] for name, some in pages.items()}, graph.apart)

    for each in (graph, again):
        joined(each, (4, 7), (5, 9), (200, 201))
        each.unlink(0, None)
    for row in [*range(41), 100, 101, 102, 200]:
        assert set(again.members(row)) == set(graph.members(row))
        assert set(again.links(row)) == set(graph.links(row))
    assert again.apart == graph.apart == {(100, 101)}
