from server.execution.pressure import Tier
from server.wire.call_queue import CallQueue, WaitingCall


def waiting(call_id: int) -> WaitingCall:
    return WaitingCall(0, call_id, 0, b"", (), "", None)


def ids(queue: CallQueue) -> list[int]:
    found = []
    while (call := queue.next()) is not None:
        found.append(call.call_id)
    return found


def test_urgent_calls_overtake_others_and_each_keep_their_order() -> None:
    queue = CallQueue()

    for call_id, tier in enumerate([Tier.LATER, Tier.LIVE, Tier.BULK, Tier.CONTROL, Tier.LIVE]):
        queue.put(waiting(call_id), tier)

    assert ids(queue) == [1, 3, 4, 0, 2]


def test_call_waits_for_those_that_come_before_it() -> None:
    queue = CallQueue()
    for _ in range(200):
        queue.answered(2, 2_000)

    queue.put(waiting(1), Tier.LATER)
    queue.put(waiting(2), Tier.LIVE)

    assert abs(queue.call_ns - 1_000) <= 8
    assert (queue.wait_ns(Tier.LIVE), queue.wait_ns(Tier.LATER)) == (queue.call_ns, 2 * queue.call_ns)


def test_empty_queue_is_no_wait() -> None:
    assert CallQueue().wait_ns(Tier.BULK) == 0


def test_call_whose_caller_has_left_has_no_turn() -> None:
    queue = CallQueue()
    for call_id in range(4):
        queue.put(waiting(call_id), Tier.LIVE)

    queue.drop(1)
    queue.drop(3)

    assert ids(queue) == [0, 2]


def test_call_whose_caller_has_left_is_waited_for_by_nobody() -> None:
    queue = CallQueue()
    for call_id, tier in enumerate([Tier.LIVE, Tier.LIVE, Tier.BULK]):
        queue.put(waiting(call_id), tier)

    queue.drop(0)
    queue.drop(2)

    assert (queue.wait_ns(Tier.LIVE), queue.wait_ns(Tier.BULK), len(queue)) == (queue.call_ns, queue.call_ns, 1)


def test_queue_that_is_never_empty_keeps_nothing_of_those_who_left() -> None:
    queue = CallQueue()
    queue.put(waiting(0), Tier.LIVE)

    for call_id in range(1, 1_000):
        queue.put(waiting(call_id), Tier.LIVE)
        queue.drop(call_id - 1)
        # Answered long ago.
        queue.drop(call_id + 10_000)

    assert queue.next() is not None
    assert not any(getattr(queue, name) for name in CallQueue.__slots__ if name != "call_ns")


def test_numbers_of_those_who_left_are_forgotten_with_the_last_call() -> None:
    queue = CallQueue()
    queue.put(waiting(1), Tier.LIVE)
    queue.drop(2)
    ids(queue)

    queue.put(waiting(2), Tier.LIVE)

    assert ids(queue) == [2]


def test_one_hiccup_is_bounded() -> None:
    queue = CallQueue()
    before = queue.call_ns

    queue.answered(1, 10_000_000_000)

    assert queue.call_ns <= 2 * before
