"""Queries from requests."""

import pytest
from opportune.v1 import decision_service_pb2 as pb
from opportune.v1.value_pb2 import Value

from server.domain.errors import ErrorReason, OpportuneError
from server.wire.convert.decision import MAX_NESTED, query_from


def request_of(count: int, field: str) -> pb.RankOffersRequest:
    """A request with so many ids, or attributes, in a field."""
    if field == "context.attributes":
        attributes = {f"a{number}": Value(bool_value=True) for number in range(count)}
        return pb.RankOffersRequest(context=pb.Context(attributes=attributes))
    request = pb.RankOffersRequest()
    getattr(request, field).extend([""] * count)
    return request


@pytest.mark.parametrize("field", ["candidate_offer_ids", "further_placement_ids", "context.attributes"])
def test_request_of_very_many_elements_is_refused_before_they_are_looked_at(field: str) -> None:
    query = query_from(request_of(MAX_NESTED, field))

    with pytest.raises(OpportuneError, match=field) as refused:
        query_from(request_of(MAX_NESTED + 1, field))

    assert (
        len(query.candidate_offer_ids) + len(query.further_placement_ids) + len(query.context.attributes) == MAX_NESTED
    )
    assert (refused.value.reason, refused.value.metadata) == (
        ErrorReason.REQUEST_TOO_LARGE,
        {"limit_elements": str(MAX_NESTED)},
    )
