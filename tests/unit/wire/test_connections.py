from server.wire.connections import Connections, grpcio_options


def test_callers_may_ping_every_ten_seconds_whatever_else_is_asked_for() -> None:
    options = dict(grpcio_options(Connections()))

    assert options["grpc.http2.min_ping_interval_without_data_ms"] == 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.keepalive_time_ms"] == 30_000


def test_connections_are_kept_unless_they_have_an_age() -> None:
    kept, ended = grpcio_options(Connections()), dict(grpcio_options(Connections(age_s=0.5, grace_s=2.0)))

    assert not [name for name, _ in kept if "max_connection_age" in name]
    assert (ended["grpc.max_connection_age_ms"], ended["grpc.max_connection_age_grace_ms"]) == (500, 2_000)


def test_core_refuses_for_sure_what_is_an_eighth_too_much() -> None:
    options = dict(grpcio_options(Connections(pending=8, streams=5)))

    assert options["grpc.server.max_pending_requests"] == 8
    assert options["grpc.server.max_pending_requests_hard_limit"] == 9
    assert options["grpc.max_concurrent_streams"] == 5
