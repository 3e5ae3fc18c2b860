"""Which rows of the profile table are customers, and what a customer is called.

A customer's row is that of an identifier that is alone, or the one that several identifiers come to (`identity.py`).
Rows of the identifiers of such a customer are not, and neither are rows that were let go of.
"""

import numpy as np

from server.domain.attribute import IntRow
from server.input.pages import PAGE_BITS, PAGE_ROWS
from server.input.profiles import ProfileTable

_WHOLE_PAGE = np.arange(PAGE_ROWS)


def customers_of_page(table: ProfileTable, number: int) -> IntRow:
    """The rows of a page that are customers now, in order. A few microseconds for the page's 512 rows."""
    joined = table.graph.joined(number)
    lengths = table.identifiers.lengths(number)
    if joined is None and b"\0" not in lengths.tobytes():
        # Most pages are full of identifiers that are alone: searching bytes costs a fifth of asking numpy.
        return _WHOLE_PAGE + (number << PAGE_BITS)
    # A row that several identifiers come to has no name, as a free row has none; the graph tells them apart.
    alone_or_member = lengths != 0
    if joined is None:
        places = np.flatnonzero(alone_or_member)
    else:
        members, customers = joined
        places = np.flatnonzero((alone_or_member & ~members) | customers)
    return places + (number << PAGE_BITS)


def customer_ids(table: ProfileTable, rows: IntRow) -> list[str]:
    """What customers are called, by their rows: by the identifier, of several by the one that sorts first.

    Cost: 0.3 us for each customer, and a walk over the members of those who have several identifiers.
    """
    names = table.identifiers.names(rows)
    for place, name in enumerate(names):
        if not name:
            names[place] = min(map(table.identifiers.name, table.graph.members(int(rows[place]))))
    return [name.decode() for name in names]
