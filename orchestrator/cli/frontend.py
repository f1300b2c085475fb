"""Runs the front-end: in this process, or in several that share the port."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from uvicorn.supervisors import Multiprocess

from orchestrator.cli.console import say
from orchestrator.errors import SettingsError
from orchestrator.server import FrontendOptions, create_app
from orchestrator.spec import ServiceSpec
from orchestrator.triton import TritonBackend, read_metrics

__all__ = ["FrontendPlan", "create", "listen", "run_frontend"]

_DRAIN_S: Final = 4
"""How long requests in flight may take to finish once a stop is asked for."""
_PLAN_VARIABLE: Final = "ORCHESTRATOR_FRONTEND_PLAN"
_PR_SET_PDEATHSIG: Final = 1


class FrontendPlan(BaseModel):
    """All that a front-end process needs to know; no user code."""

    service: ServiceSpec
    grpc_url: str
    metrics_url: str | None
    max_body_bytes: int
    workers: int


def listen(host: str, port: int) -> socket.socket:
    """Takes the port before anything else is started.

    Raises:
        SettingsError: it is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}", hint="name another with --port or --host") from error
    sock.set_inheritable(True)
    return sock


def run_frontend(plan: FrontendPlan, sock: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C; requests in flight get 4 s to finish."""
    host, port = sock.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if plan.workers == 1:
        _run_here(plan, sock, lambda: say(f"ready {url}"))
    else:
        _run_several(plan, sock, url)


def create() -> FastAPI:
    """The application of one front-end process among several; called by uvicorn in it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # kill -9 of the parent must not leave us behind
    return _application(FrontendPlan.model_validate_json(Path(os.environ[_PLAN_VARIABLE]).read_bytes()))


def _application(plan: FrontendPlan) -> FastAPI:
    metrics_url = plan.metrics_url
    return create_app(
        plan.service,
        TritonBackend(plan.grpc_url),
        options=FrontendOptions(max_body_bytes=plan.max_body_bytes, multiprocess=plan.workers > 1),
        engine_metrics=(lambda: read_metrics(metrics_url)) if metrics_url else None,
    )


class _Announcing(uvicorn.Server):
    """Says once that it is ready."""

    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.announce()


def _config(app: Any, plan: FrontendPlan, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_S,
        server_header=False,
        workers=plan.workers,
        **options,
    )


def _run_here(plan: FrontendPlan, sock: socket.socket, announce: Callable[[], None]) -> None:
    async def main() -> None:
        server = _Announcing(_config(_application(plan), plan))
        server.announce = announce
        await server.serve(sockets=[sock])

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _run_several(plan: FrontendPlan, sock: socket.socket, url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="orchestrator-frontend-") as folder:
        document = Path(folder) / "plan.json"
        document.write_text(plan.model_dump_json())
        counters = Path(folder) / "metrics"
        counters.mkdir()
        os.environ[_PLAN_VARIABLE] = str(document)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counters)
        config = _config(f"{__name__}:create", plan, factory=True)
        threading.Thread(target=_announce_when_ready, args=(url,), daemon=True).start()
        Multiprocess(config, target=uvicorn.Server(config).run, sockets=[sock]).run()


def _announce_when_ready(url: str) -> None:
    address = url.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=1):
            say(f"ready {url}")
            return
        threading.Event().wait(0.1)
