"""SERVE: the FastAPI application of one service."""

import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from orchestrator.engine import Backend, Invoker
from orchestrator.errors import CallCancelled, Overloaded, PayloadTooLarge
from orchestrator.server.addresses import is_internal
from orchestrator.server.bodies import call_info_of, read_body
from orchestrator.server.checks import Checks, Probes
from orchestrator.server.client_schema import client_schema
from orchestrator.server.edge import add_edge
from orchestrator.server.fetch import Fetcher
from orchestrator.server.handler import ApiHandler
from orchestrator.server.hotpath import Endpoint, HotPath
from orchestrator.server.limit import route_of
from orchestrator.server.media import JSON
from orchestrator.server.metrics import FrontendMetrics, MetricsPage
from orchestrator.server.mounts import Extension, add_mounts, mounted_lifespans
from orchestrator.server.openapi import Components, operation_of
from orchestrator.server.problems import problem, problem_of
from orchestrator.server.proxy import Proxy, Upstream
from orchestrator.server.reply import Reply, StreamReply
from orchestrator.server.streams import StreamResponse, raw_headers
from orchestrator.spec import ApiSpec, ServiceSpec

__all__ = ["DEFAULT_MAX_BODY_BYTES", "FrontendOptions", "create_app", "create_proxy_app"]

DEFAULT_MAX_BODY_BYTES: Final = 64 * 2**20
_STATIC: Final = "/docs/static"
_PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class FrontendOptions:
    """How the front-end behaves.

    Attributes:
        max_body_bytes: longest body of a request, and of all files together that it names by URL.
        allow_internal_urls: files are fetched also from addresses that are not public.
        processes: front-end processes that share the port, the counters and the service's limits.
    """

    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    allow_internal_urls: bool = False
    processes: int = 1


def create_app(
    service: ServiceSpec,
    backend: Backend,
    *,
    options: FrontendOptions | None = None,
    engine_metrics: Callable[[], Awaitable[bytes]] | None = None,
    extension: Extension | None = None,
) -> FastAPI:
    """The front-end of a service.

    Args:
        service: what to serve; the user's class is not needed.
        backend: runs the calls. It is closed with the application.
        options: limits.
        engine_metrics: reads the engine's Prometheus page.
        extension: applications and middleware that the service brings along.
    """
    options = options or FrontendOptions()
    extension = extension or Extension()
    invoker = Invoker(service, backend)
    metrics = FrontendMetrics(service.metrics, multiprocess=options.processes > 1)

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
    hot = {
        api.route: _add_api(app, service, api, ApiHandler(api, invoker, fetcher), metrics, components, options)
        for api in service.apis
    }
    app.add_middleware(HotPath, routes=hot)  # the first one added is the innermost
    checks = Checks(service, invoker)
    _add_health(app, checks)
    if service.metrics.enabled:
        routes = {api.name: service.path_prefix + api.route for api in service.apis}
        page = MetricsPage(metrics, engine_metrics, namespace=service.metrics.namespace, routes=routes)
        _add_metrics(app, page, checks)
    _add_client_schema(app, service)
    _add_docs(app, service, components)
    _add_problems(app)
    add_mounts(app, extension)
    _add_edge(app, service, metrics, options)
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
    upstream = Upstream(service, address)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await upstream.close()

    app = FastAPI(title=service.name, openapi_url=None, lifespan=lifespan)
    _add_health(app, upstream)
    if service.metrics.enabled:
        _add_metrics(app, MetricsPage(metrics, None, namespace=service.metrics.namespace, routes={}), upstream)
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
    duration = metrics.duration.labels(service.name, api.name)
    in_progress = metrics.in_progress.labels(service.name, api.name)
    last_request = metrics.last_request.labels(service.name, api.name)

    async def endpoint(request: Request) -> Response:
        request_id = _request_id(request)
        started = time.perf_counter()

        def done() -> None:
            in_progress.dec()
            duration.observe(time.perf_counter() - started)

        reply: Reply | StreamReply
        try:
            body = await read_body(request, options.max_body_bytes)
        except (PayloadTooLarge, CallCancelled) as error:
            reply = problem_of(error, request_id)
        else:
            started = time.perf_counter()
            in_progress.inc()
            last_request.set_to_current_time()
            info = call_info_of(request, request_id) if api.context is not None else None
            try:
                reply = await handler.handle(body, request.headers, request_id, info=info, receive=request.receive)
            except BaseException:
                done()
                raise
            if isinstance(reply, Reply):
                done()
        metrics.requests.labels(service.name, api.name, str(reply.status)).inc()
        return _response(reply, request_id, done)

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


def _add_health(app: FastAPI, checks: Probes) -> None:
    async def alive() -> Response:
        """The front-end runs."""
        if await checks.alive():
            return Response("\n", media_type=_PLAIN)
        return Response("the service says that it is dead: __is_alive__ returned False\n", 503, media_type=_PLAIN)

    async def ready() -> Response:
        """The service can answer now."""
        if await checks.ready():
            return Response("\n", media_type=_PLAIN)
        return Response("the service is not ready\n", 503, media_type=_PLAIN, headers={"Retry-After": "1"})

    unready: dict[int | str, dict[str, Any]] = {
        503: {"description": "Not ready.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
    for path, endpoint in (("/livez", alive), ("/healthz", alive), ("/readyz", ready)):
        app.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=["server"],
            name=path[1:],
            operation_id=path[1:],
            response_class=Response,
            response_model=None,
            responses={
                200: {"description": "Yes.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                **unready,
            },
        )


def _add_metrics(app: FastAPI, page: MetricsPage, checks: Probes) -> None:
    async def metrics() -> Response:
        """Counters of the front-end and of Triton, in Prometheus' text form."""
        return Response(await checks.metrics(await page.text()), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        tags=["server"],
        operation_id="metrics",
        response_class=Response,
        response_model=None,
        responses={200: {"description": "The page.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    )


def _add_client_schema(app: FastAPI, service: ServiceSpec) -> None:
    document = client_schema(service)

    async def schema() -> Response:
        """The APIs in the form that BentoML's clients read."""
        return JSONResponse(document)

    app.add_api_route(
        "/schema.json",
        schema,
        methods=["GET"],
        tags=["server"],
        operation_id="schema",
        response_class=JSONResponse,
        response_model=None,
        responses={200: {"description": "The document.", "content": {JSON: {"schema": {"type": "object"}}}}},
    )


def _add_docs(app: FastAPI, service: ServiceSpec, components: Components) -> None:
    """Swagger UI and ReDoc from files of our own: they work with no internet."""
    static = Path(fastapi_offline.__file__).parent / "static"
    app.mount(_STATIC, StaticFiles(directory=static), name="docs-static")

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(components.schemas)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document

    async def docs(_: Request) -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{service.name} - Swagger UI",
            swagger_js_url=f".{_STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f".{_STATIC}/swagger-ui.css",
            swagger_favicon_url=f".{_STATIC}/favicon.png",
        )

    async def redoc(_: Request) -> Response:
        return get_redoc_html(
            openapi_url="openapi.json",
            title=f"{service.name} - ReDoc",
            redoc_js_url=f".{_STATIC}/redoc.standalone.js",
            redoc_favicon_url=f".{_STATIC}/favicon.png",
            with_google_fonts=False,
        )

    app.add_route("/docs", docs, methods=["GET"], include_in_schema=False)
    app.add_route("/redoc", redoc, methods=["GET"], include_in_schema=False)


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


def _add_edge(app: FastAPI, service: ServiceSpec, metrics: FrontendMetrics, options: FrontendOptions) -> None:
    names = {api.route: api.name for api in service.apis}
    full = Overloaded(f"{service.name} has {service.traffic.max_concurrency} calls in flight, and takes no more")

    def overloaded(scope: Scope) -> Response:
        request_id = _request_id(Request(scope))
        reply = problem_of(full, request_id)
        metrics.requests.labels(service.name, names.get(route_of(scope), ""), str(reply.status)).inc()
        return _response(reply, request_id)

    def not_found(scope: Scope) -> Response:
        request_id = _request_id(Request(scope))
        detail = f"{scope['method']} {scope['path']}: Not Found"
        return _response(problem(404, "http", detail, request_id), request_id)

    add_edge(app, service, processes=options.processes, overloaded=overloaded, not_found=not_found)


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
