"""What the front-end's processes themselves use, and which release they are, as series."""

import os
import platform
import re
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["frontend_pids", "process_page"]

_DISTRIBUTION: Final = "triton-orchestrator"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_PID_FILE: Final = re.compile(r"_(\d+)\.db$")
_STARTED_S: Final = time.time()


def frontend_pids(folder: str | None) -> list[int]:
    """The front-end processes that live.

    Args:
        folder: where several of them share their counters; None where this is the only one.
    """
    if not folder:
        return [os.getpid()]
    named = {int(match[1]) for name in os.listdir(folder) if (match := _PID_FILE.search(name))}
    return sorted(pid for pid in named if Path(f"/proc/{pid}").exists())


def process_page(service: str, *, namespace: str, folder: str | None) -> bytes:
    """The series, as a page.

    Args:
        service: that is served.
        namespace: that their names begin with.
        folder: see `frontend_pids`.
    """

    class Known(Collector):
        def collect(self) -> Iterator[Metric]:
            used = [each for pid in frontend_pids(folder) if (each := _used(pid)) is not None]
            front = f"{namespace}_frontend"
            yield CounterMetricFamily(
                f"{front}_cpu_seconds", "CPU time of all front-end processes.", value=sum(cpu for cpu, _, _ in used)
            )
            yield GaugeMetricFamily(
                f"{front}_memory_bytes", "Resident memory, of all.", value=sum(memory for _, memory, _ in used)
            )
            yield GaugeMetricFamily(
                f"{front}_open_files", "Open files and connections, of all.", value=sum(files for _, _, files in used)
            )
            yield GaugeMetricFamily(f"{front}_processes", "Front-end processes that live.", value=len(used))
            yield GaugeMetricFamily(f"{front}_start_time_seconds", "Its start, seconds since 1970.", value=_STARTED_S)
            labels = {"service": service, "version": _release(), "python": platform.python_version()}
            yield InfoMetricFamily(f"{namespace}_build", "What is served, and by which release.", value=labels)

    registry = CollectorRegistry()
    registry.register(Known())
    return bytes(generate_latest(registry))


def _used(pid: int) -> tuple[float, int, int] | None:
    """CPU seconds, bytes of memory and open files of a process; None for one that has gone."""
    try:
        # The process's name, in brackets, may contain anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_BYTES, files


@cache
def _release() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
