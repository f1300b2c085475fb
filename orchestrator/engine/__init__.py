"""One call, no protocol: the Backend seam and the invoker."""

from orchestrator.engine.backend import Backend, InferRequest, InferResponse, Tensors
from orchestrator.engine.invoker import Invoker, Outcome
from orchestrator.engine.models import BackendModels, ServiceModels

__all__ = [
    "Backend",
    "BackendModels",
    "InferRequest",
    "InferResponse",
    "Invoker",
    "Outcome",
    "ServiceModels",
    "Tensors",
]
