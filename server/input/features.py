"""Feature assembly: the arrays that a model reads, the same code in training and in serving.

A feature's name says where its number comes from: `customer.spend_90d` and `context.hour` from the vector of
variables, `offer.price` from the offer table, `customer.spend[offer.department]` from the cell of a keyed attribute
that the offer's own attribute picks. Everything that depends on offers alone is laid out when the catalog is applied.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from server.domain.attribute import Attribute, AttributeType, FloatRow, IntRow, Schema
from server.domain.model import Feature, ModelInput, Scope
from server.domain.offer_table import OfferTable, values_of

_NAME = re.compile(r"(customer|context|offer)\.(\w+)(?:\[offer\.(\w+)\])?")


class UnknownFeatureError(ValueError):
    """A feature that the catalog cannot supply, or supplies otherwise than the model was trained with."""


@dataclass(frozen=True, slots=True)
class InputPlan:
    """Where the columns of one input tensor come from; each list of places pairs with a list of sources.

    Attributes:
        variables: Sources of features that are the same for all offers, as indices into the variables.
        cells: int [offers, features], indices into the variables that differ from offer to offer.
        offer_values: float32 [offers, features], what offers alone decide.
    """

    input: ModelInput
    variable_places: IntRow
    variables: IntRow
    cell_places: IntRow
    cells: IntRow
    offer_places: IntRow
    offer_values: FloatRow

    def assemble(self, variables: FloatRow, offers: IntRow) -> FloatRow:
        """The tensor for these offers: float32 [1, features] for scope customer, else [offers, features]."""
        if self.input.scope is Scope.CUSTOMER:
            return variables.take(self.variables)[None, :]
        rows = np.empty((len(offers), len(self.input.features)), np.float32)
        rows[:, self.variable_places] = variables.take(self.variables)
        rows[:, self.cell_places] = variables.take(self.cells.take(offers, axis=0))
        rows[:, self.offer_places] = self.offer_values.take(offers, axis=0)
        return rows

    def assemble_many(self, variables: FloatRow, customers: IntRow, offers: IntRow) -> FloatRow:
        """The same for pairs of customer and offer: float32 [customers, features] for scope customer, else [pairs, …].

        Args:
            variables: float32 [customers, columns].
            customers, offers: int [pairs], the row of each pair's customer, and its offer.
        """
        if self.input.scope is Scope.CUSTOMER:
            return variables.take(self.variables, axis=1)
        rows = np.empty((len(offers), len(self.input.features)), np.float32)
        rows[:, _span(self.variable_places)] = variables.take(self.variables, axis=1).take(customers, axis=0)
        if self.cells.shape[1]:
            cells = self.cells.take(offers, axis=0) + (customers * variables.shape[1])[:, None]
            rows[:, _span(self.cell_places)] = variables.take(cells)
        rows[:, _span(self.offer_places)] = self.offer_values.take(offers, axis=0)
        return rows


class FeaturePlan:
    """All inputs of one model for one catalog. Immutable once made."""

    def __init__(self, inputs: tuple[InputPlan, ...]) -> None:
        self._of_offers = tuple(plan for plan in inputs if plan.input.scope is Scope.OFFER)
        self._of_requests = tuple(plan for plan in inputs if plan.input.scope is not Scope.OFFER)

    def offer_tensors(self) -> dict[str, FloatRow]:
        """The inputs of scope offer for all offers of the catalog, by name: float32 [offers, features]."""
        return {plan.input.name: plan.offer_values for plan in self._of_offers}

    def assemble(self, variables: FloatRow, offers: IntRow) -> dict[str, FloatRow]:
        """The other inputs by name, for the offers with these indices."""
        return {plan.input.name: plan.assemble(variables, offers) for plan in self._of_requests}

    def assemble_many(
        self, variables: FloatRow, customers: IntRow, offers: IntRow
    ) -> dict[str, tuple[Scope, FloatRow]]:
        """The same for pairs of customer and offer, with the scope of each input; see `InputPlan.assemble_many`."""
        return {
            plan.input.name: (plan.input.scope, plan.assemble_many(variables, customers, offers))
            for plan in self._of_requests
        }

    def explain(self, tensors: Mapping[str, FloatRow], row: int, offer: int) -> dict[str, float]:
        """What the model was given for one offer, by feature name; missing values are left out.

        Args:
            tensors: What `assemble` gave.
            row: The offer's row in them.
            offer: The offer's index in the catalog.
        """
        features: dict[str, float] = {}
        for plan in (*self._of_requests, *self._of_offers):
            if plan.input.scope is Scope.OFFER:
                values = plan.offer_values[offer]
            else:
                values = tensors[plan.input.name][0 if plan.input.scope is Scope.CUSTOMER else row]
            features |= {
                feature.name: float(value)
                for feature, value in zip(plan.input.features, values, strict=True)
                if not math.isnan(value)
            }
        return features


def compile_features(
    inputs: tuple[ModelInput, ...], customer: Schema, context: Schema, offers: OfferTable
) -> FeaturePlan:
    """Finds where each feature comes from.

    Raises:
        UnknownFeatureError: the catalog lacks an attribute, or has it with another type or other category values.
    """
    compiler = _PlanCompiler(customer, context, offers)
    return FeaturePlan(tuple(compiler.plan(model_input) for model_input in inputs))


class _PlanCompiler:
    def __init__(self, customer: Schema, context: Schema, offers: OfferTable) -> None:
        self._customer = customer
        self._context = context
        self._offers = offers
        self._missing = customer.width + context.width

    def plan(self, model_input: ModelInput) -> InputPlan:
        variables: dict[int, int] = {}
        cells: dict[int, IntRow] = {}
        values: dict[int, FloatRow] = {}
        for place, feature in enumerate(model_input.features):
            root, attribute, key = self._parse(feature, model_input.scope)
            if root == "offer":
                values[place] = self._offer_values(feature, attribute)
            elif key is None:
                variables[place] = self._variable(feature, root, attribute)
            else:
                cells[place] = self._cells(feature, attribute, key)
        count = len(self._offers)
        return InputPlan(
            input=model_input,
            variable_places=_places(variables),
            variables=np.array(list(variables.values()), np.intp),
            cell_places=_places(cells),
            cells=np.stack(list(cells.values()), axis=1) if cells else np.empty((count, 0), np.intp),
            offer_places=_places(values),
            offer_values=np.stack(list(values.values()), axis=1) if values else np.empty((count, 0), np.float32),
        )

    @staticmethod
    def _parse(feature: Feature, scope: Scope) -> tuple[str, str, str | None]:
        match = _NAME.fullmatch(feature.name)
        if match is None:
            raise UnknownFeatureError(f"{feature.name} is not the name of a feature")
        root, attribute, key = match.groups()
        depends_on_offer = root == "offer" or key is not None
        if (scope is Scope.CUSTOMER and depends_on_offer) or (scope is Scope.OFFER and root != "offer"):
            raise UnknownFeatureError(f"{feature.name} does not fit an input of scope {scope}")
        return root, attribute, key

    def _variable(self, feature: Feature, root: str, name: str) -> int:
        schema, offset = (self._customer, 0) if root == "customer" else (self._context, self._customer.width)
        self._check(feature, schema.by_id.get(name), keyed=False)
        return offset + schema.columns[name]

    def _cells(self, feature: Feature, name: str, key: str) -> IntRow:
        self._check(feature, self._customer.by_id.get(name), keyed=True)
        if key not in self._offers.schema.by_id:
            raise UnknownFeatureError(f"{feature.name}: no offer has the attribute {key}")
        columns = self._customer.columns
        return np.array(
            [columns.get(f"{name}.{values_of(offer).get(key)}", self._missing) for offer in self._offers.offers],
            np.intp,
        )

    def _offer_values(self, feature: Feature, name: str) -> FloatRow:
        attribute = self._offers.schema.by_id.get(name)
        if feature.type is not AttributeType.CATEGORY:
            self._check(feature, attribute, keyed=False)
            values: FloatRow = self._offers.attributes[self._offers.schema.columns[name]]
            return values
        if attribute is None or attribute.type is not AttributeType.CATEGORY:
            raise UnknownFeatureError(f"{feature.name} is not a category of the catalog's offers")
        # Offers' categories are coded as they come; the model keeps the codes it was trained with.
        codes = {value: float(code) for code, value in enumerate(feature.values)}
        texts = [values_of(offer).get(name) for offer in self._offers.offers]
        return np.array([codes.get(str(text), np.nan) for text in texts], np.float32)

    @staticmethod
    def _check(feature: Feature, attribute: Attribute | None, keyed: bool) -> None:
        if attribute is None or (attribute.by is not None) is not keyed:
            raise UnknownFeatureError(f"{feature.name} is not {'a keyed ' if keyed else 'an '}attribute of the catalog")
        if attribute.type is not feature.type:
            raise UnknownFeatureError(
                f"{feature.name} is a {attribute.type} in the catalog and a {feature.type} in the model"
            )
        if attribute.type is AttributeType.CATEGORY and attribute.values != feature.values:
            raise UnknownFeatureError(f"{feature.name} has other values in the catalog than in the model")


def _span(places: IntRow) -> IntRow | slice:
    """Sorted places as a slice if there is no gap between them: rows are filled through it in a fifth of the time."""
    if len(places) and places[-1] - places[0] == len(places) - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _places(sources: Mapping[int, object]) -> IntRow:
    return np.array(list(sources), np.intp)
