"""The APIs of a server as attributes of a client: `client.summarize(text="...")`."""

import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from orchestrator.client.endpoints import SCHEMA_PATH, Endpoint
from orchestrator.errors import CallError, EndpointNotFound

__all__ = ["READY_PATH", "Named", "headers_of", "is_up"]

READY_PATH: Final = "/readyz"
_PREFIX: Final = "api_"


class Named:
    """What the blocking client and the asynchronous one share; neither waits for anything in here.

    An API whose name the client has itself (`call`, `close`, `url` ...) is `client.api_<name>`.
    """

    url: str
    _endpoints: dict[str, Endpoint] | None = None

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        endpoint = self._find(name) or self._find(name.removeprefix(_PREFIX))
        if endpoint is None:
            state = "has not read the server's schema yet: enter it with `async with`" if self._endpoints is None else ""
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


def headers_of(token: str | None) -> dict[str, str]:
    """The headers of every request."""
    return {"authorization": f"Bearer {token}"} if token else {}


def is_up(ready: int, schema: int) -> bool:
    """Whether a server can be used, by the statuses of its two pages.

    A service with a `path_prefix` has its health pages below the prefix, and its schema where it always is.

    Args:
        ready: status of `/readyz`.
        schema: status of `/schema.json`.
    """
    return ready == 200 or (ready == 404 and schema == 200)


assert SCHEMA_PATH
