"""The calls that a worker makes, on Triton's page of metrics. Only in a stub process: `triton_python_backend_utils` is there."""

import contextlib
import threading
from collections import defaultdict
from typing import Any, Final

import triton_python_backend_utils as pb_utils

__all__ = ["CallCounts"]

_EVERY_S: Final = 1.0
_END_S: Final = 2.0
_CALLS: Final = "worker_calls_total"
_SECONDS: Final = "worker_call_seconds_total"


class CallCounts:
    """Counts calls (implements `sdk.outgoing.CallObserver`). Triton hears of them once a second: each word to it takes its time.

    Args:
        namespace: that the series' names begin with.
        caller: the service that makes them. Its workers share one counter, which outlives any of them.
    """

    def __init__(self, namespace: str, caller: str) -> None:
        counter = pb_utils.MetricFamily.COUNTER
        self._caller = caller
        self._families = {
            name: pb_utils.MetricFamily(name=f"{namespace}_{name}", description=said, kind=counter)
            for name, said in (
                (_CALLS, "Calls that services in Triton made of services and models."),
                (_SECONDS, "From such calls to their answers, all together."),
            )
        }
        self._metrics: dict[tuple[str, ...], Any] = {}
        self._waiting: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="orchestrator-counts", daemon=True)
        self._thread.start()

    def called(self, target: str, api: str, outcome: str, seconds: float) -> None:
        with self._lock:
            self._waiting[_CALLS, target, api, outcome] += 1
            self._waiting[_SECONDS, target, api] += seconds

    def close(self) -> None:
        """Tells the rest, if Triton still listens."""
        self._over.set()
        self._thread.join(_END_S)

    def _tell(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            grown, self._waiting = self._waiting, defaultdict(float)
        for key, amount in grown.items():
            with contextlib.suppress(pb_utils.TritonModelException):  # it ends
                self._metric(key).increment(amount)

    def _metric(self, key: tuple[str, ...]) -> Any:
        if key not in self._metrics:
            family, target, api, *outcome = key
            labels = {"caller": self._caller, "service": target, "api": api}
            self._metrics[key] = self._families[family].Metric(
                labels=labels | ({"outcome": outcome[0]} if outcome else {})
            )
        return self._metrics[key]
