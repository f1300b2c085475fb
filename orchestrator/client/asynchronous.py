"""A client for an event loop."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import httpx2

from orchestrator.client.endpoints import SCHEMA_PATH, Endpoint, read_schema
from orchestrator.client.naming import POLL_S, READY_PATH, Named, usable
from orchestrator.client.results import ChunkReader, result_of
from orchestrator.client.wire import build_call, error_of

__all__ = ["AsyncHTTPClient"]


class AsyncHTTPClient(Named):
    """As `SyncHTTPClient`, awaited: `async with AsyncHTTPClient(url) as client: await client.classify(rows)`.

    Entering waits for the server and reads its schema. Streams are asynchronous generators.

    Args:
        url: of the server, such as `http://127.0.0.1:3000`.
        token: sent as `Authorization: Bearer ...`.
        timeout: longest wait for an answer, in seconds.
        server_ready_timeout: longest wait for the server to be ready, in seconds; default: `timeout`.
    """

    def __init__(
        self, url: str, *, token: str | None = None, timeout: float = 30.0, server_ready_timeout: float | None = None
    ) -> None:
        super().__init__(url, token=token, timeout=timeout, server_ready_timeout=server_ready_timeout)
        self._http = httpx2.AsyncClient(**self._options)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls an API by its name: to be awaited, or iterated over where it is a stream.

        Args:
            *args: in the order of the method's own arguments.
            **kwargs: by name.

        Raises:
            TypeError: not the API's arguments.
            CallError: of the class that the server meant; `BackendUnavailable` where nothing answers.
        """
        endpoint = self._endpoint(name)
        return self._stream(endpoint, args, kwargs) if endpoint.stream else self._call(endpoint, args, kwargs)

    async def request(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """Any other request to the server, with httpx's options."""
        return await self._http.request(method, url, **options)

    async def is_ready(self, timeout: float | None = None) -> bool:
        """Whether the service can answer now.

        Args:
            timeout: longest wait, in seconds; default: the client's.
        """
        try:
            reply = await self._http.get(READY_PATH, timeout=self.timeout if timeout is None else timeout)
        except httpx2.TransportError:
            return False
        return reply.status_code == 200

    async def close(self) -> None:
        """Closes the connections, and removes the files of results."""
        await self._http.aclose()
        await asyncio.to_thread(self._remove_results)

    async def __aenter__(self) -> Self:
        try:
            self._endpoints = await self._read_endpoints()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _read_endpoints(self) -> dict[str, Endpoint]:
        for wait_s in self._waits():
            ready = await self._look(READY_PATH, wait_s)
            if ready is not None and usable(ready.status_code):
                schema = await self._look(SCHEMA_PATH, wait_s)
                if schema is not None and schema.status_code == 200:
                    with self._told(SCHEMA_PATH):
                        return read_schema(schema.content)
                if schema is not None and schema.status_code in (401, 403):  # waiting does not help
                    raise error_of(schema.status_code, schema.headers, schema.content)
            await asyncio.sleep(POLL_S)
        raise AssertionError("the waits end with an error")

    async def _look(self, path: str, wait_s: float) -> httpx2.Response | None:
        try:
            return await self._http.get(path, timeout=wait_s)
        except httpx2.TransportError:
            return None

    async def _call(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        reply = await self._send(endpoint, args, kwargs, stream=False)
        return await asyncio.to_thread(result_of, endpoint, reply.headers, reply.content, self._results_folder)

    async def _stream(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        reply = await self._send(endpoint, args, kwargs, stream=True)
        try:
            reader = ChunkReader(endpoint, reply.headers)
            with self._told(endpoint.name):
                async for piece in reply.aiter_bytes():
                    for chunk in reader.feed(piece):
                        yield chunk
            for chunk in reader.end():
                yield chunk
        finally:
            await reply.aclose()

    async def _send(
        self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any], *, stream: bool
    ) -> httpx2.Response:
        with self._told(endpoint.name):
            call = await asyncio.to_thread(build_call, endpoint, args, kwargs)  # it may read files
            request = self._http.build_request(call.method, call.path, headers=dict(call.headers), content=call.body)
            reply = await self._http.send(request, stream=stream)
            if reply.status_code >= 400:
                await reply.aread()
        if reply.status_code >= 400:
            raise self._error(error_of(reply.status_code, reply.headers, reply.content), reply.status_code)
        return reply
