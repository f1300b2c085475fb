"""Async methods, streams and context, for both placements."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from fastapi import FastAPI

import orchestrator


@orchestrator.service(threads=2)
class Flows:
    """Many calls in flight."""

    def __init__(self) -> None:
        self.events = ["init"]
        self.running = 0
        self.most = 0

    @orchestrator.on_startup
    def first(self) -> None:
        self.events.append("first")

    @orchestrator.on_startup
    async def second(self) -> None:
        await asyncio.sleep(0)
        self.events.append("second")

    @orchestrator.api
    async def wait(self, seconds: float) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.running -= 1
        return self.most

    @orchestrator.api
    def block(self, seconds: float) -> str:
        time.sleep(seconds)
        return "done"

    @orchestrator.api
    def words(self, count: int = 3) -> Iterator[str]:
        for number in range(count):
            yield f"word {number} "

    @orchestrator.api
    async def objects(self, count: int = 3) -> AsyncGenerator[dict[str, int], None]:
        for number in range(count):
            yield {"number": number}
            await asyncio.sleep(0)

    @orchestrator.api
    async def breaks(self, after: int) -> AsyncGenerator[str, None]:
        for number in range(after):
            yield f"{number}"
        raise RuntimeError("in the middle")

    @orchestrator.api
    def greet(self, name: str, ctx: orchestrator.Context) -> str:
        ctx.state["calls"] = ctx.state.get("calls", 0) + 1
        ctx.response.status_code = 202
        ctx.response.headers.append("X-Calls", str(ctx.state["calls"]))
        ctx.response.set_cookie("seen", "yes", httponly=True)
        note = Path(ctx.temp_dir) / "note.txt"
        note.write_text(name)
        agent = ctx.request.headers.get("user-agent", "nobody")
        return f"{note.read_text()} by {agent} on {ctx.request.url.path} {ctx.request.query_params.get('q')} {ctx.temp_dir}"

    @orchestrator.api
    def history(self) -> list[str]:
        return self.events

    @orchestrator.api
    def worker(self) -> int:
        return orchestrator.server_context.worker_index


@orchestrator.service(threads=2)
@orchestrator.asgi_app(FastAPI(), path="/extra")
class FlowsInFrontend(Flows):
    """The same, on the front-end's event loop."""
