"""What the kernel says of a process that stands back."""

import ctypes
import os
import platform
import re
import struct
import subprocess
import sys

import pytest

from server.standing_back import NICE, SLICE_NS, stand_back

_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}


def has_slices() -> bool:
    """Whether this kernel lets a process have a slice of its own."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    assert version is not None
    return platform.machine() in _SCHED_GETATTR and (int(version[1]), int(version[2])) >= (6, 12)


def attributes_of(pid: int) -> tuple[int, ...]:
    """Size, policy, flags, nice, priority, runtime, deadline, period."""
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    number = _SCHED_GETATTR[platform.machine()]
    assert ctypes.CDLL(None).syscall(number, pid, buffer, _ATTRIBUTES.size, 0) == 0
    return _ATTRIBUTES.unpack(buffer.raw)


def test_process_is_nicer_and_may_be_interrupted_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        stand_back(process.pid)

        assert os.getpriority(os.PRIO_PROCESS, process.pid) == NICE
        cores = sorted(os.sched_getaffinity(0))
        assert os.sched_getaffinity(process.pid) == set(cores[1:] or cores)
        if has_slices():
            _, policy, _, nice, _, runtime_ns, _, _ = attributes_of(process.pid)
            assert (policy, nice, runtime_ns) == (os.SCHED_OTHER, NICE, SLICE_NS)
        process.communicate(b"\n")


def test_process_that_is_not_there_is_an_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    with pytest.raises(ProcessLookupError):
        stand_back(process.pid)
