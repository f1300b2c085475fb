"""Write a Python class, serve it typed and batched on NVIDIA Triton.

    import orchestrator

    @orchestrator.service
    class Greeter:
        @orchestrator.api
        def greet(self, name: str = "world") -> str:
            return f"Hello, {name}"

`orchestrator serve module:Greeter` runs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator import errors, validators
from orchestrator.monitoring import monitor
from orchestrator.sdk.asgi import add_asgi_middleware, asgi_app
from orchestrator.sdk.context import Context, get_current_service, server_context
from orchestrator.sdk.decorators import api, service
from orchestrator.sdk.dependency import depends
from orchestrator.sdk.hooks import on_deployment, on_shutdown, on_startup
from orchestrator.sdk.importing import importing
from orchestrator.sdk.template import use_arguments
from orchestrator.spec import Cookie

if TYPE_CHECKING:
    from orchestrator import models
    from orchestrator.client import AsyncHTTPClient, SyncHTTPClient

__all__ = [
    "AsyncHTTPClient",
    "Context",
    "Cookie",
    "SyncHTTPClient",
    "__version__",
    "add_asgi_middleware",
    "api",
    "asgi_app",
    "depends",
    "errors",
    "get_current_service",
    "importing",
    "models",
    "monitor",
    "on_deployment",
    "on_shutdown",
    "on_startup",
    "server_context",
    "service",
    "use_arguments",
    "validators",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("orchestrator.models")
    if name in ("AsyncHTTPClient", "SyncHTTPClient"):  # services that call nobody do without an HTTP library
        from orchestrator import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
