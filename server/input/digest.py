"""The digest of a profile table: equal for equal facts, whatever the order and the portions in which they came.

Versions, row numbers and the way in which event times are kept do not count; days that no window reaches do not either.
"""

import numpy as np
from xxhash import xxh3_128

from server.input.day_buckets import live_buckets
from server.input.profiles import ProfileTable

_MODULUS = 1 << 128


def digest_of(table: ProfileTable, today: int) -> str:
    """The digest of what is known about everybody, 32 hexadecimal digits. Costs about 10 us a customer.

    Args:
        today: The day since 2020 up to which windows reach back from.
    """
    # A sum does not depend on the order of rows.
    total = sum(row_digest(table, row, today) for row in table.identifiers.named())
    return f"{total % _MODULUS:032x}"


def row_digest(table: ProfileTable, row: int, today: int) -> int:
    """The digest of one identifier: its name, everything in its row, and the names it is joined with."""
    member = table.member(row)
    digest = xxh3_128(table.identifiers.name(row))
    digest.update(np.where(np.isnan(member.values), np.float32(np.nan), member.values).tobytes())
    digest.update(np.ascontiguousarray(member.times).tobytes())
    digest.update(f"/{member.granted}/{member.recorded}/{table.update_us(row)}/".encode())
    digest.update(np.ascontiguousarray(member.consent_times).tobytes())
    buckets = table.buckets.read(row)
    if buckets is not None:
        keys, amounts = buckets
        live = live_buckets(keys, table.aggregates.windows, today)
        order = np.argsort(keys[live])
        digest.update(keys[live][order].tobytes() + amounts[live][order].tobytes())
    for other in table.members(row):
        digest.update(b"+" + table.identifiers.name(other))
    return digest.intdigest()
