"""Blocking clients."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx2

from orchestrator.client.endpoints import SCHEMA_PATH, Endpoint, read_schema
from orchestrator.client.naming import POLL_S, READY_PATH, Named, network_errors, usable
from orchestrator.client.results import ChunkReader, result_of
from orchestrator.client.wire import build_call, build_request, error_of, read_reply

__all__ = ["Client", "SyncHTTPClient"]


class Client:
    """Calls the APIs of a service by name: `client.call("classify", input_series=rows)`.

    It asks the server for nothing but the call itself; what it takes and gives is JSON.

    Args:
        url: of the front-end, such as `http://127.0.0.1:3000`.
        timeout_s: longest wait for an answer, in seconds.
    """

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        # trust_env: a proxy of the environment is not for the server of one's own machine.
        self._http = httpx2.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def call(self, api: str, /, **arguments: Any) -> Any:
        """Calls an API.

        Raises:
            CallError: of the class that the server meant; `BackendUnavailable` where nothing answers.
        """
        request = build_request(api, arguments)
        with network_errors(api):
            reply = self._http.request(
                request.method, request.path, headers=dict(request.headers), content=request.body
            )
        return read_reply(reply.status_code, reply.headers, reply.content)

    def ready(self) -> bool:
        """Whether the service can answer now."""
        try:
            return self._http.get(READY_PATH).status_code == 200
        except httpx2.TransportError:
            return False

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SyncHTTPClient(Named):
    """Calls the APIs of a service as methods: `client.classify(rows)`; knows their types from the server.

    Streams are generators. Files go in as paths, open files, bytes, images or web addresses, and come back as paths (of a
    folder that is removed with the client) or images.

    Args:
        url: of the server, such as `http://127.0.0.1:3000`.
        token: sent as `Authorization: Bearer ...`.
        timeout: longest wait for an answer, in seconds.
        server_ready_timeout: longest wait for the server to be ready, in seconds; default: `timeout`.

    Raises:
        BackendUnavailable: the server is not ready in time.
    """

    def __init__(
        self, url: str, *, token: str | None = None, timeout: float = 30.0, server_ready_timeout: float | None = None
    ) -> None:
        super().__init__(url, token=token, timeout=timeout, server_ready_timeout=server_ready_timeout)
        self._http = httpx2.Client(**self._options)
        try:
            self._endpoints = self._read_endpoints()
        except BaseException:
            self.close()
            raise

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls an API by its name.

        Args:
            *args: in the order of the method's own arguments.
            **kwargs: by name.

        Raises:
            TypeError: not the API's arguments.
            CallError: of the class that the server meant; `BackendUnavailable` where nothing answers.
        """
        endpoint = self._endpoint(name)
        if endpoint.stream:
            return self._stream(endpoint, args, kwargs)
        reply = self._send(endpoint, args, kwargs, stream=False)
        return result_of(endpoint, reply.headers, reply.content, self._results_folder)

    def request(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """Any other request to the server, with httpx's options."""
        return self._http.request(method, url, **options)

    def is_ready(self, timeout: float | None = None) -> bool:
        """Whether the service can answer now.

        Args:
            timeout: longest wait, in seconds; default: the client's.
        """
        try:
            return self._http.get(READY_PATH, timeout=self.timeout if timeout is None else timeout).status_code == 200
        except httpx2.TransportError:
            return False

    def close(self) -> None:
        """Closes the connections, and removes the files of results."""
        self._http.close()
        self._remove_results()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_endpoints(self) -> dict[str, Endpoint]:
        for wait_s in self._waits():
            ready = self._look(READY_PATH, wait_s)
            if ready is not None and usable(ready.status_code):
                schema = self._look(SCHEMA_PATH, wait_s)
                if schema is not None and schema.status_code == 200:
                    with self._told(SCHEMA_PATH):
                        return read_schema(schema.content)
                if schema is not None and schema.status_code in (401, 403):  # waiting does not help
                    raise error_of(schema.status_code, schema.headers, schema.content)
            time.sleep(POLL_S)
        raise AssertionError("the waits end with an error")

    def _look(self, path: str, wait_s: float) -> httpx2.Response | None:
        try:
            return self._http.get(path, timeout=wait_s)
        except httpx2.TransportError:
            return None

    def _stream(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        reply = self._send(endpoint, args, kwargs, stream=True)
        try:
            reader = ChunkReader(endpoint, reply.headers)
            with self._told(endpoint.name):
                for piece in reply.iter_bytes():
                    yield from reader.feed(piece)
            yield from reader.end()
        finally:
            reply.close()

    def _send(
        self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any], *, stream: bool
    ) -> httpx2.Response:
        with self._told(endpoint.name):
            call = build_call(endpoint, args, kwargs)
            request = self._http.build_request(call.method, call.path, headers=dict(call.headers), content=call.body)
            reply = self._http.send(request, stream=stream)
            if reply.status_code >= 400:
                reply.read()
        if reply.status_code >= 400:
            raise self._error(error_of(reply.status_code, reply.headers, reply.content), reply.status_code)
        return reply
