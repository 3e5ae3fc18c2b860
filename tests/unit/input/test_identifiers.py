import random
from collections.abc import Callable, Sequence

import pytest
from xxhash import xxh3_64_intdigest

from server.input import identifiers
from server.input.identifiers import Identifiers
from server.input.pages import PAGE_ROWS

Hash = Callable[[bytes], int]

HASHES: dict[str, Hash] = {
    "xxhash": xxh3_64_intdigest,
    "all equal": lambda name: 0,
    "all equal and in the last slot": lambda name: 2**64 - 1,
    "few": lambda name: len(name) % 3,
    "one table": lambda name: xxh3_64_intdigest(name) >> 12,
    "one slot of each table": lambda name: xxh3_64_intdigest(name) >> 52 << 52,
    "many in the last of few": lambda name: xxh3_64_intdigest(name) >> 12 | 0xFF,
}


@pytest.fixture(params=HASHES)
def hashed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Names are hashed well or badly."""
    monkeypatch.setattr(identifiers, "xxh3_64_intdigest", HASHES[request.param])
    return str(request.param)


def restored(index: Identifiers) -> Identifiers:
    """The same index from its captured pages."""
    again = Identifiers()
    again.restore([page.arrays for page in index.capture()], index.end, index.free)
    return again


def assert_same(index: Identifiers, model: dict[bytes, int], others: Sequence[bytes] = ()) -> None:
    """The index names what a dict says, and nothing else."""
    assert len(index) == len(model)
    assert list(index.named()) == sorted(model.values())
    for name, number in model.items():
        assert index.find(name) == number
        assert index.name(number) == name
    for name in others:
        assert index.find(name) == -1


def test_nothing_is_found_in_an_empty_index() -> None:
    index = Identifiers()

    assert (index.find(b"a"), len(index), index.end, list(index.named())) == (-1, 0, 0, [])


def test_names_are_numbered_from_zero() -> None:
    index = Identifiers()

    assert [index.add(name) for name in (b"a", b"b", b"c")] == [0, 1, 2]
    assert [index.find(name) for name in (b"c", b"a", b"b", b"d")] == [2, 0, 1, -1]


@pytest.mark.parametrize("size", [1, 128, 255])
def test_names_may_be_as_long_as_identifiers_and_hold_any_bytes(size: int) -> None:
    index = Identifiers()
    names = [bytes([value]) * size for value in range(256)]

    numbers = {name: index.add(name) for name in names}

    assert_same(index, numbers)


def test_name_is_not_its_beginning() -> None:
    index = Identifiers()

    index.add(b"loyalty:42")

    assert [index.find(name) for name in (b"loyalty:4", b"loyalty:421", b"oyalty:42")] == [-1, -1, -1]


def test_released_number_has_no_name_and_is_given_again() -> None:
    index = Identifiers()
    for name in (b"a", b"b", b"c"):
        index.add(name)

    index.release(1)

    assert (index.find(b"b"), index.name(1), len(index), index.end) == (-1, b"", 2, 3)
    assert index.add(b"d") == 1
    assert_same(index, {b"a": 0, b"d": 1, b"c": 2}, [b"b"])


def test_released_name_is_overwritten() -> None:
    index = Identifiers()
    number = index.add(b"jane@example.com")

    index.release(number)

    assert not any(b"jane" in page.arrays["bytes"].tobytes() for page in index.capture())


def test_reserved_number_has_no_name() -> None:
    index = Identifiers()
    index.add(b"a")

    reserved = index.reserve()

    assert (reserved, index.name(1), len(index), index.add(b"b")) == (1, b"", 1, 2)
    index.release(reserved)
    assert index.add(b"c") == 1


@pytest.mark.usefixtures("hashed")
def test_names_are_never_confused_however_badly_they_are_hashed() -> None:
    index = Identifiers()
    names = [f"customer:{number}".encode() for number in range(600)]

    model = {name: index.add(name) for name in names}
    assert_same(index, model, [b"customer:600", b"customer:", b""])

    for name in names[::3]:
        index.release(model.pop(name))
    assert_same(index, model, names[::3])

    model |= {name: index.add(name) for name in names[::3]}
    assert_same(index, model)


@pytest.mark.usefixtures("hashed")
def test_index_does_what_a_dict_does() -> None:
    index, model = Identifiers(), dict[bytes, int]()
    draw = random.Random(7)
    names = [f"{draw.randrange(10**9):x}".encode() for _ in range(400)]

    for step in range(2_000):
        name = draw.choice(names)
        assert index.find(name) == model.get(name, -1)
        if name not in model:
            model[name] = index.add(name)
        elif draw.random() < 0.5:
            index.release(model.pop(name))
        if step % 500 == 499:
            index = restored(index)

    assert_same(index, model, [name for name in names if name not in model])


def test_many_names_are_found_across_pages_and_after_the_tables_have_grown() -> None:
    index = Identifiers()
    names = [f"cookie:{number}".encode() for number in range(50 * PAGE_ROWS)]

    model = {name: index.add(name) for name in names}

    assert_same(index, model, [b"cookie:-1"])
    assert_same(restored(index), model, [b"cookie:-1"])


@pytest.mark.usefixtures("hashed")
def test_restored_index_is_the_same_and_goes_on_alike() -> None:
    index = Identifiers()
    model = {name: index.add(name) for name in (f"{number}".encode() for number in range(100))}
    for name in [b"3", b"50", b"99"]:
        index.release(model.pop(name))
    index.reserve()

    again = restored(index)

    assert_same(again, model, [b"3", b"50", b"99"])
    assert (again.end, again.free) == (index.end, index.free)
    assert [again.add(name) for name in (b"x", b"y", b"z")] == [index.add(name) for name in (b"x", b"y", b"z")]


def test_page_of_reserved_numbers_alone_is_captured_and_restored() -> None:
    index = Identifiers()
    for _ in range(3):
        index.reserve()

    again = restored(index)

    assert (again.end, len(again), again.add(b"a")) == (3, 0, 3)


def test_capture_is_of_its_moment_while_names_come_and_go() -> None:
    index = Identifiers()
    for number in range(PAGE_ROWS + 10):
        index.add(f"{number}".encode())
    end, free = index.end, index.free

    capture = index.capture()
    for number in range(0, PAGE_ROWS, 7):
        index.release(number)
    for number in range(300):
        index.add(f"new{number}".encode())
    again = Identifiers()
    again.restore([page.arrays for page in sorted(capture, key=lambda page: page.number)], end, free)

    assert_same(again, {f"{number}".encode(): number for number in range(PAGE_ROWS + 10)}, [b"new0"])
