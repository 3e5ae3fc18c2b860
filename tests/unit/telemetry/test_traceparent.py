import pytest

from server.telemetry.traceparent import Traceparent, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_header_names_trace_span_and_whether_it_is_sampled() -> None:
    assert parse(GOOD) == Traceparent(int(TRACE, 16), int(SPAN, 16), True)
    assert parse(f"00-{TRACE}-{SPAN}-00") == Traceparent(int(TRACE, 16), int(SPAN, 16), False)


@pytest.mark.parametrize(("flags", "is_sampled"), [("02", False), ("03", True), ("fe", False), ("ff", True)])
def test_only_the_last_bit_of_the_flags_is_for_sampling(flags: str, is_sampled: bool) -> None:
    parent = parse(f"00-{TRACE}-{SPAN}-{flags}")

    assert parent is not None
    assert parent.sampled is is_sampled


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"{GOOD}-more",
        f"{GOOD}0",
        f" {GOOD}",
    ],
)
def test_what_the_specification_says_to_ignore_is_ignored(header: str) -> None:
    assert parse(header) is None


def test_later_versions_may_have_more_at_the_end() -> None:
    assert parse(f"01-{TRACE}-{SPAN}-01-what-comes-later") is not None
