"""Write a Python class, serve it typed and batched on NVIDIA Triton.

    import orchestrator

    @orchestrator.service
    class Greeter:
        @orchestrator.api
        def greet(self, name: str = "world") -> str:
            return f"Hello, {name}"

`orchestrator serve module:Greeter` runs it.
"""

from orchestrator import errors, validators
from orchestrator.sdk.asgi import add_asgi_middleware, asgi_app
from orchestrator.sdk.context import Context, server_context
from orchestrator.sdk.decorators import api, service
from orchestrator.sdk.hooks import on_deployment, on_shutdown, on_startup
from orchestrator.spec import Cookie

__all__ = [
    "Context",
    "Cookie",
    "__version__",
    "add_asgi_middleware",
    "api",
    "asgi_app",
    "errors",
    "on_deployment",
    "on_shutdown",
    "on_startup",
    "server_context",
    "service",
    "validators",
]

__version__ = "0.1.0"
