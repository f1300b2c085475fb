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
from orchestrator.sdk.decorators import api, service

__all__ = ["__version__", "api", "errors", "service", "validators"]

__version__ = "0.1.0"
