"""What Triton itself counted: the witness that answers are real, and the mean batch size."""

import re
import time
import urllib.request
from dataclasses import dataclass
from typing import Final

__all__ = ["TritonCounters", "counted_since", "read_counters"]

_LINE = re.compile(r'^nv_inference_(count|exec_count)\{model="([^"]+)",[^}]*\} ([0-9.e+]+)$', re.MULTILINE)
_SETTLE_S: Final = 2.0
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback only, whatever the environment says


@dataclass(frozen=True, slots=True)
class TritonCounters:
    """Counters of one model since it was loaded.

    Attributes:
        rows: `nv_inference_count`.
        batches: `nv_inference_exec_count`, the executions that the rows ran in.
    """

    rows: int
    batches: int

    def __sub__(self, other: "TritonCounters") -> "TritonCounters":
        return TritonCounters(self.rows - other.rows, self.batches - other.batches)


def read_counters(metrics_url: str, model: str) -> TritonCounters:
    """Reads Triton's metrics page."""
    with _opener.open(metrics_url, timeout=5) as page:
        text = page.read().decode()
    found = {kind: int(float(value)) for kind, name, value in _LINE.findall(text) if name == model}
    return TritonCounters(found.get("count", 0), found.get("exec_count", 0))


def counted_since(before: TritonCounters, metrics_url: str, model: str, rows: int) -> TritonCounters:
    """What came on top of `before`. Triton counts after it has answered, so `rows` more are waited for, 2 s at most."""
    ends = time.monotonic() + _SETTLE_S
    while True:
        grown = read_counters(metrics_url, model) - before
        if grown.rows >= rows or time.monotonic() > ends:
            return grown
        time.sleep(0.05)
