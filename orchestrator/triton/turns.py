"""Whose turn it is to load a model. Triton takes loads of one model one after the other, in the order in which they come;
a deployment that turns it to a new version and a repair that loads the old one anew must not get between each other.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

__all__ = ["Turns"]


class Turns:
    """One server's. It belongs to one event loop."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, model: str) -> asyncio.Lock:
        """To be held while a model is loaded, and what the disk says of it is changed."""
        return self._locks[model]

    @contextlib.asynccontextmanager
    async def every(self) -> AsyncIterator[None]:
        """Holds the turn of every model that has ever had one."""
        async with contextlib.AsyncExitStack() as stack:
            for model in sorted(self._locks):
                await stack.enter_async_context(self._locks[model])
            yield
