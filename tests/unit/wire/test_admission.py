import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.pressure import INTERVAL_NS, LEVELS, Pressure, Tier
from server.telemetry.heartbeat import EVERY_S, Heartbeat
from server.wire.admission import LONGEST_RETRY_MS, SHORTEST_RETRY_MS, Admission, retry_ms, tier_of
from server.wire.call import Call
from server.wire.status import PUSHBACK_KEY, wire_status

MS = 1_000_000
RANK = "/opportune.v1.DecisionService/RankOffers"
BATCH = "/opportune.v1.DecisionService/BatchRankOffers"
STREAM = "/opportune.v1.ProfileService/StreamProfileDeltas"


class Setting:
    """An admission with its parts, and the time."""

    def __init__(self) -> None:
        self.now_ns = INTERVAL_NS
        self.pressure = Pressure()
        self.heartbeat = Heartbeat(lambda: self.now_ns)
        self.admission = Admission(self.pressure, self.heartbeat, 0.2, clock_ns=lambda: self.now_ns, chance=lambda: 0.5)

    def press(self, level: int) -> None:
        """Has the queue stand until the level is reached."""
        for _ in range(level):
            self.pressure.waited(50 * MS, 50 * MS, self.now_ns)
            self.now_ns += INTERVAL_NS
        assert self.pressure.at(self.now_ns) == level

    def lag(self, ns: int) -> None:
        """Has the loop be late by so much, all the time."""
        for _ in range(4):
            self.now_ns += int(EVERY_S * 1e9) + ns
            self.heartbeat.beat()


@pytest.fixture
def setting() -> Setting:
    return Setting()


@pytest.mark.parametrize(
    ("path", "tier"),
    [
        (RANK, Tier.LIVE),
        (BATCH, Tier.LATER),
        ("/opportune.v1.AudienceService/CountAudience", Tier.LATER),
        ("/opportune.v1.DecisionService/GetDecision", Tier.LATER),
        ("/opportune.v1.ProfileService/LoadProfiles", Tier.BULK),
        (STREAM, Tier.CONTROL),
        ("/opportune.v1.CatalogService/ApplyCatalog", Tier.CONTROL),
        ("/somebody.Else/SomethingNew", Tier.LATER),
    ],
)
def test_method_decides_who_goes_first(path: str, tier: Tier) -> None:
    assert tier_of(path) is tier


def test_metadata_of_a_caller_do_not_change_its_tier(setting: Setting) -> None:
    setting.press(LEVELS)
    call = Call((("priority", "live"), ("x-tier", "0")), "", 1.0, 0.0)

    with pytest.raises(OpportuneError):
        setting.admission(BATCH, call)


def test_refusal_says_when_to_try_again(setting: Setting) -> None:
    refusal = setting.admission.entering(Tier.LIVE, 0.1, 500 * MS)

    assert refusal is not None
    assert (refusal.reason, refusal.reason.kind.name) == (ErrorReason.OVERLOADED, "RESOURCE_EXHAUSTED")
    assert refusal.retry_after_ms is not None
    assert refusal.retry_after_ms >= 400
    assert (PUSHBACK_KEY, str(refusal.retry_after_ms)) in wire_status(refusal).metadata


def test_status_of_a_refusal_has_its_own_delay(setting: Setting) -> None:
    first, second = (setting.admission.entering(Tier.LIVE, 0.1, wait * MS) for wait in (100, 3_000))
    assert first is not None
    assert second is not None

    assert wire_status(first) != wire_status(second)


def test_call_without_deadline_is_taken_to_have_the_default_one(setting: Setting) -> None:
    assert setting.admission.entering(Tier.LIVE, None, 90 * MS) is None
    assert setting.admission.entering(Tier.LIVE, None, 110 * MS) is not None


def test_call_that_would_not_wait_is_let_in_at_any_pressure(setting: Setting) -> None:
    setting.press(LEVELS)

    setting.admission(RANK, Call(time_left_s=0.005, waited_s=0.0))


def test_call_that_was_let_in_is_answered_if_that_is_still_in_time(setting: Setting) -> None:
    setting.press(LEVELS)

    setting.admission(RANK, Call(time_left_s=0.01, waited_s=0.09))
    with pytest.raises(OpportuneError):
        setting.admission(RANK, Call(time_left_s=0.002, waited_s=0.09))


def test_streams_of_deltas_and_what_operators_do_are_let_in_at_any_pressure(setting: Setting) -> None:
    setting.press(LEVELS)

    setting.admission(STREAM, Call())
    assert setting.admission.entering(Tier.CONTROL, 0.001, 10_000 * MS) is None


def test_loop_that_lags_counts_as_a_wait_where_the_transport_knows_none(setting: Setting) -> None:
    setting.admission(RANK, Call(time_left_s=0.1))
    setting.lag(70 * MS)

    with pytest.raises(OpportuneError):
        setting.admission(RANK, Call(time_left_s=0.1))
    setting.admission(RANK, Call(time_left_s=1.0))


def test_calls_that_wait_for_long_raise_the_level_and_streams_do_not(setting: Setting) -> None:
    for path in (STREAM, RANK):
        setting.admission(path, Call(time_left_s=0.1, waited_s=0.05))
        setting.now_ns += INTERVAL_NS

        assert setting.pressure.at(setting.now_ns) == (path == RANK)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_delays_grow_with_excess_and_level(chance: float) -> None:
    by_excess = [retry_ms(excess_ms * MS, 0, chance) for excess_ms in (1, 100, 1_000, 10**6)]
    by_level = [retry_ms(100 * MS, level, chance) for level in range(0, LEVELS + 1, 2)]

    assert by_excess == sorted(by_excess)
    assert len(set(by_level)) == len(by_level)
    assert by_level == sorted(by_level)
    assert all(SHORTEST_RETRY_MS <= ms <= LONGEST_RETRY_MS + 200 for ms in by_excess + by_level)


def test_delays_of_those_refused_together_differ() -> None:
    delays = {retry_ms(100 * MS, 2, chance / 100) for chance in range(101)}

    assert max(delays) >= 2.5 * min(delays)
    assert len(delays) > 5
