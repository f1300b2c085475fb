"""Runs the front-end: in this process, or in several that share the port."""

import asyncio
import functools
import gc
import logging
import multiprocessing
import os
import socket
import ssl
import tempfile
import threading
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from orchestrator.cli.console import say
from orchestrator.cli.frontends import run_frontends
from orchestrator.cli.uvicorn_server import FrontendServer
from orchestrator.engine import Backend, BackendModels
from orchestrator.engine.health import Health, HealthFile
from orchestrator.errors import BackendUnavailable, ServerProcessError, SettingsError
from orchestrator.logs import is_json, log_as_json
from orchestrator.sdk import Definition
from orchestrator.sdk.logged import logged_call
from orchestrator.sdk.outgoing import count_calls
from orchestrator.server import (
    ACCESS_LOGGER,
    AccessFormatter,
    AdmittedBackend,
    Drain,
    Extension,
    FrontendMetrics,
    FrontendOptions,
    ModelVersion,
    create_app,
    create_proxy_app,
    extension_of,
)
from orchestrator.spec import Placement, ServiceConfig, ServiceSpec, Ssl
from orchestrator.tracing import start_tracing, stop_tracing
from orchestrator.triton import Control, TritonBackend, read_all_metrics, read_metrics
from orchestrator.triton.addresses import resolved
from orchestrator.triton.remote import RemoteTriton
from orchestrator.triton.remote_health import FleetHealth
from orchestrator.triton.several import SeveralBackend
from orchestrator.triton.supervised import SupervisedBackend
from orchestrator.worker.instance import load_definition
from orchestrator.worker.local_graph import LocalGraph

__all__ = ["FrontendPlan", "check_tls", "listen", "run_frontend", "url_of"]

_FLUSH_S: Final = 4
"""How long connections may take to end once their requests have."""


class FrontendPlan(BaseModel):
    """All that a front-end process needs to know.

    Attributes:
        grpc_url: of our own Triton; None where there is none.
        elsewhere: gRPC addresses of Tritons that are somebody else's.
        http_url: of Triton, where that is ours and answers our calls over HTTP, too.
        working_dir: folder of the user's code, which only a service that is placed on the front-end needs here.
        scratch: folder for what front-end processes share; None for the system's.
        process: address of the service's own process, where that answers its HTTP.
        call_board: file of the cancel board that Triton's workers read; None where they read none.
        others: the services that the service reaches and that are served with it, dependencies before their callers.
        successor: once this front-end stops another one has the port, so that new connections wait for it.
    """

    service: ServiceSpec
    grpc_url: str | None
    elsewhere: tuple[str, ...] = ()
    working_dir: Path
    metrics_url: str | None
    max_body_bytes: int
    workers: int
    allow_internal_urls: bool = False
    scratch: Path | None = None
    process: str | None = None
    call_board: Path | None = None
    http_url: str | None = None
    others: tuple[ServiceSpec, ...] = ()
    successor: bool = False

    @property
    def has_triton(self) -> bool:
        """Whether there is any Triton below."""
        return self.grpc_url is not None or bool(self.elsewhere)

    @property
    def graph(self) -> tuple[ServiceSpec, ...]:
        """All services that are served together, dependencies before their callers."""
        return (*self.others, self.service)


def listen(config: ServiceConfig) -> socket.socket:
    """Takes the port before anything else is started.

    Raises:
        SettingsError: it is taken, or the address is not this machine's.
    """
    host, port = config.http.host, config.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(config.backlog)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"cannot listen on {host}:{port}: {reason}", hint="name another with --port or --host"
        ) from error
    sock.set_inheritable(True)
    return sock


def check_tls(config: Ssl) -> None:
    """Reads certificate and key, where TLS is on.

    Raises:
        SettingsError: they cannot be used.
    """
    if not config.enabled or config.certfile is None:
        return
    try:
        context = ssl.SSLContext(config.version)
        context.load_cert_chain(config.certfile, config.keyfile, lambda: config.keyfile_password or "")
    except OSError as error:  # ssl.SSLError is one
        files = f"ssl.certfile={config.certfile!r}, ssl.keyfile={config.keyfile!r}"
        raise SettingsError(f"{files}: cannot be used: {error.strerror or error}") from None
    try:
        if config.ca_certs:
            context.load_verify_locations(config.ca_certs)
    except OSError as error:
        raise SettingsError(f"ssl.ca_certs={config.ca_certs!r}: cannot be used: {error.strerror or error}") from None
    try:
        if config.ciphers:
            context.set_ciphers(config.ciphers)
    except OSError as error:
        raise SettingsError(f"ssl.ciphers={config.ciphers!r}: cannot be used: {error.strerror or error}") from None


def url_of(config: ServiceConfig, sock: socket.socket) -> str:
    """Where the front-end answers."""
    host, port = sock.getsockname()[:2]
    scheme = "https" if config.ssl.enabled else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{config.path_prefix}"


def run_frontend(plan: FrontendPlan, sock: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C, and until requests in flight have ended, within `traffic.shutdown_timeout`."""
    url = url_of(plan.service, sock)
    if plan.workers == 1:
        _run_here(plan, sock, lambda: say(f"ready {url}"))
    else:
        _run_several(plan, sock, url)


def _application(plan: FrontendPlan, drain: Drain | None) -> FastAPI:
    as_json = log_as_json(service=plan.service.name, process=_process_name(), call=logged_call)
    if plan.service.logging.access.enabled:
        _log_access(as_json)
    start_tracing(plan.service.name, instance="front-end")
    app = _app_of_apis(plan, drain) if plan.process is None else _app_of_process(plan, plan.process, drain)
    # What has been loaded by now lives as long as we do. A full collection would walk through all of it: up to 200 ms in
    # which no request is answered, seen in every second of load.
    gc.collect()
    gc.freeze()
    return app


def _app_of_process(plan: FrontendPlan, address: str, drain: Drain | None) -> FastAPI:
    return create_proxy_app(plan.service, address, options=FrontendOptions(processes=plan.workers, drain=drain))


def _app_of_apis(plan: FrontendPlan, drain: Drain | None) -> FastAPI:
    backend: Backend
    extension = Extension()
    metrics = FrontendMetrics(plan.service.metrics, multiprocess=plan.workers > 1)
    count_calls(metrics)
    if plan.service.placement is Placement.FRONTEND:
        here = [each for each in plan.graph if each.placement is Placement.FRONTEND]
        definitions = [load_definition(each, plan.working_dir) for each in here]
        backend = graph = LocalGraph(
            definitions,
            elsewhere=partial(_admitted, plan, metrics) if plan.has_triton else None,
            models=partial(_models_of, plan),
            worker_index=_worker_index(),
        )
        extension = extension_of(definitions[-1].cls, graph.locals[plan.service.name].running.instance)
    else:
        backend = _triton_of(plan)
    return create_app(
        plan.service,
        backend,
        others=plan.others,
        extension=extension,
        metrics=metrics,
        options=FrontendOptions(
            max_body_bytes=plan.max_body_bytes,
            processes=plan.workers,
            allow_internal_urls=plan.allow_internal_urls,
            drain=drain,
            health=_reader_of_health(plan),
        ),
        engine_metrics=_metrics_of(plan),
        engine_index=partial(_index_of, plan) if plan.has_triton else None,
    )


def _metrics_of(plan: FrontendPlan) -> Callable[[], Awaitable[bytes]] | None:
    if plan.elsewhere:
        return partial(read_all_metrics, plan.elsewhere)
    return partial(read_metrics, plan.metrics_url) if plan.metrics_url is not None else None


async def _index_of(plan: FrontendPlan) -> list[ModelVersion]:
    """What Triton has loaded. The connection is made anew each time: it is asked only while somebody looks."""
    machines = (plan.grpc_url,) if plan.grpc_url is not None else await resolved(plan.elsewhere)
    if not machines:
        raise ServerProcessError(f"no machine is known by {', '.join(plan.elsewhere)}")
    for machine in machines:  # they serve the same
        try:
            async with Control(machine) as control:
                index = await control.repository_index()
            break
        except (BackendUnavailable, ServerProcessError):
            if machine == machines[-1]:
                raise
    return [ModelVersion(each.name, each.version, each.state, each.reason) for each in index]


def _triton_of(plan: FrontendPlan) -> Backend:
    if plan.grpc_url is None:
        return SeveralBackend(_remote_triton, partial(resolved, plan.elsewhere))
    triton = TritonBackend(plan.grpc_url, board=plan.call_board, http_url=plan.http_url)
    return SupervisedBackend(triton, _health_of(plan))


def _admitted(plan: FrontendPlan, metrics: FrontendMetrics) -> Backend:
    """Triton, for services that run here: what they call waits as what is called by HTTP does."""
    there = [each for each in plan.graph if each.placement is Placement.TRITON]
    return AdmittedBackend(_triton_of(plan), there, metrics, processes=plan.workers)


def _models_of(plan: FrontendPlan, definition: Definition) -> BackendModels | None:
    """What runs the models of a service that is placed on the front-end; None where it has none."""
    if not plan.has_triton or not definition.spec.models:
        return None
    return BackendModels(_triton_of(plan), timeout_s=definition.spec.traffic.timeout_s)


def _remote_triton(address: str) -> RemoteTriton:
    return RemoteTriton(TritonBackend(address), _fleet_health().of(address))


@functools.cache
def _fleet_health() -> FleetHealth:
    """What this process knows of Tritons elsewhere."""
    return FleetHealth(TritonBackend)


def _health_of(plan: FrontendPlan) -> HealthFile | None:
    """What is known of the Triton, where it is ours."""
    return None if plan.grpc_url is None or plan.scratch is None else HealthFile(plan.scratch)


def _reader_of_health(plan: FrontendPlan) -> Callable[[], Health]:
    """Gives what is known of everything beneath."""
    if plan.elsewhere:
        return _fleet_health().read
    return health.read if (health := _health_of(plan)) else Health


def _worker_index() -> int:
    """Of this front-end process, from 1."""
    digits = multiprocessing.current_process().name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 1


def _process_name() -> str:
    """Of this process, in the log."""
    return "front-end" if multiprocessing.parent_process() is None else f"front-end {_worker_index()}"


def _log_access(as_json: bool) -> None:
    """Access lines go to standard error, as they are."""
    logger = logging.getLogger(ACCESS_LOGGER)
    logger.setLevel(logging.INFO)
    if as_json:
        return  # as all others
    handler = logging.StreamHandler()
    handler.setFormatter(AccessFormatter())
    logger.handlers = [handler]
    logger.propagate = False


def _config(app: FastAPI, plan: FrontendPlan) -> uvicorn.Config:
    tls = plan.service.ssl
    options: dict[str, Any] = {"log_config": None} if is_json() else {}
    if tls.enabled:
        options |= {
            "ssl_certfile": tls.certfile,
            "ssl_keyfile": tls.keyfile,
            "ssl_keyfile_password": tls.keyfile_password,
            "ssl_version": tls.version,
            "ssl_cert_reqs": tls.cert_reqs,
            "ssl_ca_certs": tls.ca_certs,
            "ssl_ciphers": tls.ciphers or "",
        }
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_FLUSH_S,
        server_header=False,
        backlog=plan.service.backlog,
        **options,
    )


def _run_here(
    plan: FrontendPlan,
    sock: socket.socket,
    announce: Callable[[], None],
    together: Callable[[], None] | None = None,
) -> None:
    async def main() -> None:
        drain = None if plan.successor else Drain()
        server = FrontendServer(
            _config(_application(plan, drain), plan),
            announce=announce,
            drain=drain,
            within_s=plan.service.traffic.shutdown_timeout_s,
            together=together,
        )
        await server.serve(sockets=[sock])

    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    finally:
        stop_tracing()


def _run_several(plan: FrontendPlan, sock: socket.socket, url: str) -> None:
    # In the engine's own folder where it has one: that goes also when we are killed.
    with tempfile.TemporaryDirectory(prefix="orchestrator-frontend-", dir=plan.scratch) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        threading.Thread(target=_announce_when_ready, args=(url,), daemon=True).start()
        within_s = plan.service.traffic.shutdown_timeout_s
        run_frontends(_serve_one, plan, sock, plan.workers, within_s=within_s)


def _serve_one(plan: FrontendPlan, sock: socket.socket, together: Callable[[], None]) -> None:
    """One process of several."""
    _run_here(plan, sock, lambda: None, together)


def _announce_when_ready(url: str) -> None:
    address = url.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    any_certificate = ssl.create_default_context()  # ours, for whatever name it was made
    any_certificate.check_hostname = False
    any_certificate.verify_mode = ssl.CERT_NONE
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=1, context=any_certificate):  # ours
                break
        except OSError as error:
            if isinstance(getattr(error, "reason", error), ssl.SSLError):
                break  # it listens, and wants a certificate of ours, which we have not
        threading.Event().wait(0.1)
    else:
        return
    say(f"ready {url}")
