"""BentoML's exceptions. Raised in a service they are answered with their `error_code`, by the name of their class.

Messages of codes from 500 up stay in the log.
"""

from http import HTTPStatus
from typing import Any, ClassVar, Self

from orchestrator.errors import RequestFailed

__all__ = [
    "APIDeprecated",
    "BadInput",
    "BentoMLConfigException",
    "BentoMLException",
    "CLIException",
    "CloudRESTApiClientError",
    "ImportServiceError",
    "InternalServerError",
    "InvalidArgument",
    "MissingDependencyException",
    "NotFound",
    "RemoteException",
    "ServerStateException",
    "ServiceUnavailable",
    "StateException",
    "UnprocessableEntity",
    "UnservableException",
]


class BentoMLException(RequestFailed):
    """The root; a subclass sets `error_code`, or one exception does.

    Args:
        message: for the caller, where the code is below 500.
        error_code: instead of the class's.
    """

    error_code: int = HTTPStatus.INTERNAL_SERVER_ERROR
    error_mapping: ClassVar[dict[int, type["BentoMLException"]]] = {}
    """Code -> the class that a client raises for it: the first one that was defined with it."""

    def __init_subclass__(cls) -> None:
        if "error_code" in vars(cls):
            cls.error_mapping.setdefault(int(cls.error_code), cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Subclasses may have an __init__ of their own that never calls ours.
        error = super().__new__(cls, *args, **kwargs)
        RequestFailed.__init__(error, str(args[0]) if args else "")
        return error

    def __init__(self, message: str = "", *, error_code: int | None = None) -> None:
        super().__init__(message)
        if error_code is not None:
            self.error_code = error_code

    @property
    def status(self) -> int:  # type: ignore[override]  # BentoML's name for it is the one that is written
        return int(self.error_code)

    @property
    def is_public(self) -> bool:
        return self.status < HTTPStatus.INTERNAL_SERVER_ERROR

    def set_status(self, status: int) -> None:
        self.error_code = status


class StateException(Exception):
    """Something is not in the state that it must be in."""

    error_code = HTTPStatus.BAD_REQUEST


class RemoteException(BentoMLException):
    """Another server's error."""

    def __init__(self, message: str = "", payload: BentoMLException | None = None) -> None:
        super().__init__(message)
        self.payload = payload


class InvalidArgument(BentoMLException):
    """The arguments are wrong."""

    error_code = HTTPStatus.BAD_REQUEST


class InternalServerError(BentoMLException):
    """The arguments are right, and the service fails all the same."""


class APIDeprecated(BentoMLException):
    """What was called is not there any more."""


class BadInput(InvalidArgument):
    """The request is wrong."""

    error_code = HTTPStatus.BAD_REQUEST


class NotFound(BentoMLException):
    """What was named is not there."""

    error_code = HTTPStatus.NOT_FOUND


class UnprocessableEntity(BentoMLException):
    """The request can be read and makes no sense."""

    error_code = HTTPStatus.UNPROCESSABLE_ENTITY


class ServiceUnavailable(BentoMLException):
    """There is too much to do."""

    error_code = HTTPStatus.SERVICE_UNAVAILABLE


class BentoMLConfigException(BentoMLException):
    """The configuration is wrong."""


class MissingDependencyException(BentoMLException):
    """A package is not installed."""


class CLIException(BentoMLException):
    """A command is wrong."""


class CloudRESTApiClientError(BentoMLException):
    """There is no cloud here, so that this is never raised; code that catches it can name it."""


class ImportServiceError(BentoMLException):
    """The service cannot be imported."""


class UnservableException(StateException):
    """The service cannot be served."""


class ServerStateException(StateException):
    """The server does not run."""
