"""The example in the package's documentation does what it says."""

import asyncio
import textwrap
from typing import Any

import opportune.client
import pytest

from tests.support.fake_profile_service import FakeProfileService, FakeStream, rejected, serving
from tests.unit.client.publishing import TIMEOUT_S


async def test_example_publishes_and_prints_what_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    async def script(stream: FakeStream) -> None:
        await stream.open()
        await stream.take()
        await stream.acknowledge(rejected=[rejected(1, 0)])

    service = FakeProfileService(script)

    async with asyncio.timeout(TIMEOUT_S), serving(service) as address:
        await _example(address)["main"]()

    assert service.applied["crm"] == [(1, ("loyalty:42",))]
    assert capsys.readouterr().out.splitlines() == [
        "readable from profile version 101",
        "loyalty:42 INVALID_FIELD scripted INVALID_ARGUMENT",
    ]


def _example(address: str) -> dict[str, Any]:
    """The names that the example defines; what it would run is run by the test."""
    documentation = opportune.client.__doc__ or ""
    code = textwrap.dedent("\n".join(line for line in documentation.splitlines() if line[:4] in ("", "    ")))
    assert "localhost:50051" in code and "asyncio.run(main())" in code
    names: dict[str, Any] = {}
    exec(code.replace("localhost:50051", address).replace("asyncio.run(main())", ""), names)
    return names
