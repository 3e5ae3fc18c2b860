"""Hostile models: the process that inspects them is limited, and a server that is given one does not start."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from server import inspecting
from server.elsewhere import Ended
from server.inference.manifest import ModelRefusedError
from server.inference.model import load_models
from server.inspecting import inspect_elsewhere
from tests.integration.commands import run
from tests.support.hostile_models import REFUSED_UNSEEN, cut_short, gigabytes, gigabytes_for_many_rows, nested
from tests.support.onnx_files import linear, write_model


async def refusal(root: Path) -> str:
    with pytest.raises(ModelRefusedError) as refused:
        await inspect_elsewhere(root)
    return str(refused.value)


async def test_models_that_pass_are_those_that_may_be_loaded(tmp_path: Path) -> None:
    write_model(tmp_path)

    inspected = await inspect_elsewhere(tmp_path)

    assert list(load_models(tmp_path, inspected)) == list(inspected) == ["tiny/1"]


async def test_shipped_models_pass() -> None:
    assert len(await inspect_elsewhere(Path("model_artifacts"))) == 4


async def test_model_that_changed_since_it_was_inspected_is_not_loaded(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    inspected = await inspect_elsewhere(tmp_path)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    write_model(tmp_path, linear((1.0, -1.0), (0.5,)).SerializeToString() + b"\x32\x04more")

    with pytest.raises(ModelRefusedError, match="changed since it was inspected"):
        load_models(tmp_path, inspected)


async def test_model_that_came_after_the_inspection_is_not_loaded(tmp_path: Path) -> None:
    write_model(tmp_path)

    with pytest.raises(ModelRefusedError, match="changed since it was inspected"):
        load_models(tmp_path, {})


async def test_model_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, gigabytes())

    assert "model tiny/1 refused: " in await refusal(tmp_path)


async def test_model_that_asks_for_gigabytes_when_it_has_many_rows_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, gigabytes_for_many_rows())

    assert "does not score 4,096 rows" in await refusal(tmp_path)


@pytest.mark.parametrize("name", REFUSED_UNSEEN)
async def test_hostile_model_is_named_with_what_is_wrong(tmp_path: Path, name: str) -> None:
    make, said = REFUSED_UNSEEN[name]
    write_model(tmp_path, make().SerializeToString())

    problem = await refusal(tmp_path)

    assert problem.startswith("model tiny/1 refused: ") and said in problem


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 1_000, nested(), b"\xff" * 64, cut_short(linear().SerializeToString())]
)
async def test_bytes_that_are_no_model_are_refused(tmp_path: Path, content: bytes) -> None:
    write_model(tmp_path, content)

    assert "model tiny/1 refused: " in await refusal(tmp_path)


async def test_flipped_bits_are_refused_or_score_as_before(tmp_path: Path) -> None:
    """The manifest has the hash of what is there, as it would if whoever wrote the file wrote the manifest too."""
    rng, refused = random.Random(5), 0
    content = bytearray(linear().SerializeToString())
    for turn in range(24):
        flipped = bytearray(content)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        root = tmp_path / str(turn)
        write_model(root, bytes(flipped))
        try:
            inspected = await inspect_elsewhere(root)
        except ModelRefusedError:
            refused += 1
            continue
        # Its golden vectors came out as the manifest says.
        assert list(load_models(root, inspected)) == ["tiny/1"]
    # ONNX Runtime alone would take nearly all of them.
    assert refused > 8


async def test_inspection_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    write_model(tmp_path)

    with pytest.raises(ModelRefusedError, match="took longer than 0 s"):
        await inspect_elsewhere(tmp_path, wall_s=0.01)


async def test_inspection_that_crashes_names_the_model_that_it_had_begun() -> None:
    begun = b'{"model": "good/1"}\n{"model": "good/1", "sha256": "ab"}\n{"model": "evil/1"}\n'

    with pytest.raises(ModelRefusedError, match="model evil/1 refused: its inspection ended with SIGSEGV"):
        inspecting._verdicts(Path("models"), Ended(begun, -signal.SIGSEGV))


async def test_server_with_a_hostile_model_does_not_start(tmp_path: Path) -> None:
    write_model(tmp_path, gigabytes())

    served = await asyncio.wait_for(
        run("serve", "--ephemeral", "--models", tmp_path, "--listen", "127.0.0.1:0"), timeout=60
    )

    assert served.code == 1
    assert "model tiny/1 refused: " in served.errors
    assert "Traceback" not in served.errors


async def test_limits_leave_the_server_alone() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_FSIZE)
    await inspect_elsewhere(Path("model_artifacts"))

    assert (resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_FSIZE)) == before
