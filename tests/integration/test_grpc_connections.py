"""Connections over time."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loadtest.http2 import Connection, ServerLeftError
from server.app import start
from server.settings import Settings
from tests.integration.connection import TIMEOUT_S, connected

AGE_MINUTES = 0.01


async def test_connection_of_some_age_is_ended_and_no_call_fails(shop_file: Path, models: Path) -> None:
    async with AsyncExitStack() as stack:
        # `auto` takes the transport that can.
        settings = Settings(
            listen="127.0.0.1:0", catalog=shop_file, models=models, max_connection_age_minutes=AGE_MINUTES
        )
        app = await start(settings, stack)
        connection = await stack.enter_async_context(connected(app.port))
        idle = Connection(f"127.0.0.1:{app.port}", lambda *ended: None)
        stack.callback(idle.close)

        with pytest.raises(ServerLeftError):
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    idle.read()
                    assert (await connection.rank("age:1")).offers
                    await asyncio.sleep(0.01)
        for _ in range(20):
            assert (await connection.rank("age:1")).offers
