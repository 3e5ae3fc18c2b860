"""What a scenario leaves behind."""

import os
from collections.abc import Callable

import pytest

from loadtest.procfs import children


@pytest.fixture
def left_behind() -> Callable[[], set[int]]:
    """The processes that have been started since the test began and still run."""
    before = set(children(os.getpid()))
    return lambda: set(children(os.getpid())) - before
