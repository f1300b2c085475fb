"""The server's own routes: health, metrics, the documents and their pages."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from orchestrator.engine.health import ModelHealth, State
from orchestrator.server.checks import Probes
from orchestrator.server.client_schema import client_schema
from orchestrator.server.media import JSON
from orchestrator.server.metrics import MetricsPage
from orchestrator.server.openapi import Components
from orchestrator.spec import ServiceSpec

__all__ = ["add_client_schema", "add_docs", "add_health", "add_metrics"]

_STATIC: Final = "/docs/static"
_PLAIN: Final = "text/plain; charset=utf-8"


def add_health(app: FastAPI, checks: Probes, health: Callable[[], ModelHealth] = ModelHealth) -> None:
    """Adds `/livez`, `/healthz` and `/readyz`.

    Args:
        checks: asks the service.
        health: of all that it needs.
    """

    async def alive() -> Response:
        """The front-end runs."""
        if await checks.alive():
            return Response("\n", media_type=_PLAIN)
        return Response("the service says that it is dead: __is_alive__ returned False\n", 503, media_type=_PLAIN)

    async def ready() -> Response:
        """The service can answer now; where it does so with less than it should have, the body says what is missing."""
        now = health()
        said = f"{now.state.value}: {now.reason}\n"
        if not now.answers:
            retry_s = str(max(1, math.ceil(now.retry_s)))
            return Response(said, 503, media_type=_PLAIN, headers={"Retry-After": retry_s})
        if not await checks.ready():
            said = f"not ready: {checks.missing}\n" if checks.missing else "the service is not ready\n"
            return Response(said, 503, media_type=_PLAIN, headers={"Retry-After": "1"})
        return Response("\n" if now.state is State.SERVING else said, media_type=_PLAIN)

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


def add_metrics(app: FastAPI, page: MetricsPage, checks: Probes) -> None:
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


def add_client_schema(app: FastAPI, service: ServiceSpec) -> None:
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


def add_docs(app: FastAPI, service: ServiceSpec, components: Components) -> None:
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
