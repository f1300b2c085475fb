"""One call, no protocol: the Backend seam and the invoker."""

from orchestrator.engine.backend import Backend, InferRequest, InferResponse, Tensors
from orchestrator.engine.invoker import Invoker, Outcome

__all__ = ["Backend", "InferRequest", "InferResponse", "Invoker", "Outcome", "Tensors"]
