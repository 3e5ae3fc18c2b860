from server.input.matches import Matches
from server.input.pages import PAGE_ROWS, Arrays


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def restored(matches: Matches) -> Matches:
    pages: dict[str, dict[int, Arrays]] = {}
    for page in matches.capture():
        pages.setdefault(page.name, {})[page.number] = page.arrays
    again = Matches()
    ordered = {name: [some[number] for number in sorted(some)] for name, some in pages.items()}
    again.restore(ordered, matches.keys.end, matches.keys.free)
    return again


def test_nobody_holds_a_key_that_was_never_seen() -> None:
    assert Matches().holder(key(1)) == -1


def test_key_is_held_by_whom_it_was_given_to() -> None:
    matches = Matches()

    matches.hold(key(1), 7)
    matches.hold(key(2), 7)
    matches.hold(key(3), 0)

    assert [matches.holder(key(number)) for number in (1, 2, 3, 4)] == [7, 7, 0, -1]


def test_forgotten_rows_hold_nothing_and_their_keys_may_be_held_by_others() -> None:
    matches = Matches()
    for number in range(3 * PAGE_ROWS):
        matches.hold(key(number), number % 5)

    matches.forget([1, 3])

    holders = [matches.holder(key(number)) for number in range(3 * PAGE_ROWS)]
    assert holders == [-1 if number % 5 in (1, 3) else number % 5 for number in range(3 * PAGE_ROWS)]
    matches.hold(key(1), 9)
    assert matches.holder(key(1)) == 9


def test_numbers_of_forgotten_keys_are_not_forgotten_again_for_whom_they_belonged_to() -> None:
    matches = Matches()
    matches.hold(key(1), 1)
    matches.forget([1])

    matches.hold(key(2), 2)
    matches.forget([1])

    assert matches.holder(key(2)) == 2


def test_restored_matches_are_the_same_and_go_on_alike() -> None:
    matches = Matches()
    for number in range(2 * PAGE_ROWS):
        matches.hold(key(number), number)
    matches.forget([5, PAGE_ROWS + 1])

    again = restored(matches)
    for each in (matches, again):
        each.hold(key(5), 1)

    for number in range(2 * PAGE_ROWS):
        assert again.holder(key(number)) == matches.holder(key(number))
