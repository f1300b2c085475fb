"""RUN: Triton itself - its process, its control, the way calls reach it. The only importer of tritonclient and grpc.

    with TritonServer() as server:
        server.start([repository])
        await probe_server(server.grpc_url)
        backend = TritonBackend(server.grpc_url)

Names load on first use: finding a server needs neither grpc nor numpy, starting one no grpc.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.triton.child import ChildProcess
    from orchestrator.triton.command import ServerOptions
    from orchestrator.triton.control import Control
    from orchestrator.triton.faults import StatusCause, from_status
    from orchestrator.triton.install import TritonInstall, find_install
    from orchestrator.triton.metrics import read_all_metrics, read_metrics
    from orchestrator.triton.probe import probe_server
    from orchestrator.triton.probe_model import PROBE_MODEL
    from orchestrator.triton.process import TritonServer
    from orchestrator.triton.transport import TritonBackend

__all__ = [
    "PROBE_MODEL",
    "ChildProcess",
    "Control",
    "ServerOptions",
    "StatusCause",
    "TritonBackend",
    "TritonInstall",
    "TritonServer",
    "find_install",
    "from_status",
    "probe_server",
    "read_all_metrics",
    "read_metrics",
]

_HOMES = {
    "PROBE_MODEL": "probe_model",
    "ChildProcess": "child",
    "Control": "control",
    "ServerOptions": "command",
    "StatusCause": "faults",
    "TritonBackend": "transport",
    "TritonInstall": "install",
    "TritonServer": "process",
    "find_install": "install",
    "from_status": "faults",
    "probe_server": "probe",
    "read_all_metrics": "metrics",
    "read_metrics": "metrics",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
