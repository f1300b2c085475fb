"""SERVE: the FastAPI front-end; reads only specs."""

from orchestrator.server.access import ACCESS_LOGGER
from orchestrator.server.app import FrontendOptions, create_app
from orchestrator.server.mounts import Extension, extension_of

__all__ = ["ACCESS_LOGGER", "Extension", "FrontendOptions", "create_app", "extension_of"]
