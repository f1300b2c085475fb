"""The status page: static files and the document that they show. docs/status-page.md says what is on it.

Nothing on the page comes from another host, and nothing in it is a script but our files: the policy below has browsers hold us
to that, whatever a docstring or an answer has in it.
"""

from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from orchestrator.server.media import JSON
from orchestrator.server.mounts import Extension
from orchestrator.server.status import Status
from orchestrator.spec import ServiceSpec

__all__ = ["DOCUMENT", "HOME", "add_status_page", "has_home"]

HOME: Final = "/"
DOCUMENT: Final = "/status.json"
_PAGE: Final = "/docs/status"
"""The page's second address, which it also has where the service itself answers `/`; its files are below."""
_FILES: Final = Path(__file__).with_name("static")
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob:",  # an answer, or a file before it is sent
        "media-src blob:",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def has_home(service: ServiceSpec, extension: Extension) -> bool:
    """Whether `/` is ours: an API or an application that a service has there comes first."""
    return all(api.route != HOME for api in service.apis) and all(mounted.path for mounted in extension.mounts)


def add_status_page(app: FastAPI, status: Status, *, home: bool) -> None:
    """Adds `/status.json`, and the page.

    Args:
        home: the page is at `/`, too.
    """
    page = (_FILES / "index.html").read_text()

    async def document() -> Response:
        """Services, the versions that serve, health and counters, as the status page shows them; at most a second old."""
        return Response(await status.document(), media_type=JSON, headers={"Cache-Control": "no-store"})

    app.add_api_route(
        DOCUMENT,
        document,
        methods=["GET"],
        tags=["server"],
        operation_id="status",
        response_class=Response,
        response_model=None,
        responses={200: {"description": "The document.", "content": {JSON: {"schema": {"type": "object"}}}}},
    )

    def page_below(root: str) -> HTMLResponse:
        return HTMLResponse(page.replace("{root}", root), headers=_HEADERS)

    async def at_home(_: Request) -> Response:
        return page_below("./")

    async def below_docs(_: Request) -> Response:
        return page_below("../")

    if home:
        app.add_route(HOME, at_home, methods=["GET"], include_in_schema=False)
    app.add_route(_PAGE, below_docs, methods=["GET"], include_in_schema=False)
    app.mount(_PAGE, _Files(directory=_FILES), name="status-page")


class _Files(StaticFiles):
    """Browsers ask whether a file has changed: the next release's page must not run this one's script."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update({"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})
        return response
