"""A model file in Triton's Python backend, where Triton has no backend of its own for it. Only in its stub process."""

import os
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.errors import CallCancelled, CallError
from orchestrator.formats import MODEL_SPEC_FILE, SAMPLE_FILE, open_model, read_sample
from orchestrator.spec import NativeModelSpec
from orchestrator.worker.limits import die_first
from orchestrator.worker.native import ModelCall, answer, device_for, prove, threads_for, warm_up
from orchestrator.worker.stub import error_response, instance_index, log_to_stderr

__all__ = ["TritonPythonModel"]


class TritonPythonModel:
    """One instance of a model file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the model and proves it; whatever this raises, Triton reports as the reason that it did not load."""
        log_to_stderr(args["model_name"], args["model_instance_name"])
        die_first()
        version = Path(args["model_repository"]) / args["model_version"]
        spec = NativeModelSpec.parse((version / MODEL_SPEC_FILE).read_bytes())
        index = instance_index(args["model_instance_name"])
        cores = len(os.sched_getaffinity(0))
        self._model = open_model(version, spec, threads=threads_for(spec, cores), device=device_for(spec, index))
        if (version / SAMPLE_FILE).is_file():
            prove(self._model, read_sample(version / SAMPLE_FILE))
        elif spec.options.warmup:
            warm_up(self._model)
        self._beat = Heartbeat()
        self._beat.keep_turning()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers a batch."""
        self._beat.begin([request.request_id() for request in requests])
        try:
            return self._answered(requests)
        finally:
            self._beat.end()

    def _answered(self, requests: list[Any]) -> list[Any]:
        gone = [request.is_cancelled() for request in requests]
        calls = [_call_of(request) for request, left in zip(requests, gone, strict=True) if not left]
        answers = iter(answer(self._model, calls))
        return [
            error_response(CallCancelled("the caller has gone")) if left else _response(next(answers)) for left in gone
        ]

    def finalize(self) -> None:
        """Frees the model's memory."""
        self._beat.close()
        self._model.close()


def _call_of(request: Any) -> ModelCall:
    inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    return ModelCall(inputs, tuple(request.requested_output_names()), request.request_id())


def _response(result: Any) -> Any:
    if isinstance(result, CallError):
        return error_response(result)
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in result.items()])
