"""Which Triton runs a service: our own below this process, or one that runs already."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.cli.command import running_command
from orchestrator.cli.console import note
from orchestrator.compiler import Target, plan_repository, write_repository
from orchestrator.errors import BackendUnavailable, ServerProcessError, SettingsError
from orchestrator.sdk import Definition
from orchestrator.spec import Placement
from orchestrator.triton import Control, TritonBackend, TritonServer, probe_server
from orchestrator.worker.source import SERVICE_PATH_VARIABLE

__all__ = ["Engine", "engine_for"]


@dataclass(frozen=True, slots=True)
class Engine:
    """Where a Triton that has the service's models loaded can be reached.

    Attributes:
        grpc_url: `host:port`; None where the service needs no Triton.
        metrics_url: of its Prometheus page, or None where it has none that we know.
        repository: that it reads, where that is ours.
        scratch: a folder that goes with it, also where this process is killed; None where there is none.
        process: address of the service's own process, `host:port`, which stands in Triton's place.
    """

    grpc_url: str | None
    metrics_url: str | None
    repository: Path | None = None
    scratch: Path | None = None
    process: str | None = None


@contextmanager
def engine_for(triton: str, definition: Definition, working_dir: Path) -> Generator[Engine, None, None]:
    """Starts or finds the Triton that `--triton` names, with the service's models loaded.

    Args:
        triton: `embedded`, `docker` or a gRPC address.
        definition: the service.
        working_dir: folder of its code.

    Raises:
        SettingsError: `--triton` names nothing.
        ServerProcessError: Triton, a model or the service's own process does not start.
    """
    if definition.spec.placement is Placement.COMMAND:
        with running_command(definition, working_dir) as (address, scratch):
            yield Engine(None, None, process=address, scratch=scratch)
    elif definition.spec.placement is Placement.FRONTEND:
        note(f"{definition.spec.name} mounts an application, so it runs on the front-end; no Triton is needed")
        yield Engine(None, None)
    elif triton == "embedded":
        with _embedded(definition, working_dir) as engine:
            yield engine
    elif triton == "docker":
        raise SettingsError("--triton docker is not there yet", hint="use embedded, or the address of a running Triton")
    else:
        yield _running(triton, definition)


@contextmanager
def _embedded(definition: Definition, working_dir: Path) -> Generator[Engine, None, None]:
    folder = str(working_dir.resolve())
    plan = plan_repository(definition.spec, target=Target.EMBEDDED, service_path=folder)
    with TritonServer() as server:
        note("starting Triton")
        env = {**definition.spec.environment, SERVICE_PATH_VARIABLE: folder}
        server.start([], write=lambda repository: write_repository(plan, repository), env=env, log=note)
        note(f"Triton runs: HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}")
        note(f"loading {definition.spec.name}")
        asyncio.run(_load(server, plan.models))
        yield Engine(server.grpc_url, server.metrics_url, server.own_repository, scratch=server.run_dir)
        note("stopping Triton")


async def _load(server: TritonServer, models: tuple[str, ...]) -> None:
    """The service's model and the proof of the server side by side: each waits for a worker process to start."""
    control = Control(server.grpc_url)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(probe_server(server.grpc_url))
            tasks.create_task(control.load_model(models[0]))
        for facade in models[1:]:
            await control.load_model(facade)
    except ExceptionGroup as group:
        raise next((e for e in group.exceptions if isinstance(e, ServerProcessError)), group.exceptions[0]) from None
    finally:
        await control.close()


def _running(triton: str, definition: Definition) -> Engine:
    parts = urlsplit(triton if "//" in triton else f"grpc://{triton}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "grpc" or not parts.hostname or not port:
        raise SettingsError(
            f"--triton {triton!r} is neither 'embedded' nor 'docker' nor the gRPC address of a Triton",
            hint="write grpc://host:8001",
        )
    url = f"{parts.hostname}:{port}"
    asyncio.run(_check_running(url, definition.spec.name))
    return Engine(url, f"http://{parts.hostname}:{port + 1}/metrics")


async def _check_running(url: str, model: str) -> None:
    backend, control = TritonBackend(url), Control(url)
    try:
        if not await control.server_live():
            raise BackendUnavailable(f"no Triton answers at grpc://{url}")
        if not await backend.ready(model):
            try:
                await control.load_model(model)
            except ServerProcessError as error:
                raise ServerProcessError(
                    f"the Triton at grpc://{url} has no model {model!r}: {error.message}",
                    hint="write it into its repository with `orchestrator export`",
                ) from error
    finally:
        await backend.close()
        await control.close()
