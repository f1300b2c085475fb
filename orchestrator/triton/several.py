"""Several Tritons that serve the same: each call goes to the one with the least to do.

A machine that does not answer, stops, or has gone from the name's addresses gets no more calls within a second. A call
that it had not begun goes to another one; one that it may have begun fails, retryable, and does not hang.
"""

import asyncio
import contextlib
import dataclasses
import logging
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from orchestrator.engine.backend import Backend, InferRequest, InferResponse
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded
from orchestrator.triton.faults import NotBegun, StatusCause

__all__ = ["Server", "SeveralBackend"]

T = TypeVar("T")
logger = logging.getLogger("orchestrator.triton")
_LOOK_S: Final = 0.4
_ANSWER_S: Final = 0.5
"""A server that does not say in that time that it is ready gets no calls until it does."""
_SILENT: Final = 4
"""Times that it says nothing, one after the other, after which the calls that it has are given up."""
_PATIENCE_S: Final = 5.0
"""How long a call waits for any server at all, at the most."""
_REPAIR_S: Final = 10.0
"""How long a call waits for the repair of what runs it, where nothing else does."""
_AGAIN_S: Final = 0.05
_NOT_BEGUN: Final = re.compile(
    r"failed to connect to all addresses|[Ss]erver (is )?not ready|[Ss]erver (is )?(stopping|exiting)"
    r"|unknown model: '.*' (is not found|has no available versions)"
)


class Server(Backend, Protocol):
    """One Triton."""

    @property
    def takes_calls(self) -> bool:
        """Whether it may be called, as far as is known; `server_ready` asks."""
        ...

    def answers(self, model: str) -> bool:
        """Whether something runs a model there, as far as is known."""
        ...

    async def server_ready(self) -> bool:
        """Whether it takes calls now. Never raises."""
        ...


class _Member:
    """One of the servers.

    Attributes:
        running: calls that it has.
        up: it takes calls.
        leaves: its machine is none of the name's any more.
        silent: times that it has said nothing, one after the other.
    """

    def __init__(self, address: str, server: Server) -> None:
        self.address = address
        self.server = server
        self.running: set[_Call] = set()
        self.up = False
        self.leaves = False
        self.silent = 0

    def set_up(self, up: bool) -> None:
        """Says whether it takes calls, and tells the log where that is new."""
        if up is not self.up:
            self.up = up
            logger.warning("the Triton at %s takes %s", self.address, "calls" if up else "no calls")

    def lose(self) -> None:
        """It answers nobody: its calls are let go."""
        for call in list(self.running):
            call.lose()


class _Call:
    """A call on its way to one server."""

    def __init__(self) -> None:
        self._lost = False
        self._task: asyncio.Task[Any] | None = None

    def lose(self) -> None:
        self._lost = True
        if self._task is not None:
            self._task.cancel()

    async def wait_for(self, answer: Awaitable[T]) -> T:
        """Waits, until the server is lost.

        Raises:
            BackendUnavailable: it is.
        """
        if self._lost:
            raise _gone()
        self._task = task = asyncio.current_task()
        try:
            return await answer
        except asyncio.CancelledError:
            if not self._lost or task is None or task.uncancel():
                raise
            raise _gone() from None
        finally:
            self._task = None


class _Way:
    """A call on its way to some server.

    Attributes:
        tried: addresses of servers that did not begin it, and will not.
    """

    def __init__(self, request: InferRequest) -> None:
        now = asyncio.get_running_loop().time()
        self.tried: set[str] = set()
        self.model = request.model
        self._request = request
        self._end = math.inf if request.timeout_s is None else now + request.timeout_s
        self._patience_end = now + _REPAIR_S

    @property
    def left_s(self) -> float:
        """Of its caller's time."""
        return self._end - asyncio.get_running_loop().time()

    @property
    def patience_s(self) -> float:
        """How long it may wait for a repair."""
        return min(self._end, self._patience_end) - asyncio.get_running_loop().time()

    def request(self) -> InferRequest:
        """As it is sent now.

        Raises:
            DeadlineExceeded: its caller's time is over.
        """
        if self._request.timeout_s is None:
            return self._request
        if self.left_s <= 0:
            raise DeadlineExceeded("the model did not answer in time")
        return dataclasses.replace(self._request, timeout_s=self.left_s)


class SeveralBackend:
    """Implements `Backend`.

    Args:
        connect: makes the connection to a server: (`host:port`).
        resolve: gives the servers' addresses as they are now.
    """

    def __init__(self, connect: Callable[[str], Server], resolve: Callable[[], Awaitable[Sequence[str]]]) -> None:
        self._connect = connect
        self._resolve = resolve
        self._members: dict[str, _Member] = {}
        self._watching: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def addresses(self) -> dict[str, bool]:
        """Address -> whether it takes calls."""
        return {member.address: member.up for member in self._members.values()}

    async def open(self) -> None:
        if self._watching is None:
            await self._look()
            self._watching = asyncio.create_task(self._watch())

    async def infer(self, request: InferRequest) -> InferResponse:
        way = _Way(request)
        while True:
            member, request = await self._chosen(way), way.request()
            call = _Call()
            member.running.add(call)
            try:
                return await call.wait_for(member.server.infer(request))
            except CallError as error:
                failure = error
            finally:
                member.running.discard(call)
            await self._judge(way, member, failure)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        way = _Way(request)
        while True:
            member, request = await self._chosen(way), way.request()
            call = _Call()
            member.running.add(call)
            begun = False
            try:
                async with contextlib.aclosing(member.server.stream(request)) as parts:
                    while (part := await call.wait_for(anext(parts, None))) is not None:
                        begun = True
                        yield part
                    return
            except CallError as error:
                if begun:
                    raise
                failure = error
            finally:
                member.running.discard(call)
            await self._judge(way, member, failure)

    async def ready(self, model: str) -> bool:
        """Whether any server can run it."""
        up = [member for member in self._members.values() if member.up]
        return any(await asyncio.gather(*(member.server.ready(model) for member in up)))

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(*(member.server.close() for member in self._members.values()), *self._ending)

    async def _chosen(self, way: "_Way") -> _Member:
        """The server with the least to do; waits a little where there is none.

        Raises:
            BackendUnavailable: there is none.
        """
        await self.open()
        loop = asyncio.get_running_loop()
        end = loop.time() + min(_PATIENCE_S, way.left_s)
        while True:
            if fit := self._fit(way):
                best = [member for member in fit if member.server.answers(way.model)]
                return min(best or fit, key=lambda member: len(member.running))
            left_s = end - loop.time()
            if left_s <= 0 or way.tried:
                raise BackendUnavailable("no Triton takes calls now")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)

    def _fit(self, way: "_Way") -> list[_Member]:
        """Servers that take calls."""
        return [
            member
            for member in self._members.values()
            if member.up and member.server.takes_calls and member.address not in way.tried
        ]

    async def _judge(self, way: "_Way", member: _Member, error: CallError) -> None:
        """Lets a call that failed go on to another server, where it was not begun; or to the same, once that can run it.

        Raises:
            CallError: it may have been, or nothing will run it soon.
        """
        cause = error.__cause__
        if isinstance(error, NotBegun):
            if any(each is not member and each.server.answers(way.model) for each in self._fit(way)):
                way.tried.add(member.address)
            elif error.soon and way.patience_s > _AGAIN_S:
                await asyncio.sleep(_AGAIN_S)
            else:
                raise error
            return
        if not isinstance(cause, StatusCause) or cause.details or not _NOT_BEGUN.search(cause.text):
            raise error
        way.tried.add(member.address)
        if "unknown model" not in cause.text:
            member.set_up(False)  # until it says otherwise

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        addresses = await self._resolve()
        for address in addresses:
            if address not in self._members:
                member = self._members[address] = _Member(address, self._connect(address))
                await member.server.open()
        members = list(self._members.values())
        answers = await asyncio.gather(*(_is_ready(member.server) for member in members))
        for member, is_ready in zip(members, answers, strict=True):
            member.leaves = member.address not in addresses
            member.set_up(bool(is_ready) and not member.leaves)  # one that stops ends what it has
            member.silent = member.silent + 1 if is_ready is None else 0
            if member.silent >= _SILENT:
                member.lose()
            # A name may lose an address for a moment, so only one that is idle is forgotten.
            if member.leaves and not member.running:
                del self._members[member.address]
                ending = asyncio.create_task(member.server.close())
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
        self._changed.set()


async def _is_ready(server: Server) -> bool | None:
    """Whether it takes calls; None where it says nothing."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await server.server_ready()
    except TimeoutError:
        return None


def _gone() -> BackendUnavailable:
    return BackendUnavailable("the Triton that had the call does not answer any more")
