"""The APIs of a server as attributes of a client: `client.summarize(text="...")`."""

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx2

from orchestrator.client.endpoints import Endpoint
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, EndpointNotFound

__all__ = ["POLL_S", "READY_PATH", "Named", "network_errors", "usable"]

READY_PATH: Final = "/readyz"
POLL_S: Final = 0.1
"""How often a server is asked whether it is ready."""
_PREFIX: Final = "api_"
_USABLE: Final = (200, 404)
"""Statuses of `/readyz`. 404: BentoML has that page below a service's `path_prefix`, but its schema where it always is."""


class Named:
    """What the blocking client and the asynchronous one share: all but waiting for the network.

    An API whose name the client has itself (`call`, `close`, `url` ...) is `client.api_<name>`.

    Args:
        url: of the server.
        token: sent as `Authorization: Bearer ...`.
        timeout: longest wait for an answer, in seconds.
        server_ready_timeout: longest wait for the server to be ready, in seconds; default: `timeout`.
    """

    _endpoints: dict[str, Endpoint] | None = None

    def __init__(
        self, url: str, *, token: str | None = None, timeout: float = 30.0, server_ready_timeout: float | None = None
    ) -> None:
        self.url = url
        self.timeout = timeout
        self._wait_s = timeout if server_ready_timeout is None else server_ready_timeout
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": {"authorization": f"Bearer {token}"} if token else {},
            "timeout": timeout,
            "follow_redirects": True,
            # A proxy of the environment is not for the server of one's own machine.
            "trust_env": False,
        }

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        endpoint = self._find(name) or self._find(name.removeprefix(_PREFIX))
        if endpoint is None:
            state = (
                "has not read the server's schema yet: enter it with `async with`" if self._endpoints is None else ""
            )
            known = ", ".join(self._endpoints or ()) or "none"
            raise AttributeError(f"{type(self).__name__} {state or f'has no API {name!r}; its APIs: {known}'}")
        api = endpoint.name

        def method(*args: Any, **kwargs: Any) -> Any:
            return self.call(api, *args, **kwargs)

        method.__name__ = method.__qualname__ = api
        method.__doc__ = endpoint.doc
        return method

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *(self._endpoints or ())})

    @cached_property
    def _folder(self) -> "tempfile.TemporaryDirectory[str]":
        return tempfile.TemporaryDirectory(prefix="orchestrator-client-")

    def _results_folder(self) -> Path:
        """Where files of results go; removed with the client."""
        return Path(self._folder.name)

    def _remove_results(self) -> None:
        if "_folder" in vars(self):
            self._folder.cleanup()
            del self._folder

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._find(name)
        if endpoint is None:
            raise self._error(EndpointNotFound(f"the server at {self.url} has no API {name!r}"), 404)
        return endpoint

    def _find(self, name: str) -> Endpoint | None:
        return (self._endpoints or {}).get(name)

    def _error(self, error: CallError, status: int | None) -> Exception:
        """What is raised for an error.

        Args:
            status: of the reply; None where there was none.
        """
        return error

    @contextlib.contextmanager
    def _told(self, api: str) -> Iterator[None]:
        """Raises whatever goes wrong in its block as this client's errors are."""
        try:
            with network_errors(api):
                yield
        except CallError as error:
            raise self._error(error, None) from error

    def _waits(self) -> Iterator[float]:
        """How many seconds each look for the server may take.

        Raises:
            BackendUnavailable: or what this client makes of it, once it was looked for long enough.
        """
        until = time.monotonic() + self._wait_s
        yield self.timeout
        while (left := until - time.monotonic()) > 0:
            yield min(self.timeout, left + POLL_S)
        raise self._error(
            BackendUnavailable(f"the server at {self.url} is not ready after {self._wait_s:g} seconds"), None
        )


def usable(status: int) -> bool:
    """Whether a server may be asked for its schema, by the status of `/readyz`."""
    return status in _USABLE


@contextlib.contextmanager
def network_errors(api: str) -> Iterator[None]:
    """Raises the network's errors as ours.

    Args:
        api: what was called.
    """
    try:
        yield
    except httpx2.TimeoutException as error:
        raise DeadlineExceeded(f"{api}: no answer in time") from error
    except httpx2.TransportError as error:
        raise BackendUnavailable(f"{api}: {error}") from error
