"""What holds for every test: how long and how repeatably Hypothesis searches, and that nobody calls yet."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from server.telemetry.context import CURRENT
from server.wire.caller import CALLER

# No deadline and no complaint about slowness: a busy machine is not a defect of the code under test.
_PATIENT = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("ci", _PATIENT, derandomize=True, print_blob=True)
settings.register_profile("local", _PATIENT)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Whoever runs the tests in the background of a shell has them ignore SIGINT, and so would every process that they
# start: what is caught here is at its default there (execve(2)).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nobody_calls() -> Iterator[None]:
    """Guards that a test asks by itself leave their caller in the context of the whole run; the next test has none."""
    yield
    CALLER.set(None)
    CURRENT.set(None)
