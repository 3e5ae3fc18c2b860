"""Compiles a catalog: checks everything, lays everything out. Seconds for large catalogs, so it runs off the loop."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from server.domain.attribute import Attribute, AttributeType, Schema
from server.domain.cap import MAX_WINDOW_DAYS
from server.domain.catalog import Catalog, Problem
from server.domain.clock import MICROSECONDS_PER_DAY
from server.domain.contact import ContactPolicy, HistoryVariable
from server.domain.identity import IdentityPolicy
from server.domain.model import Manifest
from server.domain.offer import Offer
from server.domain.offer_table import OfferTable, infer_schema, values_of
from server.domain.placement import Placement
from server.execution.compile_creatives import compile_creatives
from server.execution.compile_policy import compile_policy, exclusions_of
from server.execution.compiled import (
    CompiledCatalog,
    CompiledPlacement,
    ModelPlan,
    Sorts,
)
from server.input.features import UnknownFeatureError, compile_features
from server.input.profiles import MAX_PURPOSES
from server.input.variables import CHANNEL, VariableReader
from server.intelligence.catalog_file import read_catalog
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.vocabulary import TIME, Vocabulary
from server.intelligence.eligibility import compile_eligibility
from server.intelligence.offer_filter import OfferFilter

MAX_COLUMNS = 65_536


class Compilation(NamedTuple):
    """What became of a catalog's text: a compiled catalog of version 0, or the problems that refuse it."""

    catalog: CompiledCatalog | None
    problems: list[Problem]


def compile_text(text: str, manifests: Mapping[str, Manifest]) -> Compilation:
    """Reads and compiles the text of a catalog file against the models that are loaded, by `name/version`."""
    catalog, problems = read_catalog(text)
    compiled, more = compile_catalog(catalog, manifests)
    problems = sorted(set(problems + more), key=_natural)
    return Compilation(None if problems else replace(compiled, text=text), problems)


def compile_catalog(catalog: Catalog, manifests: Mapping[str, Manifest]) -> tuple[CompiledCatalog, list[Problem]]:
    """Compiles a catalog; with a problem, the result is not to be served."""
    problems: list[Problem] = []
    channels = list(dict.fromkeys(channel for placement in catalog.placements for channel in placement.channels))
    offer_schema, offers, unclear = infer_schema(catalog.offers, catalog.offer_attributes)
    problems += unclear
    customer = _customer_schema(catalog, problems)
    channel = Attribute(CHANNEL, AttributeType.CATEGORY, tuple(channels))
    context = Schema((channel, *_attributes(catalog.context, catalog.offers, "context", problems)))
    table = OfferTable.of(offers, offer_schema)
    history = HistoryColumns()
    vocabulary = Vocabulary(
        {"customer": customer, "context": context, "offer": offer_schema},
        variables=("customer", "context"),
        history=history,
        has_time=True,
    )
    exclusions, selections = exclusions_of(catalog, table)
    eligibility, conditions = compile_eligibility(offers, vocabulary, exclusions)
    policy, policies = compile_policy(catalog, table, customer, vocabulary, channels)
    creatives, contents = compile_creatives(catalog, table, (customer, context), channels)
    problems += [*selections, *conditions, *policies, *contents, *_offer_problems(catalog.offers)]
    compiler = _PlacementCompiler(customer, context, table, manifests)
    placements = {
        placement.id: compiler.placement(place, placement) for place, placement in enumerate(catalog.placements)
    }
    problems += compiler.problems
    return CompiledCatalog(
        version=0,
        etag=catalog.etag,
        currency=catalog.currency,
        text="",
        identity=catalog.identity,
        customer=customer,
        context=context,
        offers=table,
        eligibility=eligibility,
        filter=OfferFilter(table),
        creatives=creatives,
        placements=placements,
        variables=VariableReader(customer, context, history.variables),
        history=history.variables,
        policy=policy,
        contacts=ContactPolicy(catalog.hold_us, catalog.attribution_us, _horizon_us(catalog, history.variables)),
    ), problems


def _customer_schema(catalog: Catalog, problems: list[Problem]) -> Schema:
    """What profiles have: attributes that deltas set, and aggregates of events."""
    attributes = tuple(_attributes(catalog.attributes, catalog.offers, "attributes", problems))
    aggregates = tuple(_attributes(catalog.aggregates, catalog.offers, "aggregates", problems))
    problems += _identity_problems(attributes, aggregates, catalog.identity)
    taken = {attribute.id for attribute in attributes}
    customer = Schema((*attributes, *_first_of_each(aggregates, taken)), tuple(_purposes(catalog)))
    _check_columns(customer, problems)
    return customer


def _purposes(catalog: Catalog) -> Iterable[str]:
    """The purposes that channels and offers ask for."""
    of_channels = {channel.purpose for channel in catalog.channels}
    return sorted((of_channels | {offer.purpose for offer in catalog.offers}) - {""})


def _horizon_us(catalog: Catalog, history: Iterable[HistoryVariable]) -> int:
    """How long contacts matter to anything in a catalog."""
    caps = [cap for offer in catalog.offers for cap in offer.caps]
    caps += [rule.cap for rule in catalog.rules if rule.cap is not None]
    asked = [MAX_WINDOW_DAYS if each.window_days is None else each.window_days for each in history]
    windows_us = [cap.window_us for cap in caps] + [days * MICROSECONDS_PER_DAY for days in asked]
    return max([catalog.hold_us, catalog.attribution_us, *windows_us])


def _natural(problem: Problem) -> tuple[str, int, str]:
    """Sorts `offers[10]` behind `offers[9]`."""
    head, _, rest = problem.path.partition("[")
    number, _, tail = rest.partition("]")
    return head, int(number) if number.isdigit() else -1, tail + problem.description


def _attributes(
    attributes: Iterable[Attribute], offers: Sequence[Offer], section: str, problems: list[Problem]
) -> Iterable[Attribute]:
    """The attributes that can be laid out, the keyed ones with their keys."""
    for place, attribute in enumerate(attributes):
        path = f"{section}[{place}]"
        valued = attribute.type in (AttributeType.CATEGORY, AttributeType.SET)
        if valued is not bool(attribute.values):
            problem = "a category or set needs its values" if valued else f"a {attribute.type} has no values"
            problems.append(Problem(f"{path}.values", problem))
        for name, entries in (("values", attribute.values), ("keys", attribute.keys)):
            if len(set(entries)) < len(entries):
                problems.append(Problem(f"{path}.{name}", "an entry stands twice"))
        attribute = replace(attribute, values=_once(attribute.values), keys=_once(attribute.keys))  # noqa: PLW2901
        if section == "context":
            problems += [Problem(path, problem) for problem in _context_problems(attribute)]
        if attribute.by is None:
            if attribute.keys:
                problems.append(Problem(f"{path}.keys", "keys need `by`, the attribute of offers that picks one"))
        elif attribute.type in (AttributeType.SET, AttributeType.TEXT, AttributeType.KEY):
            problems.append(Problem(path, f"a {attribute.type} cannot be keyed"))
        else:
            texts = (str(values[attribute.by]) for values in map(values_of, offers) if attribute.by in values)
            attribute = replace(attribute, keys=attribute.keys or tuple(dict.fromkeys(texts)))  # noqa: PLW2901
        yield attribute


def _first_of_each(attributes: Iterable[Attribute], taken: set[str]) -> list[Attribute]:
    """The attributes whose ids are not taken; what is wrong with the others is a problem already."""
    by_id = {attribute.id: attribute for attribute in reversed(list(attributes)) if attribute.id not in taken}
    return list(reversed(by_id.values()))


def _once(entries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entries))


def _context_problems(attribute: Attribute) -> Iterable[str]:
    if attribute.id == CHANNEL:
        yield "`channel` is given"
    if attribute.id == TIME:
        yield "`time` is given: the time of the decision"
    if attribute.by or attribute.purpose:
        yield "neither `by` nor `purpose` applies to a context"
    if attribute.type in (AttributeType.SET, AttributeType.TEXT, AttributeType.KEY):
        yield f"a context attribute cannot be a {attribute.type}"


def _identity_problems(
    attributes: Sequence[Attribute], aggregates: Sequence[Attribute], identity: IdentityPolicy
) -> Iterable[Problem]:
    types = {attribute.id: attribute.type for attribute in attributes}
    for place, aggregate in enumerate(aggregates):
        if aggregate.id in types:
            yield Problem(f"aggregates[{place}].id", f"{aggregate.id} is already taken")
    rule_ids = [rule.id for rule in identity.rules]
    for place, rule in enumerate(identity.rules):
        if rule.id in rule_ids[:place]:
            yield Problem(f"identity.match[{place}].id", f"{rule.id} is already taken")
        for number, part in enumerate(rule.parts):
            if types.get(part.attribute) is not AttributeType.TEXT:
                path = f"identity.match[{place}].parts[{number}].attribute"
                yield Problem(path, f"{part.attribute} is not a text attribute")


def _check_columns(customer: Schema, problems: list[Problem]) -> None:
    if customer.width > MAX_COLUMNS:
        problems.append(Problem("attributes", f"take {customer.width:,} columns; there are {MAX_COLUMNS:,}"))
    if len(customer.purposes) > MAX_PURPOSES:
        problems.append(Problem("attributes", f"name more than {MAX_PURPOSES} purposes"))


def _offer_problems(offers: Sequence[Offer]) -> Iterable[Problem]:
    for place, offer in enumerate(offers):
        if offer.start and offer.end and offer.start >= offer.end:
            yield Problem(f"offers[{place}].schedule", "ends before it starts")


class _PlacementCompiler:
    def __init__(
        self, customer: Schema, context: Schema, offers: OfferTable, manifests: Mapping[str, Manifest]
    ) -> None:
        self._customer = customer
        self._context = context
        self._offers = offers
        self._manifests = manifests
        self._plans: dict[str, ModelPlan | str] = {}
        self.problems: list[Problem] = []

    def placement(self, place: int, placement: Placement) -> CompiledPlacement:
        path = f"placements[{place}]"
        for number, offer_id in enumerate(placement.fallback_offers):
            if offer_id not in self._offers.index:
                self.problems.append(Problem(f"{path}.fallback_offers[{number}]", f"there is no offer {offer_id}"))
            if offer_id in placement.fallback_offers[:number]:
                self.problems.append(Problem(f"{path}.fallback_offers[{number}]", f"{offer_id} stands twice"))
        plan = self._plan(placement.model) if placement.model else None
        if isinstance(plan, str):
            self.problems.append(Problem(f"{path}.model", plan))
            plan = None
        fallback = [self._offers.index[offer] for offer in placement.fallback_offers if offer in self._offers.index]
        sorts = tuple(self._sorts(f"{path}.diversity", placement))
        groups = {offer.exclusion_group for offer in self._offers.offers} - {""}
        group_room = np.full(len(groups), float(placement.max_per_group))
        return CompiledPlacement(placement, plan, np.array(fallback, np.intp), sorts, group_room)

    def _sorts(self, path: str, placement: Placement) -> Iterable[Sorts]:
        schema = self._offers.schema
        for place, (by, most) in enumerate((each.by, each.most) for each in placement.diversity):
            attribute = schema.by_id.get(by)
            if attribute is None or attribute.type is not AttributeType.CATEGORY:
                self.problems.append(Problem(f"{path}[{place}].by", f"offer.{by} is not a category of the offers"))
                continue
            codes = self._offers.attributes[schema.columns[by]]
            keys = np.where(np.isnan(codes), -1, codes).astype(np.intp)
            yield Sorts(by, keys, np.full(len(attribute.values), float(most)), most)

    def _plan(self, model_id: str) -> ModelPlan | str:
        """The plan for a model, or why there is none."""
        if model_id not in self._plans:
            self._plans[model_id] = self._compile(model_id)
        return self._plans[model_id]

    def _compile(self, model_id: str) -> ModelPlan | str:
        manifest = self._manifests.get(model_id)
        if manifest is None:
            return f"no model {model_id} is loaded; there are: {', '.join(sorted(self._manifests)) or 'none'}"
        try:
            features = compile_features(manifest.inputs, self._customer, self._context, self._offers)
        except UnknownFeatureError as problem:
            return f"{model_id} does not fit this catalog: {problem}"
        by = (manifest.calibration.by or "").removeprefix("offer.")
        groups = [
            None if value is None else str(value) for value in (values_of(o).get(by) for o in self._offers.offers)
        ]
        return ModelPlan(model_id, manifest.output_kind, features, *manifest.calibration.lines(groups))
