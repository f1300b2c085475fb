"""DATA: what a service is, frozen; no I/O, no user code."""

from orchestrator.spec.call import PRIORITY_HEADER, TIMEOUT_HEADER, CallInfo, Cookie, Priority, ResponseEffects
from orchestrator.spec.config import AccessLog, EnvVar, Metrics, Resources, ServiceConfig, Ssl, Traffic
from orchestrator.spec.conversion import Converted, Converter, OutputParity, ParityReport, Run, Tolerance
from orchestrator.spec.frozen import Frozen
from orchestrator.spec.layers import Configuration, Layer, Setting, environment_in, merge, read_assignment, read_layer
from orchestrator.spec.media import Blob
from orchestrator.spec.model import (
    LATEST,
    Accelerator,
    ModelFormat,
    ModelOptions,
    ModelRecord,
    ModelSignature,
    NativeModelSpec,
    StoredFile,
    StoredModelRef,
    Tag,
    digest_of,
)
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
    "LATEST",
    "PRIORITY_HEADER",
    "SPEC_FILE",
    "TIMEOUT_HEADER",
    "Accelerator",
    "AccessLog",
    "ApiSpec",
    "ArgumentSpec",
    "BatchPolicy",
    "Blob",
    "CallInfo",
    "Configuration",
    "Converted",
    "Converter",
    "Cookie",
    "DType",
    "EnvVar",
    "Frozen",
    "Layer",
    "Metrics",
    "ModelFormat",
    "ModelOptions",
    "ModelRecord",
    "ModelSignature",
    "NativeModelSpec",
    "OutputParity",
    "ParityReport",
    "Passing",
    "Placement",
    "Priority",
    "Resources",
    "ResponseEffects",
    "Run",
    "ServiceConfig",
    "ServiceInterface",
    "ServiceSpec",
    "Setting",
    "Ssl",
    "StoredFile",
    "StoredModelRef",
    "Tag",
    "TensorSpec",
    "Tolerance",
    "Traffic",
    "ValueKind",
    "ValueSpec",
    "digest_of",
    "environment_in",
    "merge",
    "read_assignment",
    "read_layer",
]
