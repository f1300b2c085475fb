"""The clients, with BentoML's exceptions."""

from http import HTTPStatus
from typing import Any, Final

from orchestrator import client
from orchestrator.bentoml.exceptions import BentoMLException
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, InvalidInput, RequestFailed

__all__ = ["AsyncHTTPClient", "SyncHTTPClient"]

_WITHOUT_REPLY: Final = (
    (BackendUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (InvalidInput, HTTPStatus.BAD_REQUEST),
)


class SyncHTTPClient(client.SyncHTTPClient):
    """As `orchestrator.client.SyncHTTPClient`; every error is a `BentoMLException` with the status as its `error_code`."""

    def _error(self, error: CallError, status: int | None) -> Exception:
        return _translated(error, status)


class AsyncHTTPClient(client.AsyncHTTPClient):
    """As `orchestrator.client.AsyncHTTPClient`; every error is a `BentoMLException` with the status as its `error_code`."""

    def _error(self, error: CallError, status: int | None) -> Exception:
        return _translated(error, status)


def _translated(error: CallError, status: int | None) -> BentoMLException:
    """The exception of the name that the server says, else the one of the status."""
    if isinstance(error, BentoMLException):
        return error
    if status is None:
        status = next(
            (code for kind, code in _WITHOUT_REPLY if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
        )
    name = error.name if isinstance(error, RequestFailed) else None
    named = [kind for kind in _subclasses(BentoMLException) if kind.__name__ == name]
    cls = named[0] if len(named) == 1 else BentoMLException.error_mapping.get(status, BentoMLException)
    made: BentoMLException = cls.__new__(cls, str(error))  # its __init__ may want other arguments
    made.error_code = status
    return made


def _subclasses(cls: Any) -> list[Any]:
    return [each for sub in cls.__subclasses__() for each in (sub, *_subclasses(sub))]
