from random import Random

from server.telemetry.sampling import Sampler
from server.wire.call import Call

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


def call(traceparent: str = "") -> Call:
    return Call((("user-agent", "test"), ("traceparent", traceparent))) if traceparent else Call()


def test_caller_decides_for_calls_of_its_trace() -> None:
    always, never = Sampler(1.0, Random(1).getrandbits), Sampler(0.0, Random(1).getrandbits)

    trace = never(call(f"{PARENT}-01"))

    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert always(call(f"{PARENT}-00")) is None
    assert always(call(f"{PARENT}-02")) is None


def test_share_of_the_other_calls_is_traced_each_under_an_id_of_its_own() -> None:
    sampler = Sampler(0.25, Random(1).getrandbits)

    traces = [trace for _ in range(4_000) if (trace := sampler(call())) is not None]

    assert 850 < len(traces) < 1_150
    assert len({trace.trace_id for trace in traces}) == len(traces)
    assert not any(trace.parent_id for trace in traces)


def test_nothing_and_everything_are_shares_too() -> None:
    assert Sampler(0.0, Random(1).getrandbits)(call()) is None
    assert all(Sampler(1.0, Random(seed).getrandbits)(call()) for seed in range(100))


def test_header_that_is_none_does_not_count_as_a_parent() -> None:
    trace = Sampler(1.0, Random(1).getrandbits)(call("nonsense"))

    assert trace is not None
    assert trace.parent_id == 0


def test_header_that_ends_like_one_that_is_not_sampled_is_not_sampled() -> None:
    assert Sampler(1.0, Random(1).getrandbits)(call(f"{'x' * 52}-00")) is None
    assert Sampler(1.0, Random(1).getrandbits)(call("-00")) is not None
