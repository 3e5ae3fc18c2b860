import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind, ContactSubject
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import OutcomesReported
from server.domain.outcome import Outcome
from server.domain.profile import AttributeUpdates, Event, ProfileDelta
from server.execution import audience
from server.execution.audience import AT_ONCE, AudienceCount, AudienceScan, CountAudience
from server.input.pages import PAGE_ROWS
from server.intelligence.conditions.lexer import MAX_BYTES
from tests.support.catalogs import ATTRIBUTES, catalog_document, offer_entry
from tests.support.clock import NOON_US
from tests.support.folds import linked, received, unlinked
from tests.support.service import Service, offer_ids

AGGREGATES = [
    {"id": "revenue_7d", "event": "purchase", "op": "sum", "property": "amount", "window": "7d"},
    {"id": "last_purchase", "event": "purchase", "op": "last"},
    {"id": "affinity", "event": "purchase", "op": "decayed_sum", "property": "amount", "half_life": "5d"},
]
DOCUMENT = catalog_document([offer_entry("a")], aggregates=AGGREGATES)


@pytest.fixture
def service() -> Service:
    return Service(DOCUMENT)


@pytest.fixture
def page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of one page each."""
    monkeypatch.setattr(audience, "TURN_S", 0.0)


def counting(service: Service) -> CountAudience:
    return CountAudience(service.state, service.clock)


async def count(service: Service, condition: str) -> int:
    return (await counting(service)(condition)).count


async def refusal(service: Service, condition: str) -> OpportuneError:
    with pytest.raises(OpportuneError) as refused:
        await counting(service)(condition)
    return refused.value


def fill(service: Service, customers: int) -> None:
    """Customers `c0`, `c1` and so on, who have been here so many times."""
    deltas = [
        ProfileDelta(f"c{place}", NOON_US, AttributeUpdates(set={"visits": float(place)})) for place in range(customers)
    ]
    service.writer.write(received(*deltas))


async def turns(task: "asyncio.Task[AudienceCount]") -> AsyncIterator[int]:
    """Numbers the turns that others have until a task is done."""
    number = 0
    while not task.done():
        number += 1
        yield number
        await asyncio.sleep(0)


async def test_those_are_counted_for_whom_the_condition_holds(service: Service) -> None:
    service.set("a", tier="gold", visits=5.0)
    service.set("b", tier="gold", visits=1.0)
    service.set("c", visits=7.0)

    counted = await counting(service)('customer.tier == "gold" && customer.visits > 2.0')

    assert counted == AudienceCount(count=1, customers=3, profile_version=4)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("true", 3),
        ("false", 0),
        ("customer.visits > 2.0", 1),
        ("customer.visits <= 2.0", 1),
        ("has(customer.visits)", 2),
        ("!has(customer.visits)", 1),
        ("customer.visits > 2.0 || true", 3),
    ],
)
async def test_what_is_missing_is_no_more_true_than_false(service: Service, condition: str, expected: int) -> None:
    service.set("a", visits=5.0)
    service.set("b", visits=1.0)
    service.set("c", member=True)

    assert await count(service, condition) == expected


async def test_what_may_not_be_read_is_missing(service: Service) -> None:
    for customer_id in "abc":
        service.set(customer_id, income=100.0)
    service.consent("personalization", True, "a")
    service.consent("personalization", False, "b")

    assert await count(service, "customer.income > 1.0") == 1
    assert await count(service, "customer.income <= 1.0") == 0


async def test_windows_and_ages_are_those_of_now(service: Service) -> None:
    service.change("a", Event("purchase", {"amount": 40.0}))
    service.clock.advance(days=3)
    service.change("b", Event("purchase", {"amount": 40.0}))

    conditions = ("customer.revenue_7d > 30.0", "customer.last_purchase < 4.0", "customer.affinity > 35.0")
    now = [await count(service, condition) for condition in conditions]
    service.clock.advance(days=5)
    later = [await count(service, condition) for condition in conditions]

    assert (now, later) == ([2, 2, 1], [1, 0, 0])


async def test_linked_identifiers_are_one_customer(service: Service) -> None:
    service.set("a", visits=3.0)
    service.set("b", tier="gold")
    service.set("c", visits=3.0)
    service.writer.write(linked("a", "b"))

    counted = await counting(service)('customer.visits > 2.0 && customer.tier == "gold"')
    service.writer.write(unlinked("a", "b"))
    parted = await counting(service)('customer.visits > 2.0 && customer.tier == "gold"')

    assert (counted.count, counted.customers) == (1, 2)
    assert (parted.count, parted.customers) == (0, 3)


async def test_contacts_of_all_identifiers_of_a_customer_count_together(service: Service) -> None:
    for customer_id in "abc":
        service.rank(customer_id)
    service.writer.write(linked("a", "b"))
    service.clock.advance(days=2)
    service.rank("b")

    conditions = ("history.decisions_7d == 3.0", "history.decisions_7d == 1.0", "history.days_since_decision < 1.0")

    assert [await count(service, condition) for condition in conditions] == [1, 1, 1]


async def test_nobody_is_counted_before_there_is_anybody(service: Service) -> None:
    assert await counting(service)("true") == AudienceCount(0, 0, 1)


async def test_whoever_is_counted_is_shown_an_offer_with_the_same_condition() -> None:
    conditions = (
        'customer.tier == "gold" || customer.visits > 2.0',
        "history.clicks_30d >= 1.0 && !(customer.visits > 2.0)",
        'customer.income > 0.0 || (customer.revenue_7d > 10.0 && "vegan" in customer.tags)',
        "!has(history.days_since_click) && customer.visits * 2.0 < 7.0",
        "customer.last_purchase < 20.0 && customer.affinity > 1.0",
    )
    offers = [offer_entry(str(place), eligible=condition) for place, condition in enumerate(conditions)]
    service = Service(catalog_document(offers, [{"id": "home", "channel": "web", "slots": 9}], aggregates=AGGREGATES))
    names = _live(service, Random(5))

    counted = [await count(service, condition) for condition in conditions]

    # Whoever is one customer is asked for once; nothing is noted, as it would count as a contact.
    found = [offer_ids(service.rank(name, validate_only=True)) for name in names]
    assert counted == [sum(str(place) in shown for shown in found) for place in range(len(conditions))]
    assert all(0 < each < len(names) for each in counted)


def _live(service: Service, random: Random) -> list[str]:
    """Has customers do something of everything; returns an identifier of each."""
    subject = ContactSubject("0", "home", "web", "discount")
    names = [f"c{place}" for place in range(120)]
    for name in names:
        service.set(name, visits=float(random.randint(0, 5)))
        if random.random() < 0.5:
            service.set(name, tier=random.choice(["gold", "basic"]), tags=("vegan",), income=random.choice([-1.0, 1.0]))
        if random.random() < 0.5:
            service.consent("personalization", random.random() < 0.7, name)
        if random.random() < 0.5:
            service.change(name, Event("purchase", {"amount": float(random.randint(1, 30))}))
        if random.random() < 0.4:
            time_us = microseconds_of(service.clock.now)
            clicked = Outcome(f"click-{name}", ContactKind.CLICK, time_us, customer_id=name, offer_id="0")
            service.writer.write(OutcomesReported(time_us, (clicked,), (subject,)))
        service.clock.advance(hours=5)
    for place in range(0, 60, 3):
        service.writer.write(linked(names[place], names[place + 1]))
    return [name for place, name in enumerate(names) if place >= 60 or place % 3 != 1]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("customer.vists > 1.0", "condition: 1:1: unknown attribute customer.vists; did you mean customer.visits?"),
        ("customer.visits > 1.0 &&", "condition: 1:25:"),
        ("true &&\n  customer.visits == 'x'", "condition: 2:19:"),
        ('offer.department == "toys"', "an audience is asked of customers alone"),
        ("context.hour > 3.0", "an audience is asked of customers alone"),
        ("history.offer_clicks_7d > 1.0", "about one offer"),
        ("", "condition: is required"),
        ("  ", "condition: is required"),
        ("true" + " " * MAX_BYTES, "at most 4,096 bytes"),
    ],
)
async def test_condition_that_does_not_compile_is_refused(service: Service, condition: str, words: str) -> None:
    error = await refusal(service, condition)

    assert error.reason is ErrorReason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == ["condition"]
    assert words in error.message


async def test_nothing_is_counted_before_the_first_catalog() -> None:
    assert (await refusal(Service(), "true")).reason is ErrorReason.NO_CATALOG


@pytest.mark.usefixtures("page_by_page")
async def test_others_have_their_turn_between_pages(service: Service) -> None:
    fill(service, 3 * PAGE_ROWS + 5)
    task = asyncio.create_task(counting(service)("customer.visits >= 512.0"))

    had = [number async for number in turns(task)]

    assert task.result() == AudienceCount(2 * PAGE_ROWS + 5, 3 * PAGE_ROWS + 5, 2)
    assert len(had) >= 4


@pytest.mark.parametrize("pages", [1, 2, 3, 8])
async def test_the_count_does_not_depend_on_how_many_pages_go_together(
    service: Service, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    fill(service, 3 * PAGE_ROWS + 5)
    service.writer.write(linked("c2", f"c{2 * PAGE_ROWS}"))
    monkeypatch.setattr(audience, "_pages_for", lambda before, took_s: pages)

    counted = await counting(service)("customer.visits >= 2.0")

    assert (counted.count, counted.customers) == (3 * PAGE_ROWS + 2, 3 * PAGE_ROWS + 4)


@pytest.mark.usefixtures("page_by_page")
async def test_what_changes_meanwhile_is_counted_as_it_is_when_its_page_comes(service: Service) -> None:
    fill(service, 3 * PAGE_ROWS)
    task = asyncio.create_task(counting(service)("customer.visits < 0.0"))

    async for number in turns(task):
        if number == 2:
            service.set("c0", visits=-1.0)
            service.set(f"c{3 * PAGE_ROWS - 1}", visits=-1.0)
            service.set("new", visits=-1.0)

    assert task.result() == AudienceCount(2, 3 * PAGE_ROWS + 1, 2)


@pytest.mark.usefixtures("page_by_page")
async def test_other_attributes_meanwhile_end_the_count(service: Service) -> None:
    fill(service, 3 * PAGE_ROWS)
    count_audience = counting(service)
    task = asyncio.create_task(count_audience("customer.visits >= 0.0"))

    async for number in turns(task):
        if number == 2:
            service.publish(DOCUMENT | {"attributes": [*reversed(ATTRIBUTES)]})

    error = task.exception()
    assert isinstance(error, OpportuneError)
    assert error.reason is ErrorReason.CATALOG_CHANGED
    assert (await count_audience("customer.visits >= 0.0")).count == 3 * PAGE_ROWS


@pytest.mark.usefixtures("page_by_page")
async def test_other_offers_meanwhile_do_not(service: Service) -> None:
    fill(service, 3 * PAGE_ROWS)
    task = asyncio.create_task(counting(service)("customer.visits >= 0.0"))

    async for number in turns(task):
        if number == 2:
            service.publish(DOCUMENT | {"offers": [offer_entry("b")]})

    assert task.result().count == 3 * PAGE_ROWS


@pytest.mark.usefixtures("page_by_page")
async def test_at_most_so_many_are_counted_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(service, 2 * PAGE_ROWS)
    begun: list[AudienceScan] = []
    ended: list[AudienceScan] = []
    most = 0
    turn = AudienceScan.turn

    def watched(scan: AudienceScan) -> bool:
        nonlocal most
        if scan not in begun:
            begun.append(scan)
        more = turn(scan)
        if not more:
            ended.append(scan)
        most = max(most, len(begun) - len(ended))
        return more

    monkeypatch.setattr(AudienceScan, "turn", watched)
    count_audience = counting(service)

    counted = await asyncio.gather(*(count_audience("customer.visits >= 1.0") for _ in range(AT_ONCE + 3)))

    assert {each.count for each in counted} == {2 * PAGE_ROWS - 1}
    assert most == AT_ONCE


@pytest.mark.usefixtures("page_by_page")
async def test_callers_who_leave_and_conditions_that_are_refused_take_nobodys_place(service: Service) -> None:
    fill(service, 3 * PAGE_ROWS)
    count_audience = counting(service)
    for _ in range(AT_ONCE + 1):
        task = asyncio.create_task(count_audience("true"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(OpportuneError):
            await count_audience("nonsense")

    assert (await asyncio.wait_for(count_audience("true"), 10)).count == 3 * PAGE_ROWS
