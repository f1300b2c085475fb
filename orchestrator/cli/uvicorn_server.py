"""uvicorn, with an end that answers everybody."""

import asyncio
import contextlib
import ctypes
import logging
import resource
import socket
import struct
from collections.abc import Callable
from typing import Final

import uvicorn

from orchestrator.server import Drain
from orchestrator.server.limits import Connections, limits_of

__all__ = ["FrontendServer", "refuse_connections"]

_LINGER_S: Final = 0.15
"""For connections that are being made to become connections, and then for their first request to come."""
_FIRST_S: Final = 1.0
"""The same on a busy machine: for connections that have not had any request."""
_SO_ATTACH_FILTER: Final = 26
_ANY_BUT_SYN: Final = (
    (0x30, 0, 0, 13),  # the flags of TCP's header
    (0x45, 0, 2, 0x02),  # SYN, or else: take it
    (0x45, 1, 0, 0x10),  # with ACK: take it
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
)
"""A filter of packets for the kernel (classic BPF)."""
_MOST_FILES: Final = 65_536
"""Programs that we start may go through all numbers of files up to their limit."""
_OTHER_FILES: Final = 512
"""Of the files that a process may have, those that are no connections of its clients."""
logger = logging.getLogger("orchestrator.cli")


class FrontendServer(uvicorn.Server):
    """Serves one front-end.

    Args:
        announce: called once it is ready.
        drain: of the front-end; None where another process takes over the port, which shall have all that is new.
        within_s: how long requests in flight may take once the server shall stop.
        together: blocks until all servers of the port may close it; None where this is the only one.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        announce: Callable[[], None],
        drain: Drain | None,
        within_s: float,
        together: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config)
        limits = limits_of(config.app)
        self._connections = Connections(limits, limits.http.max_connections or _connections_possible())
        self._connections.limit(config)
        self._watching: asyncio.Task[None] | None = None
        self._announce = announce
        self._drain = drain
        self._within_s = within_s
        self._together = together

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._watching = asyncio.create_task(self._connections.watch(self.server_state))
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuses what is new until nothing is in flight; a second Ctrl-C does not wait for that."""
        if self._drain is not None:
            finishing = asyncio.ensure_future(self._drain.finish(self._within_s))
            while not self.force_exit and not finishing.done():
                await asyncio.wait((finishing,), timeout=0.1)
            if not finishing.done():
                finishing.cancel()
            elif not finishing.result():
                logger.warning("requests had not ended %g s after the order to stop", self._within_s)
            if self._together is not None:
                await asyncio.to_thread(self._together)
            for sock in sockets or ():
                refuse_connections(sock)
            await asyncio.sleep(_LINGER_S)
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        await self._answer_what_comes_yet()
        await super().shutdown(sockets)
        if self._watching is not None:
            self._watching.cancel()

    async def _answer_what_comes_yet(self) -> None:
        """Waits for requests on connections that have been accepted: closing one without a word looks like a crash."""
        end = asyncio.get_running_loop().time() + _FIRST_S
        await asyncio.sleep(_LINGER_S)
        while asyncio.get_running_loop().time() < end and not self.force_exit:
            if all(getattr(each, "cycle", each) is not None for each in self.server_state.connections):
                break
            await asyncio.sleep(_LINGER_S / 10)


def _connections_possible() -> int:
    """How many connections this process may have open, once it has taken all the files that it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    most = _MOST_FILES if soft == resource.RLIM_INFINITY else soft
    return max(most - _OTHER_FILES, most // 2)


def refuse_connections(listener: socket.socket) -> None:
    """Ignores who wants to connect from now on; they ask again after a second, and find the port closed.

    Closing alone would break off connections that the kernel has made and nobody has accepted yet.
    """
    code = b"".join(struct.pack("@HBBI", *instruction) for instruction in _ANY_BUT_SYN)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(_ANY_BUT_SYN), ctypes.addressof(kept))
    with contextlib.suppress(OSError):  # without it, those few are broken off
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
