"""Requirements: conditions that somebody's catalog entry must meet, compiled once however often they are written."""

from collections.abc import Mapping
from typing import NamedTuple

from server.domain.attribute import Value
from server.domain.catalog import Problem
from server.domain.condition import ConditionError, Expression, Name, walk
from server.intelligence.conditions.checker import check
from server.intelligence.conditions.clauses import Clause
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.operands import constants_used
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.vocabulary import Vocabulary


class Requirement(NamedTuple):
    """A condition that must definitely hold, or (not `holds`) definitely not hold. An empty one is true.

    Attributes:
        path: Where the catalog has it, for problems: `offers[3].eligible`.
        words: What explanations say if it is not met, for example `excluded by rule R: …`; empty: the part of the
            condition that does not hold.
    """

    path: str
    text: str
    holds: bool = True
    words: str = ""


class _Checked(NamedTuple):
    """A condition without problems, and the names of the constants that its meaning depends on."""

    expression: Expression
    constants: frozenset[str]


class RequirementCompiler:
    """Compiles requirements against one vocabulary; each text is parsed once, and compiled once for equal constants."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._checked: dict[str, _Checked | list[ConditionError]] = {}
        self._compiled: dict[object, list[tuple[str, list[Clause]]]] = {}

    def compile(
        self, requirement: Requirement, constants: Mapping[str, Value]
    ) -> tuple[list[tuple[str, list[Clause]]], list[Problem]]:
        """The clauses of each part of a requirement with the part as it was written, or what is wrong with it."""
        text = requirement.text.strip() or "true"
        checked = self._check(text)
        if isinstance(checked, list):
            return [], [Problem(requirement.path, str(problem)) for problem in checked]
        values = tuple((name, constants[name]) for name in sorted(checked.constants & constants.keys()))
        # In words, as 0.0 equals -0.0, and dividing by one is not dividing by the other.
        key = text, requirement.holds, repr(values)
        try:
            if key not in self._compiled:
                self._compiled[key] = [
                    (part or text, sorted(clauses, key=sorted))
                    for part, clauses in compile_condition(
                        checked.expression, self._vocabulary, constants, requirement.holds
                    )
                ]
        except ConditionError as problem:
            return [], [Problem(requirement.path, str(problem))]
        return self._compiled[key], []

    def _check(self, text: str) -> _Checked | list[ConditionError]:
        if text not in self._checked:
            self._checked[text] = self._read(text)
        return self._checked[text]

    def _read(self, text: str) -> _Checked | list[ConditionError]:
        try:
            expression = parse(text)
        except ConditionError as problem:
            return [problem]
        problems = check(expression, self._vocabulary)
        if problems:
            return problems
        names = [node for node in walk(expression) if isinstance(node, Name)]
        return _Checked(expression, constants_used(names, self._vocabulary))
