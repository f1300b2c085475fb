"""SERVE: the FastAPI front-end; reads only specs."""

from orchestrator.server.access import ACCESS_LOGGER, AccessFormatter
from orchestrator.server.admitted import AdmittedBackend
from orchestrator.server.app import FrontendOptions, create_app, create_proxy_app
from orchestrator.server.drain import Drain
from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.mounts import Extension, extension_of
from orchestrator.server.proxy import Upstream
from orchestrator.server.status import ModelVersion

__all__ = [
    "ACCESS_LOGGER",
    "AccessFormatter",
    "AdmittedBackend",
    "Drain",
    "Extension",
    "FrontendMetrics",
    "FrontendOptions",
    "ModelVersion",
    "Upstream",
    "create_app",
    "create_proxy_app",
    "extension_of",
]
