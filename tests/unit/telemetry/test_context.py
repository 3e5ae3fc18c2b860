from server.telemetry.context import CURRENT, CallContext, note_reason
from server.wire.call import Call

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def request_id(**metadata: str) -> str:
    return CallContext(Call(tuple((key.replace("_", "-"), value) for key, value in metadata.items()))).request_id


def test_request_has_the_id_that_its_caller_gave_it() -> None:
    assert request_id(x_request_id="abc-123", traceparent=TRACEPARENT) == "abc-123"


def test_request_without_id_has_that_of_its_trace() -> None:
    assert request_id(traceparent=TRACEPARENT) == "0af7651916cd43dd8448eb211c80319c"


def test_id_is_made_once_where_there_is_none() -> None:
    context = CallContext(Call())

    assert len(context.request_id) == 32
    assert context.request_id == context.request_id
    assert context.request_id != CallContext(Call()).request_id


def test_id_that_may_be_anything_is_not_taken() -> None:
    for given in ("anna@example.com", "Anna Müller", "a" * 65, "a\nb", "loyalty:42"):
        assert request_id(x_request_id=given) != given


def test_reason_is_noted_with_the_call_of_now() -> None:
    note_reason("NOBODY_ASKED")
    context = CallContext(Call())
    token = CURRENT.set(context)

    note_reason("INVALID_FIELD")
    CURRENT.reset(token)

    assert context.reason == "INVALID_FIELD"
