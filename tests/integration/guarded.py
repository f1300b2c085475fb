"""The local front-end as `serve` runs it, with its limits of connections, and raw connections to it."""

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from orchestrator.cli.uvicorn_server import FrontendServer
from orchestrator.sdk import read_service
from orchestrator.server import FrontendOptions, create_app
from orchestrator.worker.local import LocalBackend

__all__ = ["Address", "Raw", "certificates", "guarded_server"]

Address = tuple[str, int]


@contextmanager
def guarded_server(service: type, *, options: FrontendOptions | None = None, **tls: Any) -> Iterator[Address]:
    """Serves a service from a thread of this process.

    Args:
        tls: uvicorn's options for it.
    """
    definition = read_service(service, f"{service.__module__}:{service.__qualname__}")
    app = create_app(definition.spec, LocalBackend(definition), options=options)
    ready = threading.Event()
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False, **tls)
    server = FrontendServer(config, announce=ready.set, drain=None, within_s=1)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve(sockets=[sock]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield sock.getsockname()
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


class Raw:
    """One connection, byte by byte.

    Args:
        address: of the server.
        tls: None for plain HTTP.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None) -> None:
        sock = socket.create_connection(address, timeout=20)
        self.sock = sock if tls is None else tls.wrap_socket(sock, server_hostname="127.0.0.1")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def answer(self) -> bytes:
        """One whole answer that names its length; what has come where the connection ends before."""
        came = b""
        while b"\r\n\r\n" not in came:
            more = self._more()
            if not more:
                return came
            came += more
        head, _, body = came.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            ),
            0,
        )
        while len(body) < length and (more := self._more()):
            body += more
        return head + b"\r\n\r\n" + body

    def status(self) -> int:
        """Of the next answer; 0 where the connection ends without one."""
        answer = self.answer()
        return int(answer.split(b" ", 2)[1]) if answer else 0

    def ends(self) -> bool:
        """Waits until the server ends the connection, and says whether it had nothing more to say."""
        return self._more() == b""

    def _more(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    subprocess.run([*made, "-keyout", key, "-out", cert, *subject], check=True, capture_output=True)
    return cert, key
