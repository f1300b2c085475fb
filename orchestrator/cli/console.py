"""What the commands say: results on standard output, progress and errors on standard error, colour only on a terminal."""

import sys
from typing import Final

from rich.console import Console

from orchestrator.errors import DefinitionError, OrchestratorError, ServerProcessError, SettingsError
from orchestrator.logs import is_json, json_line
from orchestrator.triton.output import structured

__all__ = ["EXIT_CODES", "fail", "note", "relay", "say"]

EXIT_CODES: Final[dict[type[OrchestratorError], int]] = {
    SettingsError: 2,
    DefinitionError: 3,
    ServerProcessError: 4,
    OrchestratorError: 1,
}
"""Error -> exit code of the command; `orchestrator --help` shows them."""

_err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(line: str) -> None:
    """A result, on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """Progress, on standard error."""
    if is_json():
        _write(_json("info", line))
    else:
        _err.print(line, style="dim", markup=False)


def relay(line: str) -> None:
    """A line of Triton's, or of its workers, on standard error."""
    if is_json():
        _write(structured(line))
    else:
        _err.print(line, style="dim", markup=False)


def fail(error: OrchestratorError) -> int:
    """Says what went wrong, in one line after the end of Triton's log where that helps, and returns the exit code."""
    text = " ".join(str(error).split())
    tail = error.log_tail[-20:] if isinstance(error, ServerProcessError) else ()
    if is_json():
        _write(_json("error", text, code=error.code, log_tail="\n".join(tail)))
    else:
        for line in tail:
            _err.print(f"  | {line}", style="dim", markup=False)
        _err.print("error:", style="bold red", end=" ")
        _err.print(text, markup=False)
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def _json(level: str, message: str, **more: str) -> str:
    return json_line(level, "orchestrator.cli", message, more={"process": "command", **more})


def _write(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
