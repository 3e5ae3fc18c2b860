"""The condition language: a typed subset of CEL, compiled to columns when the catalog is applied.

Text -> `parser` -> tree -> `checker` (names, kinds) -> `compiler` (clauses over atoms) -> `predicates` (arrays). For a
request that leaves one gather, one compare and one OR over bit sets, whatever the conditions say. What they compute
(`terms`) costs a few calls more (`computation`), and only catalogs that compute pay for it.

The same clauses are evaluated for one customer and all offers (`eligibility`), for conditions that stand for
themselves (`condition_set`), and for one condition and all customers (`audience`).

Where the language says less or something else than CEL: all numbers are doubles (`1 / 2` is a half); a value that a
row holds has 24 bits, and a constant beside it is rounded alike, but what is computed is computed in doubles; times
are exact to the microsecond; comparisons do not chain; texts have no order and cannot be added.
"""
