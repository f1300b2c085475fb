"""A service that brings an application along, with routes of its own that use its instance."""

from typing import Any

from fastapi import FastAPI, WebSocket

import orchestrator

app = FastAPI()


@orchestrator.service
@orchestrator.asgi_app(app, path="/v1")
class Mounted:
    def __init__(self) -> None:
        self.calls = 0
        self.up = True

    @orchestrator.api
    def add(self, by: int = 1) -> int:
        self.calls += by
        return self.calls

    @orchestrator.api
    def sink(self) -> None:
        self.up = False

    @app.get("/calls")
    def seen(self, plus: int = 0) -> int:
        return self.calls + plus

    @app.websocket("/live")
    async def live(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            self.calls += int(await websocket.receive_text())
            await websocket.send_text(str(self.calls))

    def __is_ready__(self) -> bool:
        return self.up

    async def __is_alive__(self) -> bool:
        return True

    def __metrics__(self, text: str) -> str:
        return text + "# HELP mounted_calls Calls.\n"


class Stamp:
    """Middleware that adds a header."""

    def __init__(self, app: Any, value: str) -> None:
        self.app, self.value = app, value

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", self.value.encode())]
            await send(message)

        await self.app(scope, receive, stamped)


Mounted.add_asgi_middleware(Stamp, value="seen")  # type: ignore[attr-defined]  # @service adds it


def plain(environ: Any, start_response: Any) -> list[bytes]:
    """A WSGI application."""
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


Mounted.mount_wsgi_app(plain, path="/old")  # type: ignore[attr-defined]  # @service adds it
