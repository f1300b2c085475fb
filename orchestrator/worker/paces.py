"""How long the calls of each model take, as far as this process has seen."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Paces"]

_WEIGHT: Final = 0.2
"""Of the latest call in the moving mean."""
_QUICK_S: Final = 0.02
_PATIENT_S: Final = 5.0
"""Who has less time than that wants to be let go when it is over."""


class Paces:
    """Moving means of durations. Safe for many threads: what two write at once is one of both."""

    def __init__(self) -> None:
        self._means_s: dict[str, float] = {}

    def is_quick(self, model: str, timeout_s: float) -> bool:
        """Whether a call will have its answer long before its time is over; not known of a model without a call so far."""
        mean_s = self._means_s.get(model)
        return mean_s is not None and mean_s < _QUICK_S and timeout_s >= _PATIENT_S

    @contextmanager
    def timed(self, model: str) -> Iterator[None]:
        """A call of a model, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            mean_s = self._means_s.get(model, took_s)
            self._means_s[model] = mean_s + _WEIGHT * (took_s - mean_s)
