"""Which Triton runs a service: our own below this process, or one that runs already."""

import asyncio
import math
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.cli.awaiting import awaited
from orchestrator.cli.background import Background
from orchestrator.cli.command import running_command
from orchestrator.cli.console import note, relay
from orchestrator.cli.loading import models_of_graph
from orchestrator.cli.on_disk import compile_workers, load_order
from orchestrator.cli.supervision import supervised
from orchestrator.compiler import Target, plan_graph, write_repository
from orchestrator.deployment import prepare_repository
from orchestrator.errors import BackendUnavailable, ServerProcessError, SettingsError
from orchestrator.sdk import Definition
from orchestrator.settings import Settings
from orchestrator.spec import Placement, ServiceSpec, Traffic
from orchestrator.triton import Control, ServerOptions, TritonBackend, TritonServer, probe_server
from orchestrator.triton.addresses import parse_addresses, resolved
from orchestrator.triton.container import CPU_IMAGE, GPU_IMAGE, REPOSITORY_PREFIX, TritonContainer
from orchestrator.triton.local_control import LocalControl
from orchestrator.triton.turns import Turns
from orchestrator.worker.source import SERVICE_PATH_VARIABLE

__all__ = ["Engine", "engine_for"]

_END_S: Final = 4
_MOST_END_S: Final = 10
_CONTAINER_S: Final = 180.0
_CLEANUP_S: Final = 4.0
"""What is left after Triton's end is removed in that time."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Where a Triton that has the service's models loaded can be reached.

    Attributes:
        grpc_url: `host:port`, where that Triton is ours; None where the service needs none.
        elsewhere: gRPC addresses of Tritons that are somebody else's.
        metrics_url: of its Prometheus page, or None where it has none that we know.
        repository: that it reads, where that is ours.
        scratch: a folder that goes with it, also where this process is killed; None where there is none.
        process: address of the service's own process, `host:port`, which stands in Triton's place.
        call_board: file of the cancel board that its workers read, where that Triton is ours.
        http_url: as `http://127.0.0.1:8000`, where that Triton is ours.
        background: runs what goes on beside the front-end, where that Triton is ours.
        turns: whose turn it is to load a model there; for work of the background.
    """

    grpc_url: str | None
    metrics_url: str | None
    repository: Path | None = None
    scratch: Path | None = None
    process: str | None = None
    call_board: Path | None = None
    http_url: str | None = None
    elsewhere: tuple[str, ...] = ()
    background: Background | None = None
    turns: Turns | None = None


@contextmanager
def engine_for(
    triton: str, definition: Definition, working_dir: Path, *, reloads: bool = False, awaits: bool = False
) -> Generator[Engine, None, None]:
    """Starts or finds the Triton that `--triton` names, with the service's models loaded.

    Args:
        triton: `embedded`, `docker` or a gRPC address.
        definition: the service.
        working_dir: folder of its code.
        reloads: workers take the code that is in the folder, not that of now.
        awaits: a Triton that `--triton` names by its address may come later.

    Raises:
        SettingsError: `--triton` names nothing.
        ServerProcessError: Triton, a model or the service's own process does not start.
    """
    if definition.spec.placement is Placement.COMMAND:
        with running_command(definition, working_dir) as (address, scratch):
            yield Engine(None, None, process=address, scratch=scratch)
    elif not _needed(definition):
        note(f"{', '.join(_names(definition))} on the front-end; no Triton is needed")
        yield Engine(None, None)
    elif triton == "embedded":
        with _embedded(definition, working_dir, reloads) as engine:
            yield engine
    elif triton == "docker":
        with _container(definition, working_dir) as engine:
            yield engine
    else:
        with _running(triton, definition, awaits) as engine:
            yield engine


@contextmanager
def _embedded(definition: Definition, working_dir: Path, reloads: bool) -> Generator[Engine, None, None]:
    folder = str(working_dir.resolve())
    services = [each.spec for each in definition.graph]
    plan = plan_graph(services, target=Target.EMBEDDED, service_path=folder, models=models_of_graph(definition))

    def write(repository: Path) -> None:
        write_repository(plan, repository)
        if not reloads:
            problems = [prepare_repository(repository, each, working_dir) for each in services]
            for problem in dict.fromkeys(problems):
                if problem is not None:
                    note(problem)
        compile_workers(repository)

    grace_s = _grace_s(services)
    with TritonServer(options=ServerOptions(drain_s=grace_s)) as server:
        note("starting Triton")
        env = {name: value for each in services for name, value in each.environment.items()}
        env[SERVICE_PATH_VARIABLE] = folder
        server.start([], write=write, env=env, log=relay, hold=True)
        note(f"Triton runs: HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}")
        note(f"loading {', '.join(_needed(definition))}")
        asyncio.run(_load(server))
        traffic = _most_patient(definition)
        with (
            Background("orchestrator-background") as background,
            supervised(server, traffic, lambda: _load(server), background) as turns,
        ):
            yield Engine(
                server.grpc_url,
                server.metrics_url,
                server.own_repository,
                scratch=server.run_dir,
                call_board=server.call_board,
                http_url=server.http_url,
                background=background,
                turns=turns,
            )
        note("stopping Triton")
        server.stop(grace_s + _CLEANUP_S)


def _grace_s(services: Sequence[ServiceSpec]) -> int:
    """Seconds that Triton has to end what still runs, and the services their hooks: they end one after the other."""
    asked_s = max(service.traffic.shutdown_timeout_s for service in services)
    return max(_END_S + len(services), math.ceil(min(asked_s, _MOST_END_S)))


def _most_patient(definition: Definition) -> Traffic:
    """The limits of the service in whose time all calls end."""
    return max((each.spec.traffic for each in definition.graph), key=lambda traffic: traffic.timeout_s)


@contextmanager
def _container(definition: Definition, working_dir: Path) -> Generator[Engine, None, None]:
    """Triton in a container of this machine's Docker engine; it goes with us."""
    gpu = any(each.spec.resources.gpu > 0 for each in definition.graph)
    services = [each.spec for each in definition.graph]
    plan = plan_graph(
        services,
        target=Target.CONTAINER if gpu else Target.EMBEDDED,  # the image without a GPU has what the embedded one has
        service_path="/service",
        models=models_of_graph(definition),
    )
    image = Settings.load().triton_image or (GPU_IMAGE if gpu else CPU_IMAGE)
    with (
        tempfile.TemporaryDirectory(prefix=REPOSITORY_PREFIX) as folder,
        TritonContainer(image, gpu=gpu) as triton,
    ):
        repository = Path(folder)
        repository.chmod(0o755)  # its user is another one
        write_repository(plan, repository)
        compile_workers(repository)
        note(f"starting Triton in a container of {image}")
        env = {name: value for each in services for name, value in each.environment.items()}
        triton.start(repository, working_dir.resolve(), env=env, log=relay, stop_s=_grace_s(services) + 4)
        note(f"Triton runs: gRPC {triton.address}")
        models = _needed(definition)
        asyncio.run(_until_loaded(triton, models))
        yield Engine(None, None, elsewhere=(triton.address,))
        note("stopping Triton")


async def _until_loaded(triton: TritonContainer, models: Sequence[str]) -> None:
    """Returns once Triton has the models.

    Raises:
        ServerProcessError: the container has ended, a model does not load, or it takes too long.
    """
    end = time.monotonic() + _CONTAINER_S
    while True:
        await asyncio.to_thread(triton.check)
        try:
            await _check_running(triton.address, models)
            return
        except BackendUnavailable as error:
            if time.monotonic() > end:
                raise ServerProcessError(
                    f"Triton in the container does not answer after {_CONTAINER_S:g} s", log_tail=triton.log_tail
                ) from error
        await asyncio.sleep(0.2)


async def _load(server: TritonServer) -> None:
    """The proof of the server and the models side by side: each waits for a worker process to start."""
    control = LocalControl(server.grpc_url)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(probe_server(server.grpc_url))
            tasks.create_task(_load_models(control, *load_order(server.own_repository)))
    except ExceptionGroup as group:
        raise _first_of(group) from None
    finally:
        await control.close()


async def _load_models(
    control: Control, native: Sequence[str], services: Sequence[str], facades: Sequence[str]
) -> None:
    """The model files that services call, all at once; then the services; then their facades one after the other."""
    for together in (native, services):
        async with asyncio.TaskGroup() as tasks:
            for name in together:
                tasks.create_task(control.load_model(name))
    for name in facades:
        await control.load_model(name)


def _first_of(group: BaseException) -> BaseException:
    """The one error that explains a failed group best."""
    while isinstance(group, BaseExceptionGroup):
        group = next((each for each in group.exceptions if isinstance(each, ServerProcessError)), group.exceptions[0])
    return group


@contextmanager
def _running(triton: str, definition: Definition, awaits: bool) -> Generator[Engine, None, None]:
    try:
        addresses = parse_addresses(triton)
    except SettingsError as error:
        raise SettingsError(
            f"--triton {triton!r} is neither 'embedded' nor 'docker' nor the gRPC address of a Triton", hint=error.hint
        ) from None
    engine = Engine(None, None, elsewhere=addresses)
    models = _needed(definition)
    if awaits:
        with awaited(lambda: _check_all(addresses, models), f"Triton at {triton} has {', '.join(models)}"):
            yield engine
    else:
        asyncio.run(_check_all(addresses, models))
        yield engine


def _needed(definition: Definition) -> list[str]:
    """The Triton models that are called, those that others call in front."""
    names = []
    for each in definition.graph:
        names += [spec.name for spec in each.spec.models]
        names += [each.spec.name] if each.spec.placement is Placement.TRITON else []
    return list(dict.fromkeys(names))


def _names(definition: Definition) -> list[str]:
    return [f"{each.spec.name} runs" for each in definition.graph]


async def _check_all(addresses: Sequence[str], models: Sequence[str]) -> None:
    """Has every Triton that answers now load the models.

    Raises:
        OrchestratorError: what one of them says; one that does not answer matters only where none does.
    """
    machines = await resolved(addresses)
    if not machines:
        raise BackendUnavailable(f"no machine is known by {', '.join(addresses)}")
    silent: BackendUnavailable | None = None
    answered = 0
    for machine in machines:
        try:
            await _check_running(machine, models)
            answered += 1
        except BackendUnavailable as error:
            silent = error
    if silent is not None and not answered:
        raise silent


async def _check_running(url: str, models: Sequence[str]) -> None:
    backend, control = TritonBackend(url), Control(url)
    try:
        if not await control.server_live():
            raise BackendUnavailable(f"no Triton answers at grpc://{url}")
        for model in models:
            if await backend.ready(model):
                continue
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
