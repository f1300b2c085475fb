"""The socket on which a running server takes an operator's orders, in the background."""

import contextlib
import os
import socket
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from orchestrator.cli.console import note
from orchestrator.cli.engine import Engine
from orchestrator.deployment import Deployer, Serving
from orchestrator.models.stores import default_store
from orchestrator.sdk import Definition
from orchestrator.sdk.native import Resolved, models_of
from orchestrator.server.operator import create_operator_app
from orchestrator.spec import Tag
from orchestrator.triton.local_control import LocalControl

__all__ = ["SOCKET", "operated", "short_path"]

SOCKET: Final = "operator.sock"
"""In the run directory of a server."""
_LONGEST: Final = 100
"""Bytes of a socket's path; the system takes 107."""
_STOP_S: Final = 5.0


@contextmanager
def operated(definition: Definition, engine: Engine, url: str, *, reloads: bool) -> Generator[None, None, None]:
    """Inside, `orchestrator deploy`, `models deploy`, `rollback` and `status` reach this server.

    Where its Triton is not ours, or it has none, they do not.

    Args:
        url: of the front-end.
        reloads: the server takes new code by itself.
    """
    if engine.repository is None or engine.scratch is None or engine.grpc_url is None or engine.background is None:
        yield
        return
    grpc_url = engine.grpc_url
    deployer = Deployer(
        Serving(engine.repository, definition.spec, reloads, tuple(each.spec for each in definition.others)),
        connect=lambda: LocalControl(grpc_url),
        store=default_store,
        resolve=_resolver(definition),
        turns=engine.turns,
    )
    with short_path(engine.scratch / SOCKET) as path, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        os.chmod(path, 0o600)  # before it listens, so that nobody else ever comes in
        sock.listen()
        config = uvicorn.Config(
            create_operator_app(deployer, url),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        serving = engine.background.start(server.serve(sockets=[sock]))
        try:
            yield
        finally:
            server.should_exit = True
            if not wait((serving,), _STOP_S).done:
                note("a deployment is under way; it ends with Triton")


def _resolver(definition: Definition) -> Callable[[str, Tag], Resolved]:
    """What finds a version of a model, by its Triton name; a model that several services share is as the first has it."""
    declared: dict[str, tuple[Definition, str]] = {}
    for each in definition.graph:
        for spec in each.spec.models:
            declared.setdefault(spec.name, (each, spec.attribute))

    def resolve(name: str, tag: Tag) -> Resolved:
        owner, attribute = declared[name]
        return models_of(owner.cls)[attribute].resolve(owner.spec.name, attribute, tag)

    return resolve


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path that a socket can have, for the same file; the folder must be there."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    with contextlib.ExitStack() as stack:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, folder)
        yield f"/proc/self/fd/{folder}/{path.name}"
