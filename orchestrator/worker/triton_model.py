"""The class that Triton's Python backend drives. Runs only inside its stub process: `triton_python_backend_utils` is there."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import triton_python_backend_utils as pb_utils

from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    CallError,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
)
from orchestrator.spec import SPEC_FILE, ServiceSpec
from orchestrator.worker.executor import Answer, Executor, WorkerCall
from orchestrator.worker.faults import error_text
from orchestrator.worker.instance import load_definition, make_instance
from orchestrator.worker.source import SERVICE_PATH_VARIABLE

__all__ = ["TritonPythonModel"]

_CODES: Final = (
    (InvalidInput, "INVALID_ARG"),
    (EndpointNotFound, "NOT_FOUND"),
    (Overloaded, "UNAVAILABLE"),
    (BackendUnavailable, "UNAVAILABLE"),
    (CallCancelled, "CANCELLED"),
)
"""Names in `pb_utils.TritonError`, which the stub adds only after it has imported the model."""


class TritonPythonModel:
    """One worker: one instance of the user's class."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the service; whatever this raises, Triton reports as the reason that the model did not load."""
        _log_to_stderr()
        version = Path(args["model_repository"]) / args["model_version"]
        spec = ServiceSpec.parse((version / SPEC_FILE).read_bytes())
        config = json.loads(args["model_config"])
        definition = load_definition(spec, _service_folder(config, Path(args["model_repository"]).parent))
        self._executor = Executor(definition, make_instance(definition))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers a batch."""
        responses: list[Any] = [None] * len(requests)
        calls, positions = [], []
        for position, request in enumerate(requests):
            if request.is_cancelled():
                responses[position] = _response(CallCancelled("the caller has gone"))
                continue
            positions.append(position)
            calls.append(
                WorkerCall(
                    tensors={tensor.name(): tensor.as_numpy() for tensor in request.inputs()},
                    parameters=json.loads(request.parameters() or "{}"),
                    request_id=request.request_id(),
                )
            )
        for position, answer in zip(positions, self._executor.run(calls), strict=True):
            responses[position] = _response(answer)
        return responses


def _response(answer: Answer | CallError) -> Any:
    if isinstance(answer, CallError):
        name = next((name for kind, name in _CODES if isinstance(answer, kind)), "INTERNAL")
        code = getattr(pb_utils.TritonError, name)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(error_text(answer), code))
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(answer.name, answer.tensor)])


def _service_folder(config: dict[str, Any], repository: Path) -> Path:
    given = os.environ.get(SERVICE_PATH_VARIABLE)
    return Path(given) if given else repository / config["parameters"]["service_path"]["string_value"]


def _log_to_stderr() -> None:
    """Our own lines, without touching the user's logging."""
    logger = logging.getLogger("orchestrator")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [worker %(process)d] %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
