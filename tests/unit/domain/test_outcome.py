from server.domain.contact import ContactKind, ContactSubject
from server.domain.outcome import Outcome, event_of, event_type


def test_outcome_is_an_event_of_its_kind_with_what_it_brought() -> None:
    outcome = Outcome("o1", ContactKind.CONVERTED, 5, offer_id="other", revenue=12.5, profit=2.5)

    event = event_of(outcome, ContactSubject("a", "home", "web", "discount", "beverages"))

    assert event.type == event_type(ContactKind.CONVERTED) == "offer_converted"
    assert event.properties == {
        "revenue": 12.5,
        "profit": 2.5,
        "offer_id": "a",
        "placement_id": "home",
        "tactic": "discount",
        "exclusion_group": "beverages",
    }


def test_outcome_of_no_decision_says_what_its_caller_said() -> None:
    event = event_of(Outcome("o1", ContactKind.CLICK, 5, offer_id="a", placement_id="home"), None)

    assert event.properties == {"revenue": 0.0, "profit": 0.0, "offer_id": "a", "placement_id": "home"}
