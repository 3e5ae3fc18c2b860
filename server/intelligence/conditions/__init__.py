"""The condition language: a typed subset of CEL, compiled to columns when the catalog is applied.

Text -> `parser` -> tree -> `checker` (names, types) -> `compiler` (clauses over atoms) -> `predicates` (arrays). For a
request that leaves one gather, one compare and one OR over bit sets, whatever the conditions say.
"""
