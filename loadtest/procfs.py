"""What Linux counts about processors and processes, in seconds (proc(5))."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class MachineTime:
    """Processor time of the whole machine since it started: all of it, what was used, what was stolen."""

    total_s: float
    busy_s: float
    steal_s: float

    @classmethod
    def now(cls) -> Self:
        """Reads `/proc/stat`."""
        return cls.parse((PROC / "stat").read_text())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The `cpu` line: user nice system idle iowait irq softirq steal, then guest, which user contains."""
        fields = [int(field) / TICKS_PER_S for field in text.split("\n", 1)[0].split()[1:9]]
        idle_s, steal_s = fields[3] + fields[4], fields[7]
        return cls(total_s=sum(fields), busy_s=sum(fields) - idle_s - steal_s, steal_s=steal_s)

    def steal_percent_since(self, earlier: Self) -> float:
        """The share of the machine's time that was taken since then."""
        total = self.total_s - earlier.total_s
        return 100 * (self.steal_s - earlier.steal_s) / total if total > 0 else 0.0

    def others_percent_since(self, earlier: Self, own_s: float) -> float:
        """The share that went to others than a process tree that used `own_s` since then."""
        total = self.total_s - earlier.total_s
        others_s = self.busy_s - earlier.busy_s - own_s
        return max(0.0, 100 * others_s / total) if total > 0 else 0.0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, and of its children while they live.

    Raises:
        FileNotFoundError: there is no such process.
    """
    return process_seconds((PROC / str(pid) / "stat").read_text()) + sum(map(_child_seconds, children(pid)))


def _child_seconds(pid: int) -> float:
    # A child may have ended since it was listed.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return cpu_seconds(pid)
    return 0.0


def process_seconds(stat: str) -> float:
    """utime + stime in `/proc/PID/stat`: fields 14 and 15; the name before them may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """The memory that a process holds now (VmRSS)."""
    return _status_bytes(pid, "VmRSS")


def resident_bytes_max(pid: int) -> int:
    """The most memory that a process ever held (VmHWM)."""
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, name: str) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"Process {pid} has no {name}: it has ended.")


def written_bytes(pid: int) -> int:
    """What a process has sent to storage so far."""
    lines = (PROC / str(pid) / "io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run; none on kernels that do not list them."""
    lists = (PROC / str(pid) / "task").glob("*/children")
    return [int(child) for one in lists for child in _read(one).split()]


def _read(file: Path) -> str:
    """What a file holds, nothing if it has gone: threads end while others are being listed."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return file.read_text()
    return ""
