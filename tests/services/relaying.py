"""Services that pass on another's stream, chunk by chunk: two deep and three, async and sync.

    Relay, SyncRelay ── Maker
    Third ── Relay ── Maker

A subclass puts one somewhere else; its code is the same in all places.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import orchestrator
from orchestrator.errors import RequestFailed


class Spilt(RequestFailed):
    status = 418


class Counts:
    """How far each stream has come, by its name; not a service itself."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.ended: list[str] = []


@orchestrator.service(threads=2)
class Maker(Counts):
    """Makes chunks as fast as they are asked for."""

    @orchestrator.api
    async def texts(self, name: str, count: int, size: int) -> AsyncGenerator[str, None]:
        try:
            for number in range(count):
                self.made[name] += 1
                yield f"{number:<{size - 1}}\n"
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def objects(self, name: str, count: int) -> AsyncGenerator[dict[str, int], None]:
        try:
            for number in range(count):
                self.made[name] += 1
                yield {"number": number}
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def held(self, gate: str) -> AsyncGenerator[int, None]:
        """One chunk; the next one comes once there is a file."""
        yield 0
        while not await asyncio.to_thread(Path(gate).exists):
            await asyncio.sleep(0.01)
        yield 1

    @orchestrator.api
    def sync_held(self, gate: str) -> Iterator[int]:
        yield 0
        while not Path(gate).exists():
            time.sleep(0.01)
        yield 1

    @orchestrator.api
    async def breaks(self, after: int) -> AsyncGenerator[int, None]:
        for number in range(after):
            yield number
        raise Spilt(f"after {after}")

    @orchestrator.api
    async def made_for(self, name: str) -> int:
        return self.made[name]

    @orchestrator.api
    async def has_ended(self, name: str) -> bool:
        return name in self.ended


@orchestrator.service
class Relay(Counts):
    """Passes on what it reads with `async for`."""

    maker = orchestrator.depends(Maker)

    @orchestrator.api
    async def texts(self, name: str, count: int, size: int) -> AsyncGenerator[str, None]:
        try:
            async for text in self.maker.texts(name, count, size):
                self.made[name] += 1
                yield text
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def objects(self, name: str, count: int) -> AsyncGenerator[dict[str, int], None]:
        try:
            async for each in self.maker.objects(name, count):
                self.made[name] += 1
                yield each
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def held(self, gate: str) -> AsyncGenerator[int, None]:
        async for number in self.maker.held(gate):
            yield number

    @orchestrator.api
    async def sync_held(self, gate: str) -> AsyncGenerator[int, None]:
        async for number in self.maker.to_async.sync_held(gate):
            yield number

    @orchestrator.api
    async def breaks(self, after: int) -> AsyncGenerator[int, None]:
        async for number in self.maker.breaks(after):
            yield number

    @orchestrator.api
    async def handled(self, after: int) -> AsyncGenerator[str, None]:
        try:
            async for number in self.maker.breaks(after):
                yield str(number)
        except Spilt as error:
            yield f"wiped up: {error}"

    @orchestrator.api
    async def asks(self, count: int) -> AsyncGenerator[int, None]:
        """Makes a call for each chunk."""
        for number in range(count):
            yield number + await self.maker.made_for("nothing")
            await asyncio.sleep(0.05)

    @orchestrator.api
    async def made_for(self, name: str) -> list[int]:
        """By the maker, and here."""
        return [await self.maker.made_for(name), self.made[name]]

    @orchestrator.api
    async def has_ended(self, name: str) -> list[bool]:
        return [await self.maker.has_ended(name), name in self.ended]


@orchestrator.service(placement="triton")
class RelayInTriton(Relay):
    pass


@orchestrator.service(threads=2)
class SyncRelay(Counts):
    """Passes on what it reads with `for`."""

    maker = orchestrator.depends(Maker)

    @orchestrator.api
    def texts(self, name: str, count: int, size: int) -> Iterator[str]:
        try:
            for text in self.maker.to_sync.texts(name, count, size):
                self.made[name] += 1
                yield text
        finally:
            self.ended.append(name)

    @orchestrator.api
    def objects(self, name: str, count: int) -> Iterator[dict[str, int]]:
        try:
            for each in self.maker.to_sync.objects(name, count):
                self.made[name] += 1
                yield each
        finally:
            self.ended.append(name)

    @orchestrator.api
    def held(self, gate: str) -> Iterator[int]:
        yield from self.maker.to_sync.held(gate)

    @orchestrator.api
    def sync_held(self, gate: str) -> Iterator[int]:
        yield from self.maker.sync_held(gate)

    @orchestrator.api
    def breaks(self, after: int) -> Iterator[int]:
        yield from self.maker.to_sync.breaks(after)

    @orchestrator.api
    def handled(self, after: int) -> Iterator[str]:
        try:
            for number in self.maker.to_sync.breaks(after):
                yield str(number)
        except Spilt as error:
            yield f"wiped up: {error}"

    @orchestrator.api
    def made_for(self, name: str) -> list[int]:
        return [self.maker.to_sync.made_for(name), self.made[name]]

    @orchestrator.api
    def has_ended(self, name: str) -> list[bool]:
        return [self.maker.to_sync.has_ended(name), name in self.ended]


@orchestrator.service(placement="frontend", threads=2)
class SyncRelayInFrontend(SyncRelay):
    pass


@orchestrator.service
class Third(Counts):
    """One more on top."""

    relay = orchestrator.depends(Relay)

    @orchestrator.api
    async def texts(self, name: str, count: int, size: int) -> AsyncGenerator[str, None]:
        try:
            async for text in self.relay.texts(name, count, size):
                self.made[name] += 1
                yield text
        finally:
            self.ended.append(name)

    @orchestrator.api
    async def held(self, gate: str) -> AsyncGenerator[int, None]:
        async for number in self.relay.held(gate):
            yield number

    @orchestrator.api
    async def breaks(self, after: int) -> AsyncGenerator[int, None]:
        async for number in self.relay.breaks(after):
            yield number

    @orchestrator.api
    async def made_for(self, name: str) -> list[int]:
        return [*await self.relay.made_for(name), self.made[name]]

    @orchestrator.api
    async def has_ended(self, name: str) -> list[bool]:
        return [*await self.relay.has_ended(name), name in self.ended]


@orchestrator.service(placement="triton")
class ThirdInTriton(Third):
    pass
