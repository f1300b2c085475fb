"""`serve --reload`: new code in front of the same Triton.

The front-end runs in a process of its own. When a file of the service's folder changes, a fresh interpreter exports the service
again, and those that it calls; Triton loads the new versions beside the old ones, dependencies first, and the front-end process
is replaced. The port stays open all the while, so a request in between waits. Code that does not load is reported, and the old
version goes on. A service that nobody calls any more goes.
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import orjson
import watchfiles

from orchestrator.cli.console import fail, note, say
from orchestrator.cli.engine import Engine
from orchestrator.cli.frontend import FrontendPlan, run_frontend
from orchestrator.cli.on_disk import compile_workers
from orchestrator.errors import ServerProcessError, SettingsError
from orchestrator.spec import Placement, ServiceSpec
from orchestrator.triton import Control

__all__ = ["run_reloading"]

_PR_SET_PDEATHSIG: Final = 1
_STOP_S: Final = 8
_GOES_ON: Final = "the version before it goes on"
_WATCHED: Final = (".py", ".yaml", ".yml", ".toml", ".json", ".onnx", ".plan", ".pt")


def run_reloading(plan: FrontendPlan, sock: socket.socket, engine: Engine, export_command: Sequence[str]) -> None:
    """Serves until SIGTERM or Ctrl-C, always the latest code that loads.

    Args:
        engine: with the repository that its Triton reads.
        export_command: arguments of `orchestrator` that write the service there.
    """
    plan = plan.model_copy(update={"successor": True})
    if engine.repository is None:
        if engine.grpc_url is not None or engine.elsewhere:
            raise SettingsError("--reload needs a Triton of its own", hint="leave out --triton")
        with tempfile.TemporaryDirectory(prefix="orchestrator-reload-") as folder:
            return run_reloading(plan, sock, dataclasses.replace(engine, repository=Path(folder)), export_command)
    process = _start(plan, sock)
    try:
        for changes in watchfiles.watch(plan.working_dir, watch_filter=_Sources(), raise_interrupt=True):
            names = sorted({Path(path).name for _, path in changes})
            note(f"{', '.join(names)} changed: loading again")
            fresh = _exported(engine.repository, export_command)
            if fresh is None:
                note(_GOES_ON)
                continue
            if fresh.models and engine.grpc_url is None:
                note(f"{fresh.service.name} needs Triton now: start again; the version before it goes on")
                continue
            try:
                if engine.grpc_url is not None:
                    asyncio.run(_load(engine.grpc_url, fresh.models))
            except _Stuck as stuck:
                fail(stuck.error)
                new = [each.name for each in (*fresh.others, fresh.service) if each.name in stuck.loaded]
                note(f"the new code of {', '.join(new)} runs already; the rest goes on as before" if new else _GOES_ON)
                continue
            _stop(process)
            plan = plan.model_copy(update={"service": fresh.service, "others": fresh.others})
            process = _start(plan, sock)
            asyncio.run(_remove(engine, [name for name in _models_in(engine.repository) if name not in fresh.models]))
            say(f"reloaded {fresh.service.name}")
    finally:
        _stop(process)


class _Sources(watchfiles.DefaultFilter):
    """Code, configuration and model files; what tools and editors leave beside it is not either."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        return path.endswith(_WATCHED) and super().__call__(change, path)


@dataclasses.dataclass(frozen=True, slots=True)
class _Export:
    """A service as it is now.

    Attributes:
        models: its Triton models, in the order to load them.
    """

    service: ServiceSpec
    others: tuple[ServiceSpec, ...]
    models: tuple[str, ...]


def _exported(repository: Path, command: Sequence[str]) -> _Export | None:
    """The service as it is now, read by a fresh interpreter; None where it does not load, which that one has explained."""
    outcome = subprocess.run(
        [sys.executable, "-m", "orchestrator", *command, "--repository", str(repository), "--json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    if outcome.returncode != 0:
        return None
    exported = orjson.loads(outcome.stdout.splitlines()[-1])  # the user's module may print, too
    fresh = ServiceSpec.model_validate_json(orjson.dumps(exported["service"]))
    others = tuple(ServiceSpec.model_validate_json(orjson.dumps(each)) for each in exported["others"])
    for each in (*others, fresh):
        if each.placement is Placement.TRITON:
            # Triton looks at times: changed code behind an unchanged config is new to it only so.
            os.utime(repository / each.name / "config.pbtxt")
            os.utime(repository / each.name / "1" / "model.py")
    compile_workers(repository)
    return _Export(fresh, others, tuple(exported["models"]))


class _Stuck(Exception):
    """A model did not load.

    Attributes:
        loaded: those that did before.
    """

    def __init__(self, error: ServerProcessError, loaded: Sequence[str]) -> None:
        super().__init__(error)
        self.error = error
        self.loaded = loaded


async def _load(grpc_url: str, models: Sequence[str]) -> None:
    """Raises: _Stuck."""
    async with Control(grpc_url) as control:
        for position, model in enumerate(models):
            try:
                await control.load_model(model)
            except ServerProcessError as error:
                raise _Stuck(error, models[:position]) from error


async def _remove(engine: Engine, models: Sequence[str]) -> None:
    """Takes models out of Triton, and off the disk, so that a Triton that starts again does without them."""
    if engine.grpc_url is not None:
        async with Control(engine.grpc_url) as control:
            for model in reversed(models):  # `Service.api` is a facade of `Service`
                with contextlib.suppress(ServerProcessError):  # it is ending, or starts again
                    await control.unload_model(model)
    for model in models:
        assert engine.repository is not None
        shutil.rmtree(engine.repository / model, ignore_errors=True)


def _models_in(repository: Path) -> list[str]:
    return sorted(
        path.parent.name for path in repository.glob("*/config.pbtxt") if not path.parent.name.startswith(".")
    )


def _start(plan: FrontendPlan, sock: socket.socket) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(plan, sock))
    process.start()
    return process


def _serve(plan: FrontendPlan, sock: socket.socket) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which then stops us
    run_frontend(plan, sock)


def _stop(process: BaseProcess) -> None:
    process.terminate()
    process.join(_STOP_S)
    if process.is_alive():
        process.kill()
        process.join()
