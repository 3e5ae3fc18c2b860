"""GetDecision and ReplayDecision over both transports, and `python -m server replay` beside the server."""

from pathlib import Path

import grpc
import pytest
from opportune.v1 import decision_pb2
from opportune.v1 import decision_service_pb2 as pb

from server.replaying import Places, ReplayElsewhere
from tests.integration.commands import run
from tests.integration.connection import Connection, delta, refusal
from tests.integration.test_data_folder import running
from tests.support.decision_records import record

MALFORMED = ["", "12", "g" * 32]


async def test_recorded_decision_is_told_with_what_each_loser_lacked(server: Connection) -> None:
    await server.apply_deltas(delta("recorded:1", visits=10, tier="basic"))
    answered = await server.rank("recorded:1", view=decision_pb2.DECISION_VIEW_FULL)

    told = await server.decisions.GetDecision(pb.GetDecisionRequest(decision_id=answered.decision_id))

    lacked = {exclusion.offer_id: exclusion.would_have_won_if for exclusion in told.exclusions}
    assert lacked["gold-only"].startswith("if customer.tier")
    assert 'customer.tier was "basic"' in lacked["gold-only"]
    for exclusion in told.exclusions:
        exclusion.would_have_won_if = ""
    assert told == answered


@pytest.mark.parametrize("decision_id", MALFORMED)
async def test_malformed_ids_are_refused(server: Connection, decision_id: str) -> None:
    for call in (
        server.decisions.GetDecision(pb.GetDecisionRequest(decision_id=decision_id)),
        server.decisions.ReplayDecision(pb.ReplayDecisionRequest(decision_id=decision_id)),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_decision_without_record_is_not_found(server: Connection) -> None:
    refused = await refusal(server.decisions.GetDecision(pb.GetDecisionRequest(decision_id="0" * 31 + "1")))

    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "DECISION_NOT_FOUND")


async def test_server_that_keeps_nothing_has_no_journal_to_replay(server: Connection) -> None:
    answered = await server.rank("recorded:2")

    refused = await refusal(server.decisions.ReplayDecision(pb.ReplayDecisionRequest(decision_id=answered.decision_id)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_GONE")
    assert refused.metadata["missing"] == "journal"


async def test_decision_is_replayed_beside_the_server(
    transport: str, tmp_path: Path, models: Path, shop_file: Path
) -> None:
    data = tmp_path / "data"
    async with running(transport, data=data, models=models, catalog=shop_file) as (app, server):
        await server.apply_deltas(delta("recorded:3", visits=10, tier="gold"))
        answered = await server.rank("recorded:3")
        await server.apply_deltas(delta("recorded:3", visits=1, tier="basic"))

        replayed = await server.decisions.ReplayDecision(pb.ReplayDecisionRequest(decision_id=answered.decision_id))

        assert replayed.identical
        assert replayed.decision == answered
        await app._service.stores.decisions.flush()
        beside = await run("replay", answered.decision_id, "--data", data, "--models", models)
        assert (beside.code, "is identical" in beside.output) == (0, True), beside
        nothing = await run("replay", "0" * 31 + "1", "--data", data, "--models", models)
        assert (nothing.code, "no record" in nothing.errors) == (1, True), nothing
        modelless = await run("replay", "--last", "1", "--data", data)
        assert (modelless.code, "model tiny/1, which is not here" in modelless.errors) == (1, True), modelless


async def test_replay_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    elsewhere = ReplayElsewhere(Places(tmp_path), limit_s=0.01)

    with pytest.raises(Exception, match="not done within"):
        await elsewhere(record(1))
