"""Generators that make chunks as fast as they are asked, and count them."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator

import orchestrator


@orchestrator.service
class Flooding:
    """Streams without end, sync and async."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.ended: list[str] = []

    @orchestrator.api
    async def objects(self, name: str, count: int) -> AsyncGenerator[dict[str, int], None]:
        try:
            for number in range(count):
                self.made[name] += 1
                yield {"number": number}  # without a pause: nothing but its reader holds it up
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def texts(self, name: str, count: int, size: int) -> AsyncGenerator[str, None]:
        try:
            for number in range(count):
                self.made[name] += 1
                yield f"{number:<{size - 1}}\n"
        finally:
            self.ended.append(name)

    @orchestrator.api
    def sync_texts(self, name: str, count: int, size: int) -> Iterator[str]:
        try:
            for number in range(count):
                self.made[name] += 1
                yield f"{number:<{size - 1}}\n"
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def waits(self, name: str) -> AsyncGenerator[int, None]:
        """One chunk, and then no more for a long time."""
        try:
            yield 0
            await asyncio.sleep(3600)
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def made_for(self, name: str) -> int:
        return self.made[name]

    @orchestrator.api
    async def has_ended(self, name: str) -> bool:
        return name in self.ended
