"""DEFINE: the decorators, and the reader that turns a class into a `Definition`."""

from orchestrator.sdk.decorators import api, service
from orchestrator.sdk.definition import ApiBinding, Definition
from orchestrator.sdk.graph import read_service
from orchestrator.sdk.loader import load_service

__all__ = ["ApiBinding", "Definition", "api", "load_service", "read_service", "service"]
