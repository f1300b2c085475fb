"""Services that call `remote.py` where it is served elsewhere: in a worker of Triton's, and on the front-end."""

import os
from collections.abc import AsyncGenerator
from typing import Any

import orchestrator

URL = os.environ.get("FAR_URL", "http://127.0.0.1:9")


@orchestrator.service
class InTriton:
    far = orchestrator.depends(url=URL)

    @orchestrator.api
    def seen(self) -> dict[str, Any]:
        return self.far.seen()

    @orchestrator.api
    def fail(self) -> str:
        return self.far.fail("busy")

    @orchestrator.api
    def wait(self, name: str) -> str:
        return self.far.wait(name)


@orchestrator.service
class OnFrontend:
    far = orchestrator.depends(url=URL)

    @orchestrator.api
    async def seen(self) -> dict[str, Any]:
        return await self.far.to_async.seen()

    @orchestrator.api
    async def fail(self) -> str:
        return await self.far.to_async.fail("busy")

    @orchestrator.api
    async def wait(self, name: str) -> str:
        return await self.far.to_async.wait(name)

    @orchestrator.api
    async def words(self, text: str) -> AsyncGenerator[str, None]:
        async for word in self.far.to_async.words(text):
            yield word
