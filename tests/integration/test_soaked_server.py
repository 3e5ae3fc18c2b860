"""The scenario `soak` against real servers, too short to mean anything."""

from loadtest.soak import SoakOptions, soak, soak_table


def test_soak_counts_what_a_server_holds(transport: str) -> None:
    figures = soak(SoakOptions(calls=400, streams=80, offers=50, profiles=200, transport=transport))

    calls = figures["calls"]
    assert isinstance(calls, int)
    # Callers who have sent a call when there are enough wait for it, too, and some send one more meanwhile.
    assert 400 <= calls <= 400 + 20 * 2 * 16
    assert figures["streams_cancelled"] == 80
    assert isinstance(figures["rss_slope_mib_per_100k_calls"], float)
    readings = figures["readings"]
    assert isinstance(readings, list)
    assert all(min(reading["descriptors"], reading["threads"], reading["tasks"]) > 0 for reading in readings)
    assert "streams cancelled" in soak_table(figures)
