"""What belongs to one call while it runs: its temporary folder and its context."""

import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from orchestrator.codec.layout import CONTEXT_PARAMETER
from orchestrator.errors import InvalidInput
from orchestrator.spec import CallInfo
from orchestrator.tracing import Span

__all__ = ["Scope", "info_of"]


class Scope:
    """The files of one call, and its span where calls are traced. Implements `codec.Workspace`."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._span: Span | None = None

    def folder(self) -> Path:
        """The call's own folder, made on the first use."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="orchestrator-call-"))
        return self._folder

    def traced(self, span: Span) -> None:
        """The span ends with the call."""
        self._span = span

    def failed(self, error: BaseException) -> None:
        """The call fails."""
        if self._span is not None:
            self._span.fail(error)

    def close(self) -> None:
        """Removes the folder and what is in it."""
        if self._span is not None:
            self._span.end()
            self._span = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def info_of(document: object, request_id: str, trace: tuple[tuple[str, str], ...] = ()) -> CallInfo:
    """The request behind a call; without a request, such as from another service, its id and its trace.

    Raises:
        InvalidInput: the parameter is not such a document.
    """
    if not document:
        return CallInfo(request_id=request_id, headers=trace)
    try:
        return CallInfo.parse(str(document))
    except ValidationError as error:
        raise InvalidInput(f"the request parameter {CONTEXT_PARAMETER!r} is not a call's context") from error
