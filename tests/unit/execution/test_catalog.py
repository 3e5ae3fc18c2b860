import asyncio

import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.catalog import DEFAULT_PAGE, MAX_PAGE, Compile, ListOffers, PublishCatalog
from server.execution.compile import Compilation, compile_text
from server.execution.compiled import CompiledCatalog
from server.execution.finishing import CallerLeftError
from server.execution.state import State
from server.execution.writer import Writer
from tests.support.catalogs import catalog_document, catalog_text, offer_entry, placement_entry, text_of
from tests.support.clock import ManualClock
from tests.support.direct_writer import DirectWriter
from tests.support.gated_journal import GatedJournal, turns
from tests.support.models import Unprepared
from tests.support.service import Service

BROKEN = catalog_text([offer_entry("a", eligible="customer.vists > 1"), offer_entry("b") | {"tactic": ""}])


async def compile_here(text: str) -> Compilation:
    return compile_text(text, {})


def publishing(state: State, compiler: Compile) -> PublishCatalog:
    return PublishCatalog(state, DirectWriter(state), ManualClock(), compiler)


@pytest.fixture
def state() -> State:
    return State({})


@pytest.fixture
def publish(state: State) -> PublishCatalog:
    return publishing(state, compile_here)


async def test_published_catalog_is_served(state: State, publish: PublishCatalog) -> None:
    published = await publish(catalog_text([offer_entry("a"), offer_entry("b")]))

    assert (published.version, published.offer_count, published.placement_count) == (1, 2, 1)
    assert (state.catalog_version, state.catalog_etag) == (1, published.etag)


async def test_versions_count_up(publish: PublishCatalog) -> None:
    assert [(await publish(catalog_text())).version for _ in range(3)] == [1, 2, 3]


async def test_catalog_with_problems_is_refused_whole_and_the_old_one_goes_on(
    state: State, publish: PublishCatalog
) -> None:
    await publish(catalog_text([offer_entry("old")]))

    with pytest.raises(OpportuneError) as refused:
        await publish(BROKEN)

    assert refused.value.reason is ErrorReason.INVALID_CATALOG
    assert [violation.field for violation in refused.value.violations] == ["offers[0].eligible", "offers[1].tactic"]
    assert refused.value.metadata == {"problems": "2"}
    assert [offer.id for offer in state.catalog.offers.offers] == ["old"]


async def test_validated_catalog_is_not_published(state: State, publish: PublishCatalog) -> None:
    fine = await publish(catalog_text([offer_entry("a")]), validate_only=True)
    broken = await publish(BROKEN, validate_only=True)

    assert (fine.version, fine.offer_count, fine.problems) == (1, 1, ())
    assert [problem.path for problem in broken.problems] == ["offers[0].eligible", "offers[1].tactic"]
    assert state.catalog_version == 0


async def test_validation_tells_that_a_model_cannot_take_the_offers() -> None:
    model = Unprepared()
    manifests = {model.manifest.id: model.manifest}

    async def compiled(text: str) -> Compilation:
        return compile_text(text, manifests)

    publish = publishing(State({model.manifest.id: model}), compiled)
    text = catalog_text([offer_entry("a", attributes={"appeal": 0.5})], [placement_entry(model="fake/1")])

    checked = await publish(text, validate_only=True)

    assert [problem.path for problem in checked.problems] == ["placements"]


async def test_stale_etag_is_refused(state: State, publish: PublishCatalog) -> None:
    first = await publish(catalog_text())
    await publish(catalog_text([offer_entry("a")]), etag=first.etag)

    with pytest.raises(OpportuneError) as refused:
        await publish(catalog_text(), etag=first.etag)

    assert refused.value.reason is ErrorReason.ETAG_MISMATCH
    assert refused.value.metadata == {"etag": state.catalog_etag}
    assert state.catalog_version == 2


async def test_etag_is_checked_again_after_compiling(state: State) -> None:
    async def compile_slowly(text: str) -> Compilation:
        await asyncio.sleep(0)
        return compile_text(text, {})

    publish = publishing(state, compile_slowly)
    etag = (await publish(catalog_text())).etag

    outcomes = await asyncio.gather(
        *(publish(catalog_text([offer_entry(name)]), etag=etag) for name in "ab"), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["OpportuneError", "Publication"]
    assert state.catalog_version == 2


async def test_repeated_request_publishes_once(state: State, publish: PublishCatalog) -> None:
    first = await publish(catalog_text(), request_id="r1")

    assert await publish(catalog_text(), request_id="r1") == first
    assert state.catalog_version == 1


async def test_publication_whose_caller_leaves_while_it_is_committed_is_told_of_and_remembered(state: State) -> None:
    journal, served = GatedJournal(), list[CompiledCatalog]()
    writer = Writer(journal, state, None)
    writer.start()
    publish = PublishCatalog(state, writer, ManualClock(), compile_here, served=served.append)
    journal.gate.clear()
    left = asyncio.create_task(publish(catalog_text(), request_id="r1"))
    await turns()
    left.cancel()
    journal.gate.set()
    await turns()

    published = await publish(catalog_text(), request_id="r1")
    await writer.close()

    with pytest.raises(CallerLeftError):
        await left
    assert (published.version, state.catalog_version) == (1, 1)
    assert [catalog.etag for catalog in served] == [published.etag]


async def test_next_publication_waits_for_one_whose_caller_has_left(state: State) -> None:
    journal, compiled = GatedJournal(), list[str]()

    async def compile_noted(text: str) -> Compilation:
        compiled.append(text)
        return compile_text(text, {})

    writer = Writer(journal, state, None)
    writer.start()
    publish = PublishCatalog(state, writer, ManualClock(), compile_noted)
    journal.gate.clear()
    first, second = catalog_text(), catalog_text([offer_entry("a")])
    left = asyncio.create_task(publish(first))
    await turns()
    left.cancel()
    waiting = asyncio.create_task(publish(second))
    await turns()
    compiled_meanwhile = [*compiled]
    journal.gate.set()

    published = await waiting
    await writer.close()

    assert (compiled_meanwhile, compiled) == ([first], [first, second])
    assert (published.version, state.catalog_version) == (2, 2)


async def test_request_id_of_another_catalog_is_refused(publish: PublishCatalog) -> None:
    await publish(catalog_text(), request_id="r1")

    with pytest.raises(OpportuneError) as refused:
        await publish(catalog_text([offer_entry("a")]), request_id="r1")

    assert refused.value.reason is ErrorReason.REQUEST_ID_REUSED


async def test_refused_catalog_is_not_remembered(publish: PublishCatalog) -> None:
    for _ in range(2):
        with pytest.raises(OpportuneError) as refused:
            await publish(BROKEN, request_id="r1")
        assert refused.value.reason is ErrorReason.INVALID_CATALOG


def listing(count: int) -> ListOffers:
    offers = [offer_entry(f"o{n:04}", attributes={"even": n % 2 == 0}) for n in reversed(range(count))]
    return ListOffers(Service(catalog_document(offers)).state)


def test_pages_hold_every_offer_once_ordered_by_id() -> None:
    list_offers, token, found = listing(7), "", []
    while True:
        page, token, version = list_offers(3, token, "")
        found.append([offer.id for offer in page])
        assert version == 1
        if not token:
            break

    assert found == [["o0000", "o0001", "o0002"], ["o0003", "o0004", "o0005"], ["o0006"]]


def test_page_that_ends_with_the_last_offer_has_no_successor() -> None:
    assert listing(3)(3, "", "")[1] == ""


def test_page_size_has_a_default_and_a_maximum() -> None:
    list_offers = listing(MAX_PAGE + 1)

    assert len(list_offers(0, "", "")[0]) == DEFAULT_PAGE
    assert len(list_offers(MAX_PAGE + 1, "", "")[0]) == MAX_PAGE


def test_filter_applies_before_the_page_is_cut() -> None:
    list_offers = listing(7)

    first, token, _ = list_offers(3, "", "offer.even")
    second, end, _ = list_offers(3, token, "offer.even")

    assert [offer.id for offer in (*first, *second)] == ["o0000", "o0002", "o0004", "o0006"]
    assert end == ""


@pytest.mark.parametrize(
    ("size", "token", "text", "field"),
    [(-1, "", "", "page_size"), (0, "a", "", "page_token"), (0, "/w==", "", "page_token"), (0, "", "offer.", "filter")],
)
def test_listing_refuses_what_does_not_fit(size: int, token: str, text: str, field: str) -> None:
    with pytest.raises(OpportuneError) as refused:
        listing(1)(size, token, text)

    assert refused.value.violations[0].field == field


def test_token_of_other_characters_is_refused() -> None:
    with pytest.raises(OpportuneError):
        listing(1)(0, "!!!!", "")


def test_listing_without_a_catalog_says_so(state: State) -> None:
    with pytest.raises(OpportuneError) as refused:
        ListOffers(state)(0, "", "")

    assert refused.value.reason is ErrorReason.NO_CATALOG


def test_texts_of_tests_have_no_aliases() -> None:
    document = catalog_document([offer_entry("a")] * 2)

    assert "*" not in text_of(document)
