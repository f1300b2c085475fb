"""DATA: what a service is, frozen; no I/O, no user code."""

from orchestrator.spec.call import CallInfo, Cookie, ResponseEffects
from orchestrator.spec.config import AccessLog, EnvVar, Metrics, Resources, ServiceConfig, Ssl, Traffic
from orchestrator.spec.frozen import Frozen
from orchestrator.spec.layers import Configuration, Layer, Setting, environment_in, merge, read_assignment, read_layer
from orchestrator.spec.media import Blob
from orchestrator.spec.service import (
    SPEC_FILE,
    ApiSpec,
    ArgumentSpec,
    BatchPolicy,
    Passing,
    Placement,
    ServiceInterface,
    ServiceSpec,
)
from orchestrator.spec.tensors import ANY, DType, TensorSpec
from orchestrator.spec.values import ValueKind, ValueSpec

__all__ = [
    "ANY",
    "SPEC_FILE",
    "AccessLog",
    "ApiSpec",
    "ArgumentSpec",
    "BatchPolicy",
    "Blob",
    "CallInfo",
    "Configuration",
    "Cookie",
    "DType",
    "EnvVar",
    "Frozen",
    "Layer",
    "Metrics",
    "Passing",
    "Placement",
    "Resources",
    "ResponseEffects",
    "ServiceConfig",
    "ServiceInterface",
    "ServiceSpec",
    "Setting",
    "Ssl",
    "TensorSpec",
    "Traffic",
    "ValueKind",
    "ValueSpec",
    "environment_in",
    "merge",
    "read_assignment",
    "read_layer",
]
