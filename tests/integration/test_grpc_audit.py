"""The audit log of a running server: what callers did is in it, no customer is, and a full disk stops what it must."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opportune.v1 import catalog_service_pb2
from opportune.v1 import profile_service_pb2 as pb

from server.app import start
from server.domain.errors import ErrorReason, OpportuneError
from server.settings import Settings
from server.storage.audit_chain import verify
from tests.integration.catalogs import market, text_of
from tests.integration.commands import run
from tests.integration.connection import TIMEOUT_S, Connection, connected, refusal
from tests.integration.delta_streams import visit
from tests.support.audit import written
from tests.support.credentials import bearer, tokens_file

ROLES = {"desk": "privacy", "crm": "ingest", "web": "rank", "editor": "catalog"}
CUSTOMERS = ("loyalty:98765", "cookie:13579")
AT_START = 2
"""Lines about the catalog with which a server starts."""


@asynccontextmanager
async def serving(transport: Any, folder: Path, market_file: Path) -> AsyncIterator[Connection]:
    async with AsyncExitStack() as stack:
        settings = Settings(
            listen="127.0.0.1:0",
            transport=transport,
            catalog=market_file,
            data=folder / "data",
            tokens=tokens_file(folder, **ROLES),
        )
        app = await start(settings, stack)
        yield await stack.enter_async_context(connected(app.port))


def acts(folder: Path) -> list[dict[str, Any]]:
    """What callers did."""
    return written(folder)[AT_START:]


def another(market_file: Path, folder: Path) -> Path:
    """A catalog that differs from the file's by an empty line, which makes it another one."""
    path = folder / "another.yaml"
    path.write_text(f"{market_file.read_text()}\n")
    return path


def by(name: str) -> dict[str, Any]:
    return {"timeout": TIMEOUT_S, "metadata": bearer(f"{name}-token")}


def customer(number: int, of: type[Any] = pb.EraseProfileRequest) -> Any:
    return of(customer_id=CUSTOMERS[number])


async def export(server: Connection, name: str) -> None:
    async for _ in server.profiles.ExportProfile(customer(0, pb.ExportProfileRequest), **by(name)):
        pass


async def test_what_callers_do_is_in_the_log_and_no_identifier_is(
    transport: Any, tmp_path: Path, market_file: Path
) -> None:
    async with serving(transport, tmp_path, market_file) as server:
        call = server.profiles.StreamProfileDeltas(**by("crm"))
        await call.write(pb.StreamProfileDeltasRequest(source="tills", sequence=1, deltas=[visit(CUSTOMERS[0])]))
        await call.read()
        await call.done_writing()
        await call.read()
        link = pb.LinkIdentifiersRequest(customer_id=CUSTOMERS[0], other_id=CUSTOMERS[1])
        linked = await server.profiles.LinkIdentifiers(link, **by("crm"))
        await export(server, "desk")
        again = catalog_service_pb2.ApplyCatalogRequest(catalog=text_of(market()))
        published = await server.catalogs.ApplyCatalog(again, **by("editor"))
        await server.profiles.EraseProfile(customer(0), **by("desk"))
        await refusal(server.profiles.EraseProfile(customer(0), **by("web")))

    lines = acts(tmp_path / "data" / "audit")
    found = {(line["caller"], line["method"].partition(".")[2], line["phase"], line["status"]) for line in lines}
    assert found == {
        ("crm", "StreamProfileDeltas", "begun", ""),
        ("crm", "StreamProfileDeltas", "ended", "OK"),
        ("crm", "LinkIdentifiers", "ended", "OK"),
        ("desk", "ExportProfile", "begun", ""),
        ("desk", "ExportProfile", "ended", "OK"),
        ("editor", "ApplyCatalog", "begun", ""),
        ("editor", "ApplyCatalog", "ended", "OK"),
        ("desk", "EraseProfile", "begun", ""),
        ("desk", "EraseProfile", "ended", "OK"),
    }
    assert [line["details"] for line in lines if line["method"].endswith("ApplyCatalog")][1] == {
        "catalog_version": str(published.catalog_version)
    }
    files = b"".join(path.read_bytes() for path in (tmp_path / "data" / "audit").iterdir())
    assert not any(name.encode() in files for name in CUSTOMERS)
    exported, erased = (
        next(line["subjects"] for line in lines if line["method"].endswith(method))
        for method in ("ExportProfile", "EraseProfile")
    )
    assert exported == erased and len(exported) == 1
    # Who brings links is not told whom they join.
    assert linked == type(linked)(profile_version=linked.profile_version)
    assert linked.profile_version


async def test_calls_that_must_not_go_unnoticed_are_refused_while_the_disk_is_full(
    transport: Any, tmp_path: Path, market_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with serving(transport, tmp_path, market_file) as server:
        await server.profiles.ApplyProfileDeltas(
            pb.ApplyProfileDeltasRequest(source="tills", deltas=[visit(CUSTOMERS[0])]), **by("crm")
        )
        with monkeypatch.context() as broken:
            broken.setattr("server.storage.audit._write_at", full)
            again = catalog_service_pb2.ApplyCatalogRequest(catalog=text_of(market()))
            refused = [
                (await refusal(call)).reason
                for call in (
                    server.profiles.EraseProfile(customer(0), **by("desk")),
                    export(server, "desk"),
                    server.catalogs.ApplyCatalog(again, **by("editor")),
                )
            ]
            link = pb.LinkIdentifiersRequest(customer_id=CUSTOMERS[0], other_id=CUSTOMERS[1])
            await server.profiles.LinkIdentifiers(link, **by("crm"))
            profile = await server.profiles.GetProfile(customer(0, pb.GetProfileRequest), **by("desk"))

        await server.profiles.EraseProfile(customer(0), **by("desk"))

    assert refused == ["AUDIT_FAILED"] * 3
    assert profile.attributes["visits"].number_value == 1
    methods = [line["method"].partition(".")[2] for line in acts(tmp_path / "data" / "audit")]
    assert methods == ["ApplyProfileDeltas", "LinkIdentifiers", "EraseProfile", "EraseProfile"]


async def test_log_is_verified_by_a_command_also_beside_the_server(
    transport: Any, tmp_path: Path, market_file: Path
) -> None:
    verifying = ("audit", "verify", "--data", tmp_path / "data")
    async with serving(transport, tmp_path, market_file) as server:
        await refusal(server.profiles.EraseProfile(customer(0), **by("desk")))
        beside = await run(*verifying)
    path = next((tmp_path / "data" / "audit").glob("audit-*"))
    path.write_bytes(path.read_bytes().replace(b'"desk"', b'"dusk"', 1))
    broken = await run(*verifying)
    missing = await run("audit", "verify", "--data", tmp_path)

    last = verify_last(beside.output)
    assert (beside.code, last) == (0, AT_START + 2), beside.errors
    assert broken.code == 1 and f"BROKEN: {path.name}, line {AT_START + 1}:" in broken.output
    assert missing.code == 1 and "there is no audit log" in missing.errors


async def test_server_does_not_start_with_a_log_that_was_cut_short(
    transport: Any, tmp_path: Path, market_file: Path
) -> None:
    async with serving(transport, tmp_path, market_file) as server:
        await refusal(server.profiles.EraseProfile(customer(0), **by("desk")))
    path = next((tmp_path / "data" / "audit").glob("audit-*"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

    with pytest.raises(RuntimeError, match=f"ends with line {AT_START + 1}, and its head says {AT_START + 2}"):
        async with serving(transport, tmp_path, market_file):
            pass


async def test_catalog_that_comes_with_a_start_is_in_the_log_once(
    transport: Any, tmp_path: Path, market_file: Path
) -> None:
    for _ in range(2):
        async with serving(transport, tmp_path, market_file):
            pass
    async with serving(transport, tmp_path, another(market_file, tmp_path)):
        pass

    lines = written(tmp_path / "data" / "audit")
    assert [(line["method"], line["phase"], line["details"]["catalog_version"]) for line in lines] == [
        ("serve", "begun", "1"),
        ("serve", "ended", "1"),
        ("serve", "begun", "2"),
        ("serve", "ended", "2"),
    ]


async def test_start_with_another_catalog_is_refused_while_the_log_cannot_be_written(
    transport: Any, tmp_path: Path, market_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with serving(transport, tmp_path, market_file):
        pass
    with monkeypatch.context() as broken:
        broken.setattr("server.storage.audit._write_at", full)
        with pytest.raises(OpportuneError) as caught:
            async with serving(transport, tmp_path, another(market_file, tmp_path)):
                pass
    verified = await run("audit", "verify", "--data", tmp_path / "data")

    assert caught.value.reason is ErrorReason.AUDIT_FAILED
    assert verify_last(verified.output) == AT_START, verified.errors


async def test_server_without_a_data_folder_keeps_the_log_that_it_is_told_to(
    transport: Any, tmp_path: Path, market_file: Path
) -> None:
    async with AsyncExitStack() as stack:
        settings = Settings(listen="127.0.0.1:0", transport=transport, catalog=market_file, audit=tmp_path / "audit")
        app = await start(settings, stack)
        server = await stack.enter_async_context(connected(app.port))
        await refusal(server.profiles.EraseProfile(customer(0), timeout=TIMEOUT_S))

    assert verify(tmp_path / "audit").last.number == AT_START + 2
    assert {line["caller"] for line in written(tmp_path / "audit")} == {""}


def verify_last(output: str) -> int:
    """The number of the head that the command has printed."""
    return int(output.rpartition("the head is ")[2].split()[0])
