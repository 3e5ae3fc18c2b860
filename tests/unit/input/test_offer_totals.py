from server.domain.contact import ContactKind
from server.input.offer_totals import OfferTotals

NOTHING = dict.fromkeys(list(ContactKind)[1:], 0)


def test_subject_without_outcomes_has_brought_nothing() -> None:
    total = OfferTotals().of(5)

    assert total.contacts == NOTHING
    assert (total.revenue, total.profit) == (0.0, 0.0)


def test_totals_count_stages_and_add_up_amounts() -> None:
    totals = OfferTotals()

    totals.add(5, (ContactKind.IMPRESSION, ContactKind.ACCEPTED), 10.0, 2.5)
    totals.add(5, (ContactKind.CONVERTED,), 1.5, 0.25)
    totals.add(5, (), 0.5, 0.0)
    totals.add(2, (ContactKind.CLICK,), 0.0, 0.0)

    of_five = totals.of(5)
    assert of_five.contacts == NOTHING | dict.fromkeys((1, 3, 5), 1)
    assert (of_five.revenue, of_five.profit) == (12.0, 2.75)
    assert totals.of(2).contacts[ContactKind.CLICK] == 1
    assert totals.of(3).contacts == NOTHING


def test_totals_come_back_as_of_the_capture() -> None:
    totals = OfferTotals()
    totals.add(1, (ContactKind.CLICK,), 4.0, 1.0)
    capture = totals.capture()
    totals.add(1, (ContactKind.CLICK,), 4.0, 1.0)

    again = OfferTotals()
    again.restore([dict(page.arrays) for page in capture])

    assert again.of(1).contacts[ContactKind.CLICK] == 1
    again.add(7, (ContactKind.CLICK,), 2.0, 0.0)
    assert (again.of(1).revenue, again.of(7).revenue) == (4.0, 2.0)
