"""Who is who: identifiers, each with a row of its own, joined into customers by links.

Joining never mixes rows. A customer with several identifiers has one more row, which holds what the rows of the
identifiers come to together; parting two identifiers is to take a link away and to work that row out again. So an
unmerge is exact because there is nothing to undo.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.input.pages import PAGE_BITS, PAGE_MASK, PAGE_ROWS, Arrays, Pages, SavedPage, view

NOBODY = -1


class _GroupPage:
    """For each row: the row of the customer that it belongs to, the next row of the same, the first link of it."""

    __slots__ = ("customer", "customer_view", "first_link", "first_link_view", "next", "next_view")

    def __init__(self, arrays: Arrays | None = None) -> None:
        blank = arrays is None
        self.customer = np.full(PAGE_ROWS, NOBODY, np.int32) if blank else arrays["customer"]  # type: ignore[index]
        self.next = np.full(PAGE_ROWS, NOBODY, np.int32) if blank else arrays["next"]  # type: ignore[index]
        self.first_link = np.full(PAGE_ROWS, NOBODY, np.int32) if blank else arrays["first_link"]  # type: ignore[index]
        self.customer_view, self.next_view = view(self.customer), view(self.next)
        self.first_link_view = view(self.first_link)

    def arrays(self) -> Arrays:
        return {"customer": self.customer, "next": self.next, "first_link": self.first_link}


class _LinkPage:
    """Links: two rows, whether a match rule asked for it, and the customer's next link."""

    __slots__ = ("left", "next", "right", "ruled")

    def __init__(self, arrays: Arrays | None = None) -> None:
        blank = arrays is None
        self.left = np.full(PAGE_ROWS, NOBODY, np.int32) if blank else arrays["left"]  # type: ignore[index]
        self.right = np.full(PAGE_ROWS, NOBODY, np.int32) if blank else arrays["right"]  # type: ignore[index]
        self.next = np.full(PAGE_ROWS, NOBODY, np.int32) if blank else arrays["next"]  # type: ignore[index]
        self.ruled = np.zeros(PAGE_ROWS, np.bool_) if blank else arrays["ruled"]  # type: ignore[index]

    def arrays(self) -> Arrays:
        return {"left": self.left, "right": self.right, "next": self.next, "ruled": self.ruled}


class Link(NamedTuple):
    """Two rows that belong together. `ruled` if a match rule said so, whoever else did."""

    left: int
    right: int
    ruled: bool


class IdentityGraph:
    """The links between rows, and the customers that they make. All in arrays."""

    def __init__(self, reserve: Callable[[], int], release: Callable[[int], None]) -> None:
        """Starts without links; `reserve` gives a blank row for a customer of several, `release` takes it back."""
        self._reserve = reserve
        self._release = release
        self._groups: Pages[_GroupPage] = Pages("groups", _GroupPage)
        self._links: Pages[_LinkPage] = Pages("links", _LinkPage)
        self._end = 0
        self._free: list[int] = []
        self.apart: set[tuple[int, int]] = set()
        """Pairs of rows that somebody parted after a rule had joined them: no rule joins them again."""

    def customer(self, row: int) -> int:
        """The row of the customer that an identifier's row belongs to: itself if it is alone."""
        # Pages are made when one of their rows is linked; most customers have one identifier.
        if row >= self._groups.rows:
            return row
        customer = self._groups[row >> PAGE_BITS].customer_view[row & PAGE_MASK]
        return row if customer < 0 else customer

    def customers(self) -> list[int]:
        """The rows of all customers that have several identifiers."""
        rows = [np.flatnonzero((page.customer < 0) & (page.next >= 0)) for page in self._groups]
        return [int(row) + number * PAGE_ROWS for number, places in enumerate(rows) for row in places]

    def joined(self, number: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Which rows of a page are members of a customer of several identifiers, and which are such customers.

        None if nobody of the page is.
        """
        if number >= len(self._groups):
            return None
        page = self._groups[number]
        return page.customer >= 0, (page.customer < 0) & (page.next >= 0)

    def members(self, row: int) -> list[int]:
        """The rows of all identifiers of the same customer, the given row's among them."""
        if row >= self._groups.rows:
            return [row]
        first = self._groups[row >> PAGE_BITS].next_view[row & PAGE_MASK]
        if first < 0:
            return [row]
        members = [first]
        while (following := self._groups[members[-1] >> PAGE_BITS].next_view[members[-1] & PAGE_MASK]) != first:
            members.append(following)
        return members

    def links(self, row: int) -> list[Link]:
        """The links between the identifiers of a row's customer."""
        return [link for _, link in self._numbered_links(self.customer(row))]

    def may_join(self, left: int, right: int) -> bool:
        """Whether a match rule may join two customers: not if somebody has parted them."""
        if not self.apart:
            return True
        ours, theirs = self.members(left), self.members(right)
        return not any(_pair(a, b) in self.apart for a in ours for b in theirs)

    def link(self, left: int, right: int, ruled: bool) -> None:
        """Links two different rows; `ruled` if a match rule says so. Somebody who says so overrides a parting."""
        if not ruled:
            self.apart.discard(_pair(left, right))
        for number, link in self._numbered_links(self.customer(left)):
            if {link.left, link.right} == {left, right}:
                self._links.writable(number >> PAGE_BITS).ruled[number & PAGE_MASK] = link.ruled or ruled
                return
        joined = self.customer(left) == self.customer(right)
        links = [*self.links(left), *([] if joined else self.links(right)), Link(left, right, ruled)]
        members = list(dict.fromkeys([*self.members(left), *self.members(right)]))
        self._dissolve(left)
        self._dissolve(right)
        self._form(members, links)

    def unlink(self, row: int, other: int | None) -> list[list[int]]:
        """Takes away the link between two rows, or all links of one.

        Returns the identifiers of each customer that is left, that of `row` first; nothing if there was no such link.
        """
        links = self.links(row)
        gone = [link for link in links if row in link[:2] and (other is None or other in link[:2])]
        if not gone:
            return []
        self.apart |= {_pair(link.left, link.right) for link in gone if link.ruled}
        kept = [link for link in links if link not in gone]
        parts = _components(self.members(row), kept)
        self._dissolve(row)
        for members in parts:
            self._form(members, [link for link in kept if link.left in members])
        return sorted(parts, key=lambda members: row not in members)

    def forget(self, rows: Iterable[int]) -> None:
        """Forgets rows whose identifiers are erased."""
        gone = set(rows)
        for row in gone:
            self._dissolve(row)
        self.apart = {pair for pair in self.apart if gone.isdisjoint(pair)}

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        captures = [self._groups.capture(), self._links.capture()]
        return (page for pages in captures for page in pages)

    def restore(self, pages: Mapping[str, Iterable[Arrays]], apart: Iterable[tuple[int, int]]) -> None:
        """Fills an empty graph with captured pages and the pairs that were parted."""
        for arrays in pages.get("groups", ()):
            self._groups.restore(_GroupPage(arrays))
        for arrays in pages.get("links", ()):
            self._links.restore(_LinkPage(arrays))
        left = np.concatenate([page.left for page in self._links] or [np.empty(0, np.int32)])
        taken = np.flatnonzero(left >= 0)
        self._end = int(taken.max()) + 1 if len(taken) else 0
        self._free = np.setdiff1d(np.arange(self._end), taken).tolist()
        self.apart = set(apart)

    def _numbered_links(self, customer: int) -> Iterator[tuple[int, Link]]:
        if customer >= self._groups.rows:
            return
        number = self._groups[customer >> PAGE_BITS].first_link_view[customer & PAGE_MASK]
        while number >= 0:
            page, place = self._links[number >> PAGE_BITS], number & PAGE_MASK
            yield number, Link(page.left.item(place), page.right.item(place), page.ruled.item(place))
            number = page.next.item(place)

    def _dissolve(self, row: int) -> None:
        """Takes the customer of a row apart, if it has several: its rows are alone, its links are gone."""
        customer = self.customer(row)
        if customer == row:
            return
        for number, _ in list(self._numbered_links(customer)):
            self._links.writable(number >> PAGE_BITS).left[number & PAGE_MASK] = NOBODY
            self._free.append(number)
        for member in [*self.members(row), customer]:
            page, place = self._groups.writable(member >> PAGE_BITS), member & PAGE_MASK
            page.customer_view[place] = page.next_view[place] = page.first_link_view[place] = NOBODY
        self._release(customer)

    def _form(self, members: list[int], links: list[Link]) -> None:
        """Makes one customer of rows that are alone; of a single row there is nothing to make."""
        if len(members) == 1:
            return
        customer = self._reserve()
        self._groups.grow_to(max(customer, *members) + 1)
        for row, following in zip(members, [*members[1:], members[0]], strict=True):
            page, place = self._groups.writable(row >> PAGE_BITS), row & PAGE_MASK
            page.customer_view[place], page.next_view[place] = customer, following
        first = NOBODY
        for link in links:
            first = self._add_link(link, first)
        page, place = self._groups.writable(customer >> PAGE_BITS), customer & PAGE_MASK
        page.next_view[place], page.first_link_view[place] = members[0], first

    def _add_link(self, link: Link, following: int) -> int:
        if self._free:
            number = self._free.pop()
        else:
            number = self._end
            self._end += 1
            self._links.grow_to(self._end)
        page, place = self._links.writable(number >> PAGE_BITS), number & PAGE_MASK
        page.left[place], page.right[place], page.ruled[place] = link
        page.next[place] = following
        return number


def _pair(left: int, right: int) -> tuple[int, int]:
    return (min(left, right), max(left, right))


def _components(members: list[int], links: list[Link]) -> list[list[int]]:
    """The members that the links still hold together, in their order."""
    component = {row: row for row in members}

    def root(row: int) -> int:
        while component[row] != row:
            row = component[row]
        return row

    for link in links:
        left, right = root(link.left), root(link.right)
        component[max(left, right)] = min(left, right)
    groups: dict[int, list[int]] = {}
    for row in members:
        groups.setdefault(root(row), []).append(row)
    return list(groups.values())
