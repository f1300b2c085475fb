"""The path of one call through the front-end: bytes in, bytes out. No FastAPI in here.

body -> plain arguments (`ArgumentReader`) -> a place at the backend (`Admission`) -> `Invoker` -> plain result -> body
(`ResultWriter`, or a stream's `Framing`).
Everything that can fail raises one of our errors, and becomes a problem in one place.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from starlette.types import Receive

from orchestrator.engine import Invoker, Outcome
from orchestrator.errors import DeadlineExceeded, InvalidInput, OrchestratorError
from orchestrator.server.admission import Admission, Ticket
from orchestrator.server.arguments import ArgumentReader
from orchestrator.server.attendance import Attendance
from orchestrator.server.capacity import size_of
from orchestrator.server.effects import BODILESS, asked_of
from orchestrator.server.fetch import Fetcher
from orchestrator.server.patience import Caller
from orchestrator.server.problems import problem, problem_of
from orchestrator.server.reply import Reply, StreamReply
from orchestrator.server.results import ResultWriter
from orchestrator.server.streams import Framing, StreamBroken, framing_of
from orchestrator.spec import ApiSpec, CallInfo, ServiceSpec, ValueKind

__all__ = ["ApiHandler"]

_INTERNAL: Final = "the server failed; its log explains it under the request's id"
_TIMER_S: Final = 0.05
"""How much too early a timer may be."""
_UNBUFFERED: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Vary": "Accept"}
"""A proxy that collects a stream, or answers from it later, takes its point away."""
Broken = Callable[[Exception], None]
logger = logging.getLogger("orchestrator.server")


async def _first(source: AsyncGenerator[Outcome, None]) -> Outcome | None:
    return await anext(source, None)


class ApiHandler:
    """Answers the calls of one API.

    Args:
        service: that it belongs to.
        fetcher: for files that the caller names by URL.
        admission: of the service's calls.
    """

    def __init__(
        self, service: ServiceSpec, api: ApiSpec, invoker: Invoker, fetcher: Fetcher, admission: Admission
    ) -> None:
        self._service = service
        self._traffic = service.traffic
        self._api = api
        self._invoker = invoker
        self._admission = admission
        self._closing: set[asyncio.Task[None]] = set()
        self._reader = ArgumentReader(api, fetcher)
        self._writer = ResultWriter(api.result)

    async def handle(
        self,
        body: bytes,
        headers: Mapping[str, str],
        request_id: str,
        *,
        caller: Caller,
        info: CallInfo | None = None,
        receive: Receive | None = None,
        broken: Broken | None = None,
    ) -> Reply | StreamReply:
        """Answers one call. Never raises, but for cancellation.

        Args:
            headers: of the request, names in lower case.
            caller: with their own time limit.
            info: the request, for methods that take a context.
            receive: ASGI's, behind the body: tells when the caller has gone.
            broken: is told why a stream ends too early; its status has gone out by then.

        Returns:
            A stream where the API is one and has begun; whoever gets it closes it.
        """
        accept = headers.get("accept", "")
        ends = caller.deadline
        caller.within(self._traffic.timeout_s)
        try:
            with Attendance(receive):
                self._admission.check(caller)
                arguments = await self._reader.read(body, headers.get("content-type", ""))
                size = size_of(self._service, self._api, self._invoker.rows(self._api.name, arguments))
                ticket = await self._admission.enter(caller, size)
                try:
                    if self._api.stream:
                        return await self._stream(arguments, accept, request_id, info, caller, ends, ticket, broken)
                    outcome = await self._invoker.call(
                        self._api.name,
                        arguments,
                        info=info,
                        request_id=request_id,
                        timeout_s=_left(caller.deadline),
                        runs_on=ticket.runs_on,
                        parameters=caller.trace,
                    )
                finally:
                    ticket.release()
            if self._api.result.kind is ValueKind.TABLE:  # may load pyarrow, and write a whole file
                return await asyncio.to_thread(self._reply, outcome, accept)
            return self._reply(outcome, accept)
        except Exception as error:  # noqa: BLE001  # the boundary of a call: it is logged, and has an answer
            if isinstance(error, DeadlineExceeded) and caller.deadline - time.monotonic() < _TIMER_S:
                error = DeadlineExceeded(f"{self._service.name} did not answer in {caller.limit_s:g} seconds")
            return self._failure(error, request_id)

    def _reply(self, outcome: Outcome, accept: str) -> Reply:
        asked = asked_of(outcome.effects)
        if asked.status in BODILESS:
            return Reply(asked.status, b"", "", added=asked.headers)
        written = self._writer.write(outcome.value, accept)
        headers = dict(written.headers)
        named = {name.lower() for name, _ in asked.headers}
        for name in [name for name in headers if name.lower() in named]:
            del headers[name]
        return Reply(asked.status, written.content, asked.media_type or written.media_type, headers, asked.headers)

    async def _stream(
        self,
        arguments: Mapping[str, Any],
        accept: str,
        request_id: str,
        info: CallInfo | None,
        caller: Caller,
        ends: float,
        ticket: Ticket,
        broken: Broken | None,
    ) -> Reply | StreamReply:
        """Begins a stream.

        Args:
            caller: their deadline is for the first chunk.
            ends: when all of it must have come, by the monotonic clock.
            ticket: kept until the stream has ended.
        """
        limit_s = None if ends == math.inf else _left(ends)
        source = self._invoker.stream(
            self._api.name,
            arguments,
            info=info,
            request_id=request_id,
            timeout_s=limit_s,
            runs_on=ticket.runs_on,
            parameters=caller.trace,
        )
        reading = asyncio.ensure_future(_first(source))
        try:
            # The status line waits for the first chunk, so that an error before it has a status of its own.
            async with asyncio.timeout(_left(caller.deadline)):
                first = await asyncio.shield(reading)
            asked = asked_of(first.effects if first else None)
            framing = framing_of(self._api.result, accept, asked.media_type)
        except BaseException as error:
            self._abandon(reading, source, ticket)
            if isinstance(error, TimeoutError):
                raise _late() from None
            raise
        if asked.status in BODILESS:
            await source.aclose()
            return Reply(asked.status, b"", "", added=asked.headers)
        chunks = self._chunks(first, source, framing, request_id, broken)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket.runs_on(ended)
        return StreamReply(
            asked.status,
            chunks,
            source,
            partial(_end, ended),
            asked.media_type or framing.media_type,
            _UNBUFFERED,
            asked.headers,
        )

    def _abandon(
        self, reading: "asyncio.Future[Outcome | None]", source: AsyncGenerator[Outcome, None], ticket: Ticket
    ) -> None:
        """Ends a stream that nobody reads, without waiting: code that does not notice holds the ticket, not the caller."""

        async def close() -> None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await source.aclose()

        closing = asyncio.ensure_future(close())
        self._closing.add(closing)  # the loop itself keeps no task alive
        closing.add_done_callback(self._closing.discard)
        ticket.runs_on(closing)

    async def _chunks(
        self,
        first: Outcome | None,
        source: AsyncGenerator[Outcome, None],
        framing: Framing,
        request_id: str,
        broken: Broken | None,
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(source):
            try:
                if first is not None:
                    yield framing.chunk(first.value)
                async for outcome in source:
                    yield framing.chunk(outcome.value)
                return
            except Exception as error:  # noqa: BLE001  # the boundary of a call: it is logged, and told
                failure = framing.failure(self._failure(error, request_id, begun=True))
                if broken is not None:
                    broken(error)
            if failure is None:
                raise StreamBroken
            yield failure

    def _failure(self, error: Exception, request_id: str, *, begun: bool = False) -> Reply:
        when = " after its first chunk" if begun else ""
        if not isinstance(error, OrchestratorError):
            logger.error("request %s to %s failed%s", request_id, self._api.route, when, exc_info=error)
            return problem(500, "internal", _INTERNAL, request_id)
        if isinstance(error, InvalidInput):
            error = self._reader.placed(error)
        reply = problem_of(error, request_id)
        if begun or reply.status >= 500:
            kind = type(error).__name__
            logger.warning("request %s to %s failed%s: %s: %s", request_id, self._api.route, when, kind, error)
        return reply


def _end(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


def _left(deadline: float) -> float:
    """Seconds until a deadline.

    Raises:
        DeadlineExceeded: there are none.
    """
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise _late()
    return left_s


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the call was not answered in time")
