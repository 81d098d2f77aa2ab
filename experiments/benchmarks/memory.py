"""The resident memory of this process, on Linux."""

from __future__ import annotations

from pathlib import Path


def resident(name: str) -> int:
    """Return "VmRSS", the resident memory of the process, or "VmHWM", its peak, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def reset_peak() -> int:
    """Reset the peak to the present resident memory, and return the latter in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def added_mebibytes(before: int) -> float:
    """Return how far the peak since `reset_peak` lies above `before`, in MiB."""
    return (resident("VmHWM") - before) / 2**20
