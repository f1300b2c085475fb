"""`queued.Sync` behind a composite: on the front-end, and in Triton with sync and async methods."""

from queued import Sync  # type: ignore[import-not-found]  # in the same folder, which is where it is served from

import orchestrator


class Awaiting:
    leaf = orchestrator.depends(Sync)

    @orchestrator.api
    async def work(self, name: str, seconds: float = 0.05) -> str:
        return await self.leaf.to_async.work(name, seconds=seconds)

    @orchestrator.api
    async def until_told(self, name: str, seconds: float = 20) -> str:
        return await self.leaf.to_async.until_told(name, seconds=seconds)

    @orchestrator.api
    async def deadline(self) -> list[float]:
        return await self.leaf.to_async.deadline()

    @orchestrator.api
    async def history(self) -> dict[str, list[str]]:
        return await self.leaf.to_async.history()


@orchestrator.service
class OnFrontend(Awaiting):
    """Async, so that it runs there."""


@orchestrator.service(placement="triton")
class AsyncInTriton(Awaiting):
    """Async, by BLS."""


@orchestrator.service(threads=64)
class SyncInTriton:
    """Sync, by BLS."""

    leaf = orchestrator.depends(Sync)

    @orchestrator.api
    def work(self, name: str, seconds: float = 0.05) -> str:
        return self.leaf.work(name, seconds=seconds)

    @orchestrator.api
    def until_told(self, name: str, seconds: float = 20) -> str:
        return self.leaf.until_told(name, seconds=seconds)

    @orchestrator.api
    def deadline(self) -> list[float]:
        return self.leaf.deadline()

    @orchestrator.api
    def history(self) -> dict[str, list[str]]:
        return self.leaf.history()
