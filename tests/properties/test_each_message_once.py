"""A message counts once, whatever is sent twice, cut otherwise, overtaken by another source or restarted in between."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import OpportuneError
from server.domain.profile import ProfileDelta
from server.storage.codec import decode, encode
from tests.properties.histories import CUSTOMERS, DOCUMENT, deltas
from tests.support.folds import captured, digest, folded, profiles_of, restored
from tests.support.service import Service

Message = tuple[int, Sequence[ProfileDelta | OpportuneError]]

by_crm = st.lists(deltas(parity=0, alone=True), max_size=10)
by_shop = st.lists(deltas(parity=1, alone=False), max_size=10)
cuts = st.lists(st.integers(0, 10), max_size=4)
steps = st.lists(
    st.tuples(st.sampled_from(["crm", "shop"]), st.integers(0, 4), st.sampled_from(["", "", "", "restart", "replay"])),
    max_size=25,
)
"""Who sends next, how far back it begins again, and what happens to the server then."""


def messages(sequence: Sequence[ProfileDelta], cut_at: Sequence[int]) -> list[Message]:
    """The deltas cut at these places, numbered with gaps; an empty message would be a question."""
    bounds = [0, *sorted(cut % (len(sequence) + 1) for cut in cut_at), len(sequence)]
    portions = [sequence[start:end] for start, end in pairwise(bounds) if start < end]
    return [(10 + 3 * number, portion) for number, portion in enumerate(portions)]


@dataclass
class Producer:
    """Sends messages in their order, now and then from further back, as after a lost answer."""

    source: str
    messages: list[Message]
    sent: int = field(default=0)

    def send(self, service: Service, back: int) -> None:
        """Sends the next message, or one that was sent already and all behind it."""
        start = max(self.sent - back, 0)
        self.sent = min(self.sent + 1, len(self.messages))
        for sequence, portion in self.messages[start : self.sent]:
            applied = service.apply_deltas(self.source, sequence, portion)
            assert not applied.rejected
            assert applied.acknowledged_sequence >= sequence

    def finish(self, service: Service) -> None:
        """Sends what is left."""
        while self.sent < len(self.messages):
            self.send(service, 0)


def restart(service: Service, how: str) -> None:
    """Puts the same facts in the place of the service's: of a snapshot, or of its journal read again."""
    if how == "restart":
        service.state.facts = restored(captured(service.state.facts))
    elif how == "replay":
        service.state.facts = folded(decode(encode(entry)) for entry in service.writer.entries)


def delivered(crm: list[Message], shop: list[Message], order: Sequence[tuple[str, int, str]] = ()) -> Service:
    """A service that was sent all messages."""
    service = Service(DOCUMENT)
    producers = {"crm": Producer("crm", crm), "shop": Producer("shop", shop)}
    for source, back, then in order:
        producers[source].send(service, back)
        restart(service, then)
    for producer in producers.values():
        producer.finish(service)
    return service


@given(by_crm, by_shop, cuts, cuts, steps)
def test_facts_are_those_of_each_message_once_in_any_interleaving(
    crm: list[ProfileDelta],
    shop: list[ProfileDelta],
    crm_cuts: list[int],
    shop_cuts: list[int],
    order: list[tuple[str, int, str]],
) -> None:
    plainly = delivered(messages(crm, []), messages(shop, []))
    somehow = delivered(messages(crm, crm_cuts), messages(shop, shop_cuts), order)
    known = [customer for customer in CUSTOMERS if plainly.state.profiles.find(customer) >= 0]

    assert digest(somehow.state.facts) == digest(plainly.state.facts)
    assert profiles_of(somehow.state.facts, known) == profiles_of(plainly.state.facts, known)
    for source, sent in (("crm", messages(crm, crm_cuts)), ("shop", messages(shop, shop_cuts))):
        assert somehow.sources.watermark(source) == max((sequence for sequence, _ in sent), default=0)


@given(by_crm, cuts, steps)
def test_what_is_acknowledged_is_visible_and_what_is_sent_again_writes_nothing(
    crm: list[ProfileDelta], crm_cuts: list[int], order: list[tuple[str, int, str]]
) -> None:
    sent = messages(crm, crm_cuts)
    service = delivered(sent, [])
    before = (digest(service.state.facts), len(service.writer.entries))

    for _, back, then in order:
        restart(service, then)
        for sequence, portion in sent[-back:]:
            applied = service.apply_deltas("crm", sequence, portion)
            assert applied.acknowledged_sequence == service.sources.watermark("crm")

    assert (digest(service.state.facts), len(service.writer.entries)) == before
