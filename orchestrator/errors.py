"""Every error of the product, in one tree.

OrchestratorError                what went wrong, whether a retry helps, and the way out
├── DefinitionError              the user's class cannot be a service (file, line)
├── CompileError                 a service cannot become a model repository
├── ConversionError              a model file cannot be converted
├── StoreError                   a model cannot be found, saved or trusted
├── DeploymentError              a version cannot be put on a running server, or taken back
├── SettingsError                a flag, a variable or a config file is wrong
├── ServerProcessError           Triton, or a service's own process, cannot start or has ended (exit code, end of its log)
├── CallError                    one call failed
│   ├── InvalidInput             the caller's values do not fit the API (a list of problems)
│   ├── EndpointNotFound         no such service or API
│   ├── Unauthenticated          the caller has no credential, or one that does not count
│   ├── Forbidden                the caller is known, and may not do this
│   ├── PayloadTooLarge          the body is over the limit
│   ├── UnsupportedMedia         the body is of a type that the API does not read
│   ├── Overloaded               refused now, a later try may pass
│   ├── BackendUnavailable       the service is known but nothing runs it now
│   ├── DeadlineExceeded         the time for the call is over
│   ├── CallCancelled            the caller has gone
│   ├── ServiceFault             the user's code failed, or Triton did
│   ├── RequestFailed            the user's code refused the call, with a status of its own
│   └── OutputMismatch           the user's code returned what its annotation does not allow
└── TaskError                    a background task cannot be submitted, found or read

No HTTP and no gRPC in here: statuses are a table in `server/problems.py`, gRPC codes a table in `engine/faults.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

__all__ = [
    "BackendUnavailable",
    "CallCancelled",
    "CallError",
    "CompileError",
    "ConversionError",
    "DeadlineExceeded",
    "DefinitionError",
    "DeploymentError",
    "EndpointNotFound",
    "Forbidden",
    "InvalidInput",
    "OrchestratorError",
    "OutputMismatch",
    "Overloaded",
    "PayloadTooLarge",
    "RequestFailed",
    "ServerProcessError",
    "ServiceFault",
    "SettingsError",
    "StoreError",
    "TaskError",
    "Unauthenticated",
    "UnsupportedMedia",
]


class OrchestratorError(Exception):
    """Root of the tree.

    Args:
        message: one sentence for a person.
        hint: the way out, or None where there is none to offer.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    # A user's subclass may forget to call our __init__.
    message: str = ""
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        message = self.message or " ".join(map(str, self.args))
        return f"{message} ({self.hint})" if self.hint else message


class DefinitionError(OrchestratorError):
    """The user's class cannot be a service.

    Args:
        file: path of the user's file, as a person would open it.
        line: line in it, counted from 1.
    """

    code = "definition"

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return where + super().__str__()


class CompileError(OrchestratorError):
    code = "compile"


class ConversionError(OrchestratorError):
    code = "conversion"


class StoreError(OrchestratorError):
    code = "store"


class DeploymentError(OrchestratorError):
    code = "deployment"


class SettingsError(OrchestratorError):
    code = "settings"


class ServerProcessError(OrchestratorError):
    """Triton, or a service's own process, cannot start, or has ended.

    Args:
        exit_code: of the process, or None while it runs or never ran.
        log_tail: the last lines that it wrote.
    """

    code = "server_process"

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        log_tail: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
        self.log_tail = tuple(log_tail)


class CallError(OrchestratorError):
    code = "call"


class InvalidInput(CallError):
    """The caller's values do not fit the API.

    Args:
        problems: one mapping a fault with the keys `loc` (path of the field: names and indices), `msg` and `type`,
            in pydantic's terms. Built from `message` where none is given.
    """

    code = "invalid_input"

    def __init__(self, message: str, *, problems: Sequence[Mapping[str, Any]] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems: tuple[Mapping[str, Any], ...] = tuple(problems) or (
            {"type": "value_error", "loc": [], "msg": message},
        )

    @classmethod
    def at(cls, loc: Sequence[str | int], msg: str, *, kind: str = "value_error") -> "InvalidInput":
        """One problem at one place.

        Args:
            loc: path of the field, outermost first.
            msg: what is wrong with it.
            kind: pydantic's word for the sort of problem.
        """
        where = ".".join(str(part) for part in loc)
        message = f"{where}: {msg}" if where else msg
        return cls(message, problems=({"type": kind, "loc": list(loc), "msg": msg},))


class EndpointNotFound(CallError):
    code = "endpoint_not_found"


class Unauthenticated(CallError):
    code = "unauthenticated"


class Forbidden(CallError):
    code = "forbidden"


class PayloadTooLarge(CallError):
    code = "payload_too_large"


class UnsupportedMedia(CallError):
    code = "unsupported_media"


class Overloaded(CallError):
    """Refused now, a later try may pass.

    Args:
        retry_after_s: when the caller should try again, in seconds.
    """

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class BackendUnavailable(CallError):
    """The service is known, but nothing runs it now.

    Args:
        retry_after_s: when the caller should try again, in seconds.
    """

    code = "backend_unavailable"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(CallError):
    code = "deadline_exceeded"


class CallCancelled(CallError):
    code = "cancelled"


class ServiceFault(CallError):
    code = "service_fault"


class RequestFailed(CallError):
    """The user's code refused the call; raise it, or a subclass, to answer with a status of your own.

    Unlike any other exception of the user's code its message reaches the caller.

    Args:
        status: of the HTTP answer, 400 to 599; default: the class's own `status`.
        name: of the user's class, where this stands for an error that happened in another process.

    Attributes:
        origin: where that class is, `module:Class`; "" where this is the error itself.
    """

    code = "request_failed"
    status: int = 500
    name: str = ""
    origin: str = ""

    def __init__(
        self, message: str = "", *, status: int | None = None, name: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        if status is not None:
            self.status = int(status)
        self.name = name or type(self).__name__

    @property
    def is_public(self) -> bool:
        """Whether the message is for the caller; where it is not, the log has it."""
        return True

    @classmethod
    def rebuilt(cls, error: "RequestFailed") -> Self:
        """An error of this class for one that stands for it. The class's own `__init__` is not run: it may want anything."""
        again = cls.__new__(cls, error.message)
        RequestFailed.__init__(again, error.message, name=error.name)
        again.set_status(error.status)
        return again

    def set_status(self, status: int) -> None:
        """Sets the status of this one error."""
        self.status = status


class OutputMismatch(CallError):
    code = "output_mismatch"


class TaskError(OrchestratorError):
    code = "task"
