"""A server's state over a real data folder, without transport: what decisions and deltas go through in between."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from server.domain.clock import microseconds_of
from server.execution.catalog import publish
from server.execution.compile import compile_text
from server.execution.noting import NoteDecision
from server.execution.rank import RankOffers
from server.execution.recovery import recover
from server.execution.snapshotter import SnapshotPolicy, Snapshotter
from server.execution.state import State
from server.execution.writer import Writer
from server.inference.model import load_models
from server.settings import Settings
from server.stores import Stores, open_stores


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves the time forward."""
        self.now += timedelta(seconds=seconds)


class LiveFolder:
    """State, writer and ranking over the stores of a folder."""

    def __init__(self, stores: Stores, state: State, clock: SetClock, rng: Random) -> None:
        self.state = state
        self.clock = clock
        self.writer = Writer(stores.journal, state, None)
        self.note = NoteDecision(state, self.writer, stores.decisions, self.now_us)
        self.rank = RankOffers(state, clock, self.note, rng.getrandbits)
        self.snapshotter = Snapshotter(state, stores.journal, stores.snapshots, clock, SnapshotPolicy())

    def now_us(self) -> int:
        """The clock's time."""
        return microseconds_of(self.clock())

    async def publish(self, text: str) -> None:
        """Serves another catalog."""
        manifests = {model_id: model.manifest for model_id, model in self.state.models.items()}
        compiled, problems = compile_text(text, manifests)
        if compiled is None:
            raise ValueError(str(problems[0]))
        compiled = replace(compiled, version=self.state.catalog_version + 1)
        await publish(self.state, self.writer, compiled, self.clock())


@asynccontextmanager
async def live_folder(folder: Path, models: Path, clock: SetClock, rng: Random) -> AsyncIterator[LiveFolder]:
    """Opens a folder as a server does, and closes it as a server does."""
    async with AsyncExitStack() as stack:
        stores = await open_stores(Settings(data=folder), stack)
        recovered = await recover(stores.journal, stores.snapshots, stores.ledger)
        state = State(load_models(models))
        state.facts = recovered.facts
        live = LiveFolder(stores, state, clock, rng)
        known = state.facts.catalog
        if known is not None:
            compiled, _ = compile_text(known.text, {name: model.manifest for name, model in state.models.items()})
            assert compiled is not None
            state.serve(state.prepare(replace(compiled, version=known.version)))
        live.note.start_behind(await stores.decisions.last_number())
        live.writer.start()
        try:
            yield live
        finally:
            await live.writer.close()
