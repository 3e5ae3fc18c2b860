import pytest

from server.domain.clock import time_of
from server.domain.errors import OpportuneError
from server.domain.journal import DeltasRejected, Rejection
from server.execution.rejected import ListRejectedDeltas, RecordedRejection
from server.storage.memory_journal import MemoryJournal
from tests.support.clock import NOON_US
from tests.support.folds import received


def entry(source: str, sequence: int, count: int) -> DeltasRejected:
    rejections = tuple(Rejection(10 * place, "INVALID_FIELD", f"{source}{sequence}") for place in range(count))
    return DeltasRejected(NOON_US, source, sequence, rejections)


@pytest.fixture
async def journal() -> MemoryJournal:
    made = MemoryJournal()
    await made.append([entry("crm", 1, 3), received(), entry("shop", 1, 1), received(), entry("crm", 2, 2)])
    return made


async def everything(listing: ListRejectedDeltas, source: str, page_size: int) -> list[list[RecordedRejection]]:
    pages, token = [], ""
    while True:
        page, token = await listing(source, page_size, token)
        pages.append(page)
        if not token:
            return pages


async def test_refused_deltas_are_listed_oldest_first(journal: MemoryJournal) -> None:
    page, token = await ListRejectedDeltas(journal)("", 0, "")

    assert [(each.source, each.sequence, each.place) for each in page] == [
        ("crm", 1, 0), ("crm", 1, 10), ("crm", 1, 20), ("shop", 1, 0), ("crm", 2, 0), ("crm", 2, 10)
    ]  # fmt: skip
    assert token == ""
    assert page[3] == RecordedRejection("shop", 1, 0, "INVALID_FIELD", "shop1", time_of(NOON_US))


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize(("source", "count"), [("", 6), ("crm", 5), ("shop", 1), ("other", 0)])
async def test_pages_together_are_everything_once(
    journal: MemoryJournal, source: str, count: int, page_size: int
) -> None:
    pages = await everything(ListRejectedDeltas(journal), source, page_size)

    found = [each for page in pages for each in page]
    assert len(found) == len(set(found)) == count
    assert all(len(page) == page_size for page in pages[:-1])


async def test_page_that_ends_with_the_last_one_has_no_token(journal: MemoryJournal) -> None:
    assert (await ListRejectedDeltas(journal)("", 6, ""))[1] == ""


async def test_rejections_that_come_between_two_pages_come_last(journal: MemoryJournal) -> None:
    listing = ListRejectedDeltas(journal)
    first, token = await listing("crm", 4, "")

    await journal.append([entry("crm", 3, 1)])
    second, _ = await listing("crm", 4, token)

    assert [each.sequence for each in [*first, *second]] == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("source", "page_size", "token", "field"),
    [
        ("a b", 0, "", "source"),
        ("", -1, "", "page_size"),
        ("", 0, "x", "page_token"),
        ("", 0, "1", "page_token"),
        ("", 0, "-1.0", "page_token"),
        ("", 0, "9" * 50 + ".0", "page_token"),
    ],
)
async def test_question_that_makes_no_sense_is_refused(
    journal: MemoryJournal, source: str, page_size: int, token: str, field: str
) -> None:
    with pytest.raises(OpportuneError) as refused:
        await ListRejectedDeltas(journal)(source, page_size, token)

    assert refused.value.violations[0].field == field
