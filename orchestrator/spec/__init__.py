"""DATA: what a service is, frozen; no I/O, no user code."""

from orchestrator.spec.frozen import Frozen
from orchestrator.spec.service import (
    SPEC_FILE,
    ApiSpec,
    ArgumentSpec,
    BatchPolicy,
    Resources,
    ServiceSpec,
    Traffic,
)
from orchestrator.spec.tensors import ANY, DType, TensorSpec
from orchestrator.spec.values import ValueKind, ValueSpec

__all__ = [
    "ANY",
    "SPEC_FILE",
    "ApiSpec",
    "ArgumentSpec",
    "BatchPolicy",
    "DType",
    "Frozen",
    "Resources",
    "ServiceSpec",
    "TensorSpec",
    "Traffic",
    "ValueKind",
    "ValueSpec",
]
