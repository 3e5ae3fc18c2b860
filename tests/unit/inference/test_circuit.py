import pytest

from server.inference.circuit import FIRST_PAUSE_NS, LONGEST_PAUSE_NS, LOST_NS, Circuit, CircuitState

NOW = 1_000_000_000_000
SHORT = 1_000


def opened(now_ns: int = NOW) -> Circuit:
    circuit = Circuit()
    circuit.failed(now_ns, LOST_NS)
    return circuit


def test_closed_circuit_lets_every_call_through() -> None:
    circuit = Circuit()

    assert circuit.state(NOW) is CircuitState.CLOSED
    assert all(circuit.enter(NOW) for _ in range(3))


def test_third_failure_in_a_row_opens_it() -> None:
    circuit = Circuit()

    states = []
    for _ in range(3):
        circuit.failed(NOW, SHORT)
        states.append(circuit.state(NOW))

    assert states == [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN]
    assert not circuit.enter(NOW)
    assert (circuit.failures, circuit.opened_count) == (3, 1)


def test_success_in_between_begins_a_new_row() -> None:
    circuit = Circuit()

    for _ in range(5):
        circuit.failed(NOW, LOST_NS // 3)
        circuit.failed(NOW, LOST_NS // 3)
        circuit.succeeded()

    assert circuit.state(NOW) is CircuitState.CLOSED
    assert (circuit.failures, circuit.opened_count) == (10, 0)


@pytest.mark.parametrize(("lost_ns", "state"), [(LOST_NS - 1, CircuitState.CLOSED), (LOST_NS, CircuitState.OPEN)])
def test_one_failure_opens_it_if_it_took_long_enough(lost_ns: int, state: CircuitState) -> None:
    circuit = Circuit()

    circuit.failed(NOW, lost_ns)

    assert circuit.state(NOW) is state


def test_failures_in_a_row_add_up_what_they_took() -> None:
    circuit = Circuit()

    circuit.failed(NOW, LOST_NS // 2)
    circuit.failed(NOW, LOST_NS - LOST_NS // 2)

    assert circuit.state(NOW) is CircuitState.OPEN


def test_after_the_pause_one_trial_is_let_through() -> None:
    circuit = opened()
    later = NOW + FIRST_PAUSE_NS

    assert not circuit.enter(later - 1)
    assert circuit.state(later) is CircuitState.HALF_OPEN
    assert [circuit.enter(later) for _ in range(3)] == [True, False, False]


def test_asking_for_the_state_is_no_trial() -> None:
    circuit = opened()
    later = NOW + FIRST_PAUSE_NS

    for _ in range(3):
        assert circuit.state(later) is CircuitState.HALF_OPEN

    assert circuit.enter(later)


def test_trial_without_a_result_is_followed_by_another_after_a_pause() -> None:
    circuit = opened()
    circuit.enter(NOW + FIRST_PAUSE_NS)

    assert circuit.enter(NOW + 2 * FIRST_PAUSE_NS)


def test_trial_that_succeeds_closes_it() -> None:
    circuit = opened()
    circuit.enter(NOW + FIRST_PAUSE_NS)

    circuit.succeeded()

    assert circuit.state(NOW + FIRST_PAUSE_NS) is CircuitState.CLOSED
    assert not circuit.open


def test_each_trial_that_fails_doubles_the_pause_to_a_minute() -> None:
    circuit = opened()
    now, pauses = NOW, []

    for _ in range(9):
        pause = next(s for s in range(1, 100) if circuit.state(now + s * FIRST_PAUSE_NS) is CircuitState.HALF_OPEN)
        pauses.append(pause)
        now += pause * FIRST_PAUSE_NS
        assert circuit.enter(now)
        circuit.failed(now, SHORT)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert LONGEST_PAUSE_NS == 60 * FIRST_PAUSE_NS
    assert circuit.opened_count == 1


def test_next_opening_begins_with_the_first_pause_again() -> None:
    circuit = opened()
    circuit.enter(NOW + FIRST_PAUSE_NS)
    circuit.failed(NOW + FIRST_PAUSE_NS, SHORT)
    later = NOW + 10 * FIRST_PAUSE_NS
    circuit.enter(later)
    circuit.succeeded()

    circuit.failed(later, LOST_NS)

    assert circuit.state(later + FIRST_PAUSE_NS) is CircuitState.HALF_OPEN
    assert circuit.opened_count == 2
