"""Files that callers name by URL: fetched, but never from inside our own network.

Every connection is made to an address that was checked, not to a name that could be resolved to another address a moment
later; a redirect is a new URL and is checked as such.
"""

import asyncio
import functools
import posixpath
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import unquote

import httpx2

from orchestrator.errors import InvalidInput
from orchestrator.server.addresses import is_internal
from orchestrator.spec import Blob

__all__ = ["Fetcher", "Location", "Resolve", "is_url", "resolve_host"]

Location = tuple[str | int, ...]
"""Where in the body a URL stands; see `InvalidInput.problems`."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> all of its addresses. Raises: OSError."""

_REDIRECTS: Final = 5
_LONGEST_URL: Final = 8192
_AT_ONCE: Final = 4
_ADDRESSES_TRIED: Final = 3
_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "orchestrator"}


def is_url(text: str) -> bool:
    """Whether a text is one `http:` or `https:` URL and nothing else."""
    return (
        text[:8].lower().startswith(("http://", "https://"))
        and len(text) <= _LONGEST_URL
        and text.isprintable()
        and " " not in text
    )


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host, in the order of the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=1, flags=0)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Fetches what the calls of one server name.

    Args:
        most_bytes: of all files of one call together.
        refuses: whether an address is not to be connected to.
        resolve: the resolver.
        time_s: for all files of one call together, in seconds.
    """

    def __init__(
        self,
        *,
        most_bytes: int,
        refuses: Callable[[str], bool] = is_internal,
        resolve: Resolve = resolve_host,
        time_s: float = 10.0,
    ) -> None:
        self._most_bytes = most_bytes
        self._refuses = refuses
        self._resolve = resolve
        self._time_s = time_s

    async def fetch(self, wanted: Sequence[tuple[Location, str]]) -> list[Blob]:
        """The files of one call.

        Args:
            wanted: place in the body, and URL.

        Raises:
            InvalidInput: one cannot be fetched, at its place.
        """
        transport = _Pinned(self._resolve, self._refuses)
        async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=self._time_s) as http:
            errand = _Errand(http, self._most_bytes, self._time_s)
            tasks = [asyncio.create_task(errand.fetch(location, url)) for location, url in wanted]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


class _Refused(Exception):
    """The URL is not one to fetch; the message says why."""


class _Errand:
    """The fetches of one call: they share the time and the bytes.

    Args:
        http: follows no redirect.
        most_bytes: of all files together.
    """

    def __init__(self, http: httpx2.AsyncClient, most_bytes: int, time_s: float) -> None:
        self._http = http
        self._most_bytes = most_bytes
        self._left = most_bytes
        self._time_s = time_s
        self._deadline = asyncio.get_running_loop().time() + time_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, location: Location, url: str) -> Blob:
        try:
            async with asyncio.timeout_at(self._deadline), self._slots:
                return await self._follow(url)
        except _Refused as error:
            reason = str(error)
        except (TimeoutError, httpx2.TimeoutException):
            reason = f"was not there within {self._time_s:g} seconds"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = f"cannot be fetched: {error or type(error).__name__}"
        raise InvalidInput.at(location, f"the file at the URL {reason}", kind="url") from None

    async def _follow(self, url: str) -> Blob:
        target = _checked(httpx2.URL(url))
        for _ in range(_REDIRECTS + 1):
            async with self._http.stream("GET", target, headers=_HEADERS) as reply:
                if not reply.has_redirect_location:
                    return await self._read(reply, target)
                target = _checked(target.join(reply.headers["location"]))
        raise _Refused(f"is redirected more than {_REDIRECTS} times")

    async def _read(self, reply: httpx2.Response, target: httpx2.URL) -> Blob:
        if reply.status_code != 200:
            raise _Refused(f"cannot be fetched: its server answered {reply.status_code}")
        if reply.headers.get("content-encoding", "identity") not in ("identity", ""):
            raise _Refused("is sent compressed, which was not asked for")
        length = reply.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._left:
            raise self._too_long()
        chunks: list[bytes] = []
        async for chunk in reply.aiter_raw():
            self._left -= len(chunk)
            if self._left < 0:
                raise self._too_long()
            chunks.append(chunk)
        media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Blob(b"".join(chunks), media_type or None, posixpath.basename(unquote(target.path)) or None)

    def _too_long(self) -> _Refused:
        return _Refused(f"is too long: a call takes {self._most_bytes} bytes")


def _checked(url: httpx2.URL) -> httpx2.URL:
    if url.scheme not in ("http", "https") or not url.host:
        raise _Refused("cannot be fetched: only http and https are")
    if url.userinfo:
        raise _Refused("cannot be fetched: a URL with a user name or a password is not taken")
    return url


class _Pinned(httpx2.AsyncBaseTransport):
    """Resolves each request's host once, checks every address, and connects to one of those.

    The request keeps its name where it counts: in the Host header and in TLS (SNI, and the certificate's check).
    """

    def __init__(self, resolve: Resolve, refuses: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._refuses = refuses
        # No connection is used twice: pooled ones are known by address alone, and so by no checked certificate.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = httpx2.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        name = request.url.raw_host.decode()
        failure: httpx2.TransportError | None = None
        for address in (await self._addresses(request.url))[:_ADDRESSES_TRIED]:
            pinned = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": name},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure or httpx2.ConnectError("its host has no address")

    async def _addresses(self, url: httpx2.URL) -> Sequence[str]:
        host = url.raw_host.decode()
        try:
            addresses = await self._resolve(host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError):
            raise httpx2.ConnectError(f"there is no host {host}") from None
        if any(map(self._refuses, addresses)):
            raise _Refused(f"cannot be fetched: {host} is not a public host")
        return addresses

    async def aclose(self) -> None:
        await self._inner.aclose()


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)
