"""SERVE: the FastAPI application of one service."""

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from orchestrator.engine import Backend, Invoker
from orchestrator.engine.health import Health
from orchestrator.errors import BackendUnavailable, CallCancelled, CallError, InvalidInput, PayloadTooLarge
from orchestrator.logs import logged_request
from orchestrator.server.addresses import is_internal
from orchestrator.server.admission import Admission
from orchestrator.server.auth_client import Denied
from orchestrator.server.bodies import call_info_of, read_body
from orchestrator.server.capacity import capacity_of
from orchestrator.server.checks import Checks
from orchestrator.server.drain import Drain
from orchestrator.server.edge import add_edge
from orchestrator.server.elsewhere import ServedElsewhere
from orchestrator.server.fetch import Fetcher
from orchestrator.server.gate import Gate
from orchestrator.server.handler import ApiHandler
from orchestrator.server.hotpath import Endpoint, HotPath
from orchestrator.server.metrics import FrontendMetrics, MetricsPage, QueueMetrics
from orchestrator.server.model_metrics import copies_of
from orchestrator.server.mounts import Extension, add_mounts, mounted_lifespans
from orchestrator.server.ongoing import ApiCounters, Ongoing
from orchestrator.server.openapi import Components, operation_of
from orchestrator.server.paths import route_of
from orchestrator.server.patience import Caller
from orchestrator.server.problems import problem, problem_of
from orchestrator.server.proxy import Proxy, Upstream
from orchestrator.server.reply import Reply, StreamReply
from orchestrator.server.routes import add_client_schema, add_docs, add_health, add_metrics
from orchestrator.server.status import ModelIndex, Status
from orchestrator.server.status_page import HOME, add_status_page, has_home
from orchestrator.server.streams import StreamResponse, raw_headers
from orchestrator.spec import ApiSpec, ServiceSpec
from orchestrator.tracing import Span, tracing

__all__ = ["DEFAULT_MAX_BODY_BYTES", "FrontendOptions", "create_app", "create_proxy_app"]

DEFAULT_MAX_BODY_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class FrontendOptions:
    """How the front-end behaves.

    Attributes:
        max_body_bytes: longest body of a request, and of all files together that it names by URL.
        allow_internal_urls: files are fetched also from addresses that are not public.
        processes: front-end processes that share the port, the counters and the service's limits.
        drain: for whoever stops the front-end; None where it stops at once.
        health: of the server that runs the calls.
    """

    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    allow_internal_urls: bool = False
    processes: int = 1
    drain: Drain | None = None
    health: Callable[[], Health] = Health


def create_app(
    service: ServiceSpec,
    backend: Backend,
    *,
    others: Sequence[ServiceSpec] = (),
    options: FrontendOptions | None = None,
    engine_metrics: Callable[[], Awaitable[bytes]] | None = None,
    engine_index: ModelIndex | None = None,
    extension: Extension | None = None,
    metrics: FrontendMetrics | None = None,
) -> FastAPI:
    """The front-end of a service.

    Args:
        service: what to serve; the user's class is not needed.
        backend: runs the calls. It is closed with the application.
        others: the services that it reaches and that the backend runs as well.
        options: limits.
        engine_metrics: reads the engine's Prometheus page.
        engine_index: lists the versions of the engine's models.
        extension: applications and middleware that the service brings along.
        metrics: where calls are counted; default: counters of its own.
    """
    options = options or FrontendOptions()
    extension = extension or Extension()
    graph = [service, *others]
    models = list(dict.fromkeys(name for each in graph for name in (each.name, *(model.name for model in each.models))))
    invoker = Invoker(service.called(), backend)
    metrics = metrics or FrontendMetrics(service.metrics, multiprocess=options.processes > 1)
    admission = _admission(service, metrics, options)

    async def break_off() -> None:
        admission.stop()
        await backend.close()  # which releases the calls that run

    if options.drain is not None:
        options.drain.at_the_deadline(break_off)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        await backend.open()
        try:
            async with mounted_lifespans(extension):
                yield
        finally:
            await backend.close()

    app = FastAPI(
        title=service.name,
        description=service.description or service.doc or "",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        openapi_tags=[{"name": service.name}, {"name": "server"}],
    )
    components = Components()
    refuses: Callable[[str], bool] = (lambda _: False) if options.allow_internal_urls else is_internal
    fetcher = Fetcher(most_bytes=options.max_body_bytes, refuses=refuses)
    hot = {}
    for api in service.apis:
        handler = ApiHandler(service, api, invoker, fetcher, admission)
        hot[api.route] = _add_api(app, service, api, handler, metrics, components, options)
    home = has_home(service, extension)
    # The first one added is the innermost.
    _add_gate(app, service, admission, metrics, free={HOME} if home else ())
    app.add_middleware(HotPath, routes=hot)
    urls = {dependency.url: None for each in graph for dependency in each.dependencies if dependency.url is not None}
    checks = Checks(
        service, invoker, backend, models, [each.called() for each in others], [ServedElsewhere(url) for url in urls]
    )
    add_health(app, checks, lambda: options.health().of_all(models))
    if service.metrics.enabled:
        routes = {api.name: service.path_prefix + api.route for api in service.apis}
        page = MetricsPage(
            metrics,
            engine_metrics,
            service=service.name,
            namespace=service.metrics.namespace,
            routes=routes,
            models=models,
            copies=copies_of(graph, options.processes),
            health=options.health,
        )
        add_metrics(app, page, checks)
    status = Status(
        [*others, service], checks, metrics, options.health, engine_index=engine_index, engine_metrics=engine_metrics
    )
    add_status_page(app, status, home=home)
    add_client_schema(app, service)
    add_docs(app, service, components)
    _add_problems(app)
    add_mounts(app, extension)
    _add_edge(app, service, metrics, options, home=home)
    return app


def create_proxy_app(service: ServiceSpec, address: str, *, options: FrontendOptions | None = None) -> FastAPI:
    """The front-end of a service that is a process of its own: health and metrics are ours, all else is the process's.

    Args:
        service: what to serve.
        address: of its process, `host:port`.
        options: limits; bodies have none here, since they are not kept.
    """
    options = options or FrontendOptions()
    metrics = FrontendMetrics(service.metrics, multiprocess=options.processes > 1)
    admission = _admission(service, metrics, options)
    upstream = Upstream(service, address)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await upstream.close()

    app = FastAPI(title=service.name, openapi_url=None, lifespan=lifespan)
    add_health(app, upstream)
    if service.metrics.enabled:
        page = MetricsPage(metrics, None, service=service.name, namespace=service.metrics.namespace, routes={})
        add_metrics(app, page, upstream)
    _add_gate(app, service, admission, metrics)
    _add_problems(app)
    app.mount("", Proxy(service, upstream, metrics, _request_id), name="process")
    _add_edge(app, service, metrics, options)
    return app


def _add_api(
    app: FastAPI,
    service: ServiceSpec,
    api: ApiSpec,
    handler: ApiHandler,
    metrics: FrontendMetrics,
    components: Components,
    options: FrontendOptions,
) -> Endpoint:
    counters = ApiCounters(metrics, service.name, api.name)

    async def endpoint(request: Request) -> Response:
        request_id = _request_id(request)
        try:
            client = request.scope.get("client")
            caller = Caller(request.scope["headers"], client[0] if client else "", service.traffic.priority)
            body = await read_body(request, options.max_body_bytes)
        except (InvalidInput, PayloadTooLarge, CallCancelled) as error:
            refusal = problem_of(error, request_id)
            counters.answered(refusal.status)
            return _response(refusal, request_id)
        call = Ongoing(counters, _span(request, api, caller, request_id))
        logged_request.set((request_id, call.trace_id))
        info = call_info_of(request, request_id) if api.context is not None else None
        try:
            reply = await handler.handle(
                body, request.headers, request_id, caller=caller, info=info, receive=request.receive, broken=call.broken
            )
        except BaseException:
            call.end()
            raise
        call.answered(reply)
        counters.answered(reply.status)
        response = _response(reply, request_id, call.end)
        if call.is_recorded:
            response.raw_headers.append((b"x-trace-id", call.trace_id.encode()))
        return response

    app.add_api_route(
        api.route,
        endpoint,
        methods=["POST"],
        name=api.name,
        operation_id=f"{service.name}_{api.name}",
        summary=(api.doc or api.name).splitlines()[0],
        description=api.doc,
        tags=[service.name],
        response_class=Response,
        response_model=None,
        openapi_extra=operation_of(api, components),
    )
    return endpoint


def _span(request: Request, api: ApiSpec, caller: Caller, request_id: str) -> Span | None:
    """The request as a step of its caller's trace, which what it causes belongs to; None where nothing is traced."""
    means = tracing()
    if means is None:
        return None
    attributes = {
        "http.request.method": request.method,
        "http.route": api.route,
        "url.path": request.url.path,
        "request.id": request_id,
    }
    span = means.start(f"{request.method} {api.route}", tuple(caller.trace.items()), "server", attributes)
    caller.trace = dict(span.trace)
    return span


def _add_problems(app: FastAPI) -> None:
    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        request_id = _request_id(request)
        detail = f"{request.method} {request.url.path}: {error.detail}"
        reply = problem(error.status_code, "http", detail, request_id, headers=dict(error.headers or {}))
        return _response(reply, request_id)

    async def unexpected(request: Request, _: Exception) -> Response:
        request_id = _request_id(request)
        return _response(problem(500, "internal", "the server failed; its log explains it", request_id), request_id)

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)


def _admission(service: ServiceSpec, metrics: FrontendMetrics, options: FrontendOptions) -> Admission:
    return Admission(
        service.name,
        capacity_of(service, options.processes),
        QueueMetrics(metrics, service.name),
        queue_timeout_s=service.traffic.queue_timeout_s,
    )


def _add_gate(
    app: FastAPI,
    service: ServiceSpec,
    admission: Admission,
    metrics: FrontendMetrics,
    *,
    free: Collection[str] = (),
) -> None:
    def refused(scope: Scope, error: CallError) -> Response:
        request_id = _request_id(Request(scope))
        reply = problem_of(error, request_id)
        metrics.requests.labels(service.name, "", str(reply.status)).inc()
        return _response(reply, request_id)

    app.add_middleware(Gate, admission=admission, traffic=service.traffic, refusal=refused, free=free)


def _add_edge(
    app: FastAPI, service: ServiceSpec, metrics: FrontendMetrics, options: FrontendOptions, *, home: bool = False
) -> None:
    names = {api.route: api.name for api in service.apis}
    stopping = BackendUnavailable(f"{service.name} stops")

    def stopped(scope: Scope) -> Response:
        request_id = _request_id(Request(scope))
        reply = problem_of(stopping, request_id)
        metrics.requests.labels(service.name, names.get(route_of(scope), ""), str(reply.status)).inc()
        response = _response(reply, request_id)
        response.headers["Connection"] = "close"
        return response

    def not_found(scope: Scope) -> Response:
        request_id = _request_id(Request(scope))
        detail = f"{scope['method']} {scope['path']}: Not Found"
        return _response(problem(404, "http", detail, request_id), request_id)

    def denied(scope: Scope, error: Denied | CallError) -> Response:
        request_id = _request_id(Request(scope))
        reply = error.problem(service.name, request_id) if isinstance(error, Denied) else problem_of(error, request_id)
        metrics.requests.labels(service.name, names.get(route_of(scope), ""), str(reply.status)).inc()
        return _response(reply, request_id)

    add_edge(
        app,
        service,
        drain=options.drain,
        stopped=stopped,
        not_found=not_found,
        denied=denied,
        refused=lambda status: metrics.requests.labels(service.name, "", str(status)).inc(),
        home=home,
        processes=options.processes,
    )


def _response(reply: Reply | StreamReply, request_id: str, done: Callable[[], None] = lambda: None) -> Response:
    """The answer as HTTP.

    Args:
        done: called at the end of a stream.
    """
    headers = {**reply.headers, "X-Request-ID": request_id}
    if reply.media_type:
        # Not Starlette's `media_type`, which adds a charset to all text.
        headers["Content-Type"] = reply.media_type
    if isinstance(reply, StreamReply):
        return StreamResponse(reply, (*headers.items(), *reply.added), done)
    response = Response(reply.body, reply.status, headers=headers)
    response.raw_headers += raw_headers(reply.added)
    return response


def _request_id(request: Request) -> str:
    """The caller's own id where it is harmless, else a new one."""
    given = request.headers.get("x-request-id", "")
    if 0 < len(given) <= 128 and given.isascii() and given.isprintable():
        return given
    return uuid.uuid4().hex
