"""A blocking client."""

from types import TracebackType
from typing import Any, Self

import httpx2

from orchestrator.client.wire import build_request, read_reply
from orchestrator.errors import BackendUnavailable, DeadlineExceeded

__all__ = ["Client"]


class Client:
    """Calls the APIs of a service by name: `client.call("classify", input_series=rows)`.

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
        try:
            reply = self._http.request(
                request.method, request.path, headers=dict(request.headers), content=request.body
            )
        except httpx2.TimeoutException as error:
            raise DeadlineExceeded(f"{api}: no answer in time") from error
        except httpx2.TransportError as error:
            raise BackendUnavailable(f"{api}: {error}") from error
        return read_reply(reply.status_code, reply.headers, reply.content)

    def ready(self) -> bool:
        """Whether the service can answer now."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
