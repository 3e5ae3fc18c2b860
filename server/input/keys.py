"""Keys: texts of which there are too many to declare, such as households. A row holds 72 bits of a hash of each.

At ten million keys two of them are alike with a chance of 1e-8. The hash cannot be turned back; exports read what was
sent from the journal.
"""

import math
from collections.abc import Sequence

from xxhash import xxh3_128_intdigest

from server.domain.attribute import KEY_COLUMNS, MEMBERS_PER_COLUMN

_WORD_MASK = (1 << MEMBERS_PER_COLUMN) - 1


def key_words(text: str) -> tuple[float, ...]:
    """What a row holds of a key: integers of 24 bits, which float32 holds exactly."""
    digest = xxh3_128_intdigest(text.encode())
    return tuple(float(digest >> MEMBERS_PER_COLUMN * word & _WORD_MASK) for word in range(KEY_COLUMNS))


def key_name(words: Sequence[float]) -> str:
    """The key that a row holds as 18 hexadecimal digits, empty if there is none."""
    if any(map(math.isnan, words)):
        return ""
    return "".join(f"{int(word):06x}" for word in words)
