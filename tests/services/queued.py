"""Services that take their time and remember what they ran, for calls that wait, leave, and are told to stop."""

import asyncio
import time
from collections.abc import AsyncGenerator

import orchestrator


@orchestrator.service
class Sync:
    """One call at a time."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.told: list[str] = []
        self.running = self.most = 0

    @orchestrator.on_shutdown
    def last(self) -> None:
        print(f"stopped after {len(self.ran)}", flush=True)

    @orchestrator.api
    def work(self, name: str, seconds: float = 0.05) -> str:
        self.ran.append(name)
        print(f"ran {name}", flush=True)
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(seconds)
        self.running -= 1
        return name

    @orchestrator.api
    def until_told(self, name: str, ctx: orchestrator.Context, seconds: float = 20) -> str:
        self.ran.append(name)
        end = time.monotonic() + seconds
        while not ctx.cancelled and time.monotonic() < end:
            time.sleep(0.005)
        if ctx.cancelled:
            self.told.append(name)
        return name

    @orchestrator.api
    def deadline(self, ctx: orchestrator.Context) -> list[float]:
        assert ctx.deadline is not None
        assert ctx.time_left is not None
        return [ctx.deadline, ctx.time_left, time.time()]

    @orchestrator.api
    def history(self) -> dict[str, list[str]]:
        return {"ran": self.ran, "told": self.told}

    @orchestrator.api
    def most_at_once(self) -> int:
        return self.most


@orchestrator.service(threads=2)
class Threaded(Sync):
    """Two calls at a time."""


@orchestrator.service
class Async:
    """Any number of calls at a time."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.cancelled: list[str] = []

    @orchestrator.on_shutdown
    def last(self) -> None:
        print(f"Async stops; cancelled {self.cancelled}", flush=True)

    @orchestrator.api
    async def work(self, name: str, seconds: float = 0.05) -> str:
        self.ran.append(name)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return name

    @orchestrator.api
    async def ticks(self, name: str, count: int = 1_000_000, pause: float = 0.01) -> AsyncGenerator[str, None]:
        self.ran.append(name)
        try:
            for number in range(count):
                yield f"{number}\n"
                await asyncio.sleep(pause)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(name)
            raise

    @orchestrator.api
    async def history(self) -> dict[str, list[str]]:
        return {"ran": self.ran, "cancelled": self.cancelled}
