"""The model that tells other machines how their Triton is. Runs only inside its stub process.

A front-end on another machine sees none of the processes here, and Triton says READY of a model whose workers are dead. What
the supervisor beside this Triton knows is told as the answer to a request that waits for news (`triton/remote_health.py`).
"""

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils

from orchestrator.engine.health import Health, HealthFile, HealthReport

__all__ = ["TritonPythonModel"]

_LOOK_S: Final = 0.02
_WAIT_S: Final = 5.0
"""After which a request is answered also where nothing is new, so that callers know that somebody is here."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    seen: str
    until: float
    sender: Any


class TritonPythonModel:
    """One instance, which many may ask at once."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(json.loads(args["model_config"])["parameters"]["folder"]["string_value"])
        self._file = HealthFile(folder)
        self._arrived: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._tell, name="orchestrator-health", daemon=True)
        self._thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Takes requests; each is answered by its sender."""
        until = time.monotonic() + _WAIT_S
        for request in requests:
            (seen,) = pb_utils.get_input_tensor_by_name(request, "seen").as_numpy()
            self._arrived.put(_Waiting(bytes(seen).decode(errors="replace"), until, request.get_response_sender()))

    def finalize(self) -> None:
        """Comes when every request has its answer."""
        self._arrived.put(None)
        self._thread.join()

    def _tell(self) -> None:
        waiting: list[_Waiting] = []
        known, digest = Health(), Health().digest()
        while True:
            try:
                arrived = self._arrived.get(timeout=_LOOK_S if waiting else None)
                if arrived is None:
                    return
                waiting.append(arrived)
            except Empty:
                pass
            if (health := self._file.read()) is not known:
                known, digest = health, health.digest()
            now = time.monotonic()
            due = [each for each in waiting if each.seen != digest or now >= each.until]
            if due:
                waiting = [each for each in waiting if each not in due]
                _answer(due, digest, HealthReport.of(known))


def _answer(due: list[_Waiting], digest: str, report: HealthReport) -> None:
    texts = {"digest": digest.encode(), "report": report.document()}
    for each in due:
        tensors = [pb_utils.Tensor(name, np.array([text], object)) for name, text in texts.items()]
        each.sender.send(pb_utils.InferenceResponse(tensors), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
