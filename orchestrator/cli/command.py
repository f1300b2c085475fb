"""The process of a service with `cmd`: its command, its start, its end."""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.cli.console import note
from orchestrator.errors import DefinitionError, ServerProcessError, SettingsError
from orchestrator.sdk import Definition
from orchestrator.server import Upstream
from orchestrator.triton import ChildProcess

__all__ = ["running_command"]

_LOOPBACK: Final = "127.0.0.1"
_PORT: Final = re.compile(r"\$(?:\{PORT\}|PORT(?![A-Za-z0-9_]))")
_POLL_S: Final = 0.1
_PATIENCE_S: Final = 30.0


@contextmanager
def running_command(definition: Definition, working_dir: Path) -> Generator[tuple[str, Path], None, None]:
    """Runs the service's process; it is there, and ready, inside.

    Should it end by itself, this process gets a SIGTERM, and the error comes when the context is left.

    Args:
        definition: of a service with `cmd` or `__command__`.
        working_dir: where the process runs.

    Yields:
        Its address, `host:port`, and a folder that goes with it.

    Raises:
        DefinitionError: there is no command.
        SettingsError: its port is taken.
        ServerProcessError: it cannot be started, or has ended by itself.
    """
    spec = definition.spec
    words = _command(definition)
    port = _free_port() if any(_PORT.search(word) for word in words) else _unused(spec.http.proxy_port)
    words = [_PORT.sub(str(port), word) for word in words]
    # The environment is read here and not in settings.py because it is handed on, not interpreted.
    env = {**os.environ, **spec.environment, "PORT": str(port)}
    env["PATH"] = _search_path(env.get("PATH", os.defpath))
    program = _program(spec.name, words[0], env, working_dir)
    address = f"{_LOOPBACK}:{port}"
    note(f"starting {shlex.join(words)}")
    with ChildProcess([program, *words[1:]], env=env, cwd=working_dir.resolve(), output=_pass_on) as process:
        asyncio.run(_until_ready(process, Upstream(spec, address), spec.name))
        note(f"{spec.name} runs at {address}")
        stopping = threading.Event()
        threading.Thread(target=_watch, args=(process, stopping), name="child-watch", daemon=True).start()
        try:
            yield address, process.run_dir
        finally:
            stopping.set()
            if process.exit_code is not None:
                raise _ended(spec.name, process, "ended") from None
        note(f"stopping {spec.name}")


def _command(definition: Definition) -> list[str]:
    name = definition.spec.name
    if definition.spec.cmd is not None:
        return list(definition.spec.cmd)
    try:
        words = definition.cls().__command__()
    except Exception as error:  # the user's code may raise anything
        raise DefinitionError(f"{name}.__command__ failed: {type(error).__name__}: {error}") from error
    if not isinstance(words, Sequence) or isinstance(words, str) or not words:
        raise DefinitionError(f"{name}.__command__ gives {words!r}", hint="it gives a list of words")
    return [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in words]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_LOOPBACK, 0))
        return int(sock.getsockname()[1])


def _unused(port: int) -> int:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((_LOOPBACK, port))
        except OSError as error:
            raise SettingsError(
                f"http.proxy_port={port}: the service's process cannot listen there: {error.strerror}",
                hint="name another, or write $PORT in the command to have a free one",
            ) from None
    return port


def _search_path(path: str) -> str:
    """With our own Python's folder in front where it is not there: as if its environment were activated."""
    own = str(Path(sys.executable).parent)
    return path if own in path.split(os.pathsep) else os.pathsep.join([own, path])


def _program(name: str, word: str, env: dict[str, str], working_dir: Path) -> str:
    found = shutil.which(working_dir.resolve() / word) if "/" in word else shutil.which(word, path=env["PATH"])
    if found is None:
        raise ServerProcessError(f"the command of {name} cannot be started: there is no program {word!r}")
    return os.path.abspath(found)


async def _until_ready(process: ChildProcess, upstream: Upstream, name: str) -> None:
    try:
        started = said = time.monotonic()
        while not await upstream.ready():
            if process.exit_code is not None:
                raise _ended(name, process, "ended before it was ready")
            if time.monotonic() - said > _PATIENCE_S:
                said = time.monotonic()
                note(f"{name} is not ready after {said - started:.0f} s; waiting on")
            await asyncio.sleep(_POLL_S)
    finally:
        await upstream.close()


def _ended(name: str, process: ChildProcess, what: str) -> ServerProcessError:
    code, line = process.exit_code, process.last_line()
    message = f"the process of {name} {what} (exit code {code})" + (f": {line}" if line else "")
    return ServerProcessError(message, exit_code=code)


def _watch(process: ChildProcess, stopping: threading.Event) -> None:
    process.wait()
    if not stopping.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _pass_on(output: bytes) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.buffer.write(output)
        sys.stderr.buffer.flush()
