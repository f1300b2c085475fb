"""Where in a test's own file something is written, to compare with what an error names."""

import inspect
from pathlib import Path

from orchestrator.errors import DefinitionError

__all__ = ["assert_placed"]


def assert_placed(error: DefinitionError, text: str) -> None:
    """The error names the line of the calling test's file that holds the text first, below the call's own test."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    caller = frame.f_back.f_code
    lines = Path(caller.co_filename).read_text().splitlines()
    line = next(n for n, content in enumerate(lines, 1) if n >= caller.co_firstlineno and text in content)
    assert (error.file, error.line) == (caller.co_filename, line)
