"""SERVE: the FastAPI front-end; reads only specs."""

from orchestrator.server.app import FrontendOptions, create_app

__all__ = ["FrontendOptions", "create_app"]
