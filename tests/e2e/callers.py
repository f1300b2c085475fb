"""Many HTTP callers at once: a connection each, which they can close, and no library that would do more than that."""

import asyncio
import json
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["Answer", "Caller", "call", "metric", "percentile"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        seconds: from the first byte sent to the last one received.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Caller:
    """One connection; leaving the context closes it, whatever it waits for.

    Raises:
        ConnectionError: nobody listens, or it breaks.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._address = parts.hostname, parts.port
        self._sent = 0.0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def send(self, path: str, body: Any, headers: dict[str, str] | None = None, method: str = "POST") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: test", "content-type: application/json"]
        lines += [f"content-length: {len(data)}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self._sent = time.perf_counter()
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers, names in lower case."""
        try:
            text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError(f"closed after {error.partial!r}") from None
        status, *lines = text.rstrip().split("\r\n")
        return int(status.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}

    async def chunk(self) -> bytes:
        """The next one of a chunked body, empty at its end."""
        try:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            return (await self._reader.readexactly(size + 2))[:-2]
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("closed in the middle of a body") from None

    async def rest(self) -> bytes:
        """What is left of a chunked body."""
        body = b""
        while chunk := await self.chunk():
            body += chunk
        return body

    async def answer(self) -> Answer:
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = await self.rest()
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, body, time.perf_counter() - self._sent)


async def call(
    url: str, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str = "POST"
) -> Answer:
    """One call on a connection of its own."""
    async with Caller(url) as caller:
        await caller.send(path, body, headers, method)
        return await caller.answer()


async def metric(url: str, name: str, **labels: str) -> float:
    """Sum of a metric's values; 0 where it is not there."""
    page = (await call(url, "/metrics", method="GET")).body.decode()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = re.findall(rf"^{name}(?:\{{(.*?)\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for given, value in found if all(each in given for each in wanted))


def percentile(values: list[float], share: float) -> float:
    """Of the sorted values, the one below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
