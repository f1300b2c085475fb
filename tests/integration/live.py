"""The local front-end on a real socket, for what a test client inside the process cannot show."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from orchestrator.sdk import read_service
from orchestrator.server import FrontendOptions, create_app
from orchestrator.worker.local import LocalBackend

__all__ = ["live_server"]


@contextmanager
def live_server(service: type, *, options: FrontendOptions | None = None) -> Iterator[str]:
    """Serves a service from a thread of this process.

    Yields:
        Its address.
    """
    definition = read_service(service, f"{service.__module__}:{service.__qualname__}")
    app = create_app(definition.spec, LocalBackend(definition), options=options)
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()
