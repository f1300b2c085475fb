"""The load generator: keep-alive HTTP/1.1 connections, each with one request in flight. Runs in a process of its own
(generator.py).

No request is built and no coroutine runs while it measures: bytes are written, the answer is cut out of what comes back
and checked, the next bytes are written.
"""

import asyncio
import gc
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import uvloop

__all__ = ["DRAIN_S", "WARM_UP_S", "Address", "Check", "Exchange", "Job", "Sample", "measure"]

Check = Callable[[bytes, bytes, int], bool]
"""(head, body, expected class) -> whether the body says that class. A module's function, so that it can be pickled."""
Address = tuple[str, int]

WARM_UP_S: Final = 0.2
DRAIN_S: Final = 10.0
"""How long answers may take once nothing more is sent; what is still missing then is an error."""
_CONNECT_S: Final = 5.0
_RECONNECT_S: Final = 0.05
_MAX_ANSWER_BYTES: Final = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as it goes over the wire, and the class that its answer must name."""

    request: bytes
    expected: int


@dataclass(frozen=True, slots=True)
class Job:
    """One cell.

    Attributes:
        connections: as many requests are in flight at any time.
        seconds: measured time, after a warm-up of `WARM_UP_S`.
    """

    address: Address
    exchanges: tuple[Exchange, ...]
    check: Check
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What one cell showed.

    Attributes:
        per_second: right answers that came within the measured time, per second of it.
        p50_ms: median latency of the requests that were sent within the measured time and answered right.
        answers: right answers in all, warm-up and drain included: what the server must have counted, too.
        errors: what went wrong -> how often, warm-up and drain included.
        client_cpu: share of one core that the load generator itself used while it measured (0 to 1).
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    answers: int
    errors: dict[str, int]
    client_cpu: float


def measure(job: Job) -> Sample:
    """Runs one cell. Ends at most `WARM_UP_S + job.seconds + DRAIN_S` after the connections are there."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Run(job).run())


class _Run:
    """The state that the connections of one cell share."""

    def __init__(self, job: Job) -> None:
        self.exchanges = job.exchanges
        self.check = job.check
        self.errors: Counter[str] = Counter()
        self.answers = 0
        self.within = 0
        self.latencies_s: list[float] = []
        self.opens = self.closes = float("inf")
        self.stopped = False
        self._job = job
        self._connections = [_Connection(self, number) for number in range(job.connections)]
        self._idle = asyncio.Event()
        self._reconnects: set[asyncio.Task[None]] = set()

    async def run(self) -> Sample:
        await asyncio.gather(*(self._connect(connection) for connection in self._connections))
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            self.opens = start + WARM_UP_S
            self.closes = self.opens + self._job.seconds
            for connection in self._connections:
                connection.send()
            await asyncio.sleep(WARM_UP_S)
            cpu_s = time.process_time()
            await asyncio.sleep(max(0.0, self.closes - time.perf_counter()))
            cpu_s = time.process_time() - cpu_s
            await self._drain()
        finally:
            gc.enable()
        return self._sample(cpu_s)

    def right(self, sent: float, received: float) -> None:
        """A right answer."""
        self.answers += 1
        if self.opens <= received < self.closes:
            self.within += 1
        if self.opens <= sent < self.closes:
            self.latencies_s.append(received - sent)

    def lost(self, connection: "_Connection") -> None:
        """The server hung up: come back after a pause, so that a dead server is not hammered."""
        if not self.stopped:
            task = asyncio.get_running_loop().create_task(self._again(connection))
            self._reconnects.add(task)
            task.add_done_callback(self._reconnects.discard)

    def now_idle(self) -> None:
        """A connection has its answer and sends nothing more."""
        if not any(connection.waiting for connection in self._connections):
            self._idle.set()

    async def _connect(self, connection: "_Connection") -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_S):
                await loop.create_connection(lambda: connection, *self._job.address)
        except (OSError, TimeoutError) as error:
            self.errors[f"cannot connect: {type(error).__name__}"] += 1
            return False
        return True

    async def _again(self, connection: "_Connection") -> None:
        await asyncio.sleep(_RECONNECT_S)
        while not self.stopped:
            if await self._connect(connection):
                connection.send()
                return
            await asyncio.sleep(_RECONNECT_S)

    async def _drain(self) -> None:
        self.stopped = True
        if any(connection.waiting for connection in self._connections):
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._idle.wait()
            except TimeoutError:
                missing = sum(connection.waiting for connection in self._connections)
                self.errors[f"no answer within {DRAIN_S:.0f} s"] += missing
        for task in tuple(self._reconnects):
            task.cancel()
        for connection in self._connections:
            connection.close()

    def _sample(self, cpu_s: float) -> Sample:
        latencies_s = sorted(self.latencies_s)
        return Sample(
            per_second=self.within / self._job.seconds,
            p50_ms=_percentile(latencies_s, 0.50) * 1000,
            p99_ms=_percentile(latencies_s, 0.99) * 1000,
            answers=self.answers,
            errors=dict(self.errors),
            client_cpu=cpu_s / self._job.seconds,
        )


class _Connection(asyncio.Protocol):
    """One keep-alive connection; each starts at another flower, so that swapped answers show."""

    def __init__(self, run: _Run, number: int) -> None:
        self.waiting = False
        self._run = run
        self._next = number
        self._transport: asyncio.Transport | None = None
        self._expected = 0
        self._sent = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def send(self) -> None:
        """Sends the next request."""
        if self._transport is None:
            self._run.lost(self)
            return
        exchanges = self._run.exchanges
        exchange = exchanges[self._next % len(exchanges)]
        self._next += 1
        self._expected = exchange.expected
        self.waiting = True
        self._sent = time.perf_counter()
        self._transport.write(exchange.request)

    def data_received(self, data: bytes) -> None:
        received = time.perf_counter()
        if self._buffer:
            data = self._buffer + data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._buffer = data
            if len(data) > _MAX_ANSWER_BYTES:
                self._give_up("an answer without an end of its head")
            return
        length = _LENGTH.search(data, 0, head_end + 4)
        if length is None:
            self._give_up("an answer without a content-length")
            return
        end = head_end + 4 + int(length[1])
        if len(data) < end:
            self._buffer = data
            return
        if len(data) > end or not self.waiting:
            self._give_up("more bytes than the answer has")
            return
        self._buffer = b""
        self.waiting = False
        self._judge(data[: head_end + 4], data[head_end + 4 :], received)
        if self._run.stopped or received >= self._run.closes:
            self._run.now_idle()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.waiting:
            self.waiting = False
            cut = "in an answer" if self._buffer else "without an answer"
            self._run.errors[f"connection closed {cut}"] += 1
        if self._run.stopped:
            self._run.now_idle()
        else:
            self._run.lost(self)

    def close(self) -> None:
        """Hangs up."""
        self.waiting = False
        if self._transport is not None:
            self._transport.abort()

    def _judge(self, head: bytes, body: bytes, received: float) -> None:
        if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")):
            self._run.errors[f"status {head[9:12].decode(errors='replace')}"] += 1
        elif not self._right(head, body):
            self._run.errors["wrong body"] += 1
        else:
            self._run.right(self._sent, received)

    def _right(self, head: bytes, body: bytes) -> bool:
        try:
            return self._run.check(head, body, self._expected)
        except (ValueError, KeyError, IndexError, TypeError):
            return False  # not even of the right form

    def _give_up(self, reason: str) -> None:
        """What comes next on this connection cannot be told apart any more."""
        self._run.errors[reason] += 1
        self.close()


def _percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; NaN where there are none."""
    if not ordered:
        return float("nan")
    return ordered[max(0, -(-int(share * 10_000) * len(ordered) // 10_000) - 1)]
