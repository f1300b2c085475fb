"""A service's calls of its models from inside Triton (BLS). Only in a worker: `triton_python_backend_utils` is there."""

import asyncio
import itertools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils

from orchestrator.engine import Tensors
from orchestrator.engine.faults import WORKER_DIED, error_of_status
from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE, was_begun
from orchestrator.engine.models import of_model
from orchestrator.errors import BackendUnavailable
from orchestrator.formats import from_triton, to_triton
from orchestrator.sdk.native import refuse_at_start, refuse_on_loop
from orchestrator.spec import NativeModelSpec

__all__ = ["MODEL_CALLS", "BlsModels"]

MODEL_CALLS: Final = 32
"""Calls of one worker: each holds a thread while it waits. Triton runs no more for one; asyncio's own pool has 6 on 2 cores."""
_AGAIN_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses before a call is made again that met a dead worker."""
_STATUSES: Final = {"INVALID_ARG": "INVALID_ARGUMENT", "UNSUPPORTED": "UNIMPLEMENTED"}
"""Triton's word -> gRPC's, where they differ."""


class BlsModels:
    """Runs models on the Triton that this worker belongs to (implements `ModelCaller`).

    Triton allows it only while the worker answers calls: not while it starts or stops.
    """

    def __init__(self) -> None:
        self._serving = False
        self._server_id = os.environ.get(SERVER_ID_VARIABLE)
        self._numbers = itertools.count()
        self._pool = ThreadPoolExecutor(MODEL_CALLS, thread_name_prefix="orchestrator-model")
        codes = (
            "UNKNOWN",
            "INTERNAL",
            "NOT_FOUND",
            "INVALID_ARG",
            "UNAVAILABLE",
            "UNSUPPORTED",
            "ALREADY_EXISTS",
            "CANCELLED",
        )
        self._codes = {getattr(pb_utils.TritonError, name): _STATUSES.get(name, name) for name in codes}

    def start(self) -> None:
        """From now on calls are possible."""
        self._serving = True

    def stop(self) -> None:
        """No call begins any more; none is waited for."""
        self._serving = False
        self._pool.shutdown(wait=False, cancel_futures=True)

    def call(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        refuse_on_loop(spec)
        return self._run(spec, inputs, outputs)

    async def acall(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if not self._serving:
            refuse_at_start(spec)
        # As `InferenceRequest.async_exec` does it, but for the pool.
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, spec, inputs, outputs)

    def _run(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if not self._serving:
            refuse_at_start(spec)
        request_id = f"{os.getpid()}-{next(self._numbers)}"
        for pause_s in (*_AGAIN_S, None):
            response = self._asked(spec, inputs, outputs, request_id)
            if not response.has_error():
                break
            failure = response.error()
            # A worker that has died is replaced soon. What it had begun is not given to the next: it may have been why.
            if pause_s is None or not WORKER_DIED.search(failure.message()) or self._may_have_begun(request_id):
                status = self._codes.get(failure.code(), "UNKNOWN")
                raise of_model(error_of_status(status, failure.message()), spec)
            time.sleep(pause_s)
        return from_triton(spec, {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()})

    def _may_have_begun(self, request_id: str) -> bool:
        return self._server_id is None or was_begun(self._server_id, request_id)

    def _asked(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str], request_id: str) -> Any:
        request = pb_utils.InferenceRequest(
            request_id=request_id,
            model_name=spec.name,
            inputs=[
                pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in to_triton(spec, inputs).items()
            ],
            requested_output_names=list(outputs),
            # Also of a model on a GPU: numpy has no other.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        try:
            return request.exec()
        except pb_utils.TritonModelException as error:
            raise BackendUnavailable(f"{spec.name}: Triton takes no call: {error}") from error
