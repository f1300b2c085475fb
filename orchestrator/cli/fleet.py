"""Orders for Tritons that are not below a `serve` of this machine: containers, or other machines."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.console import note
from orchestrator.deployment import (
    Changed,
    Deployer,
    Report,
    ServerStatus,
    Serving,
    alone_in,
    keep_code,
    pin,
    serving_in,
    versions_in,
)
from orchestrator.deployment.code import ServiceCode
from orchestrator.deployment.configs import as_json
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.serving import NativeTarget
from orchestrator.errors import DefinitionError, DeploymentError, SettingsError, StoreError
from orchestrator.models.native import DeclaredModel, declared_as
from orchestrator.models.stores import default_store
from orchestrator.sdk.native import Resolved
from orchestrator.spec import NativeModelSpec, Tag
from orchestrator.triton.addresses import parse_addresses
from orchestrator.triton.fleet import Fleet

__all__ = ["FarTritons", "Operation", "far_tritons"]

Operation = Callable[[Deployer, Report], Awaitable[list[Changed]]]


@dataclass(frozen=True, slots=True)
class FarTritons:
    """Tritons by their addresses.

    Attributes:
        addresses: `host:port` each.
        repository: that all of them read, as it is here.
        skip_silent: those that do not answer are left out.
    """

    addresses: tuple[str, ...]
    repository: Path
    skip_silent: bool

    @property
    def url(self) -> str:
        return ",".join(f"grpc://{address}" for address in self.addresses)

    @property
    def versioned(self) -> frozenset[str]:
        """Names of the Triton models whose versions can move."""
        return frozenset(versions_in(serving_in(self.repository)))

    def order(self, what: str, operation: Operation, report: Report) -> list[Changed]:
        """Does it, in this process; once begun it goes on to its end.

        Args:
            what: is done, for others that wait.

        Raises:
            DeploymentError: a machine does not answer, another deployment is under way, or as the operation.
        """
        with alone_in(self.repository, what):
            return asyncio.run(self._order(operation, report))

    def status(self) -> ServerStatus:
        """What the repository says, and what the machines say of it."""

        async def ask() -> ServerStatus:
            async with self._fleet() as fleet:
                return await self._deployer(serving_in(self.repository), fleet).status(self.url, None)

        return asyncio.run(ask())

    def deploy_code(self, code: ServiceCode, before: Path | None) -> Operation:
        """The order to deploy code of a service, which is kept by version from the first time on."""

        async def deploy(deployer: Deployer, report: Report) -> list[Changed]:
            if await asyncio.to_thread(keep_code, deployer.serving, code, before):
                note(f"the code of the {code.spec.name} that serves is kept now, for the way back")
            return await deployer.deploy_code(code, report)

        return deploy

    async def _order(self, operation: Operation, report: Report) -> list[Changed]:
        serving = serving_in(self.repository)
        async with self._fleet() as fleet:
            pin(serving)
            _note_all(await fleet.align(versions_in(serving)))
            with _uninterrupted():
                try:
                    return await operation(self._deployer(serving, fleet), report)
                finally:
                    _note_all(await fleet.settle(versions_in(serving)))

    @contextlib.asynccontextmanager
    async def _fleet(self) -> AsyncGenerator[Fleet, None]:
        async with Fleet(self.addresses, self._on_disk, skip_silent=self.skip_silent) as fleet:
            for address in fleet.silent:
                note(
                    f"grpc://{address} does not answer and is left out; it takes what the repository says when it starts"
                )
            yield fleet

    def _on_disk(self, model: str) -> str:
        return as_json(ModelFolder(self.repository, model).config)

    def _deployer(self, serving: Serving, fleet: Fleet) -> Deployer:
        return Deployer(
            serving, connect=lambda: contextlib.nullcontext(fleet), store=default_store, resolve=_resolver(serving)
        )


def far_tritons(
    triton: str | None,
    repository: Path | None,
    skip_silent: bool,
    *,
    server: str | None = None,
    everywhere: bool = False,
) -> FarTritons | None:
    """What `--triton`, `--repository` and `--skip-silent` name; None where the order is for a server of this machine.

    Args:
        server: of `--server`.
        everywhere: `--all`.

    Raises:
        SettingsError: one of them is missing, or does not go together with the others.
    """
    if triton is None:
        if repository is not None or skip_silent:
            raise SettingsError("--repository and --skip-silent go with --triton")
        return None
    if server is not None or everywhere:
        raise SettingsError("--triton names Tritons elsewhere; --server and --all are for servers of this machine")
    if repository is None:
        raise SettingsError(
            "--triton needs --repository", hint="the folder of the model repository that those Tritons read"
        )
    if not repository.is_dir():
        raise SettingsError(f"there is no folder {repository}")
    return FarTritons(parse_addresses(triton), repository.resolve(), skip_silent)


@contextlib.contextmanager
def _uninterrupted() -> Generator[None, None, None]:
    """Inside, Ctrl-C and SIGTERM leave nothing half done."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(ValueError, RuntimeError):  # not the main thread, which gets none
        for number in numbers:
            loop.add_signal_handler(number, note, "the deployment goes on to its end")
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _note_all(lines: list[str]) -> None:
    for line in lines:
        note(line)


def _resolver(serving: Serving) -> Callable[[str, Tag], Resolved]:
    """What finds a version of a model, which is declared as the one that serves: its class is not known here."""

    def resolve(name: str, tag: Tag) -> Resolved:
        now = NativeTarget(ModelFolder(serving.repository, name)).spec
        try:
            return _declaration(now, tag).resolve(serving.name, now.attribute, tag)
        except DefinitionError as error:
            raise DeploymentError(error.message, hint=error.hint) from error

    return resolve


def _declaration(now: NativeModelSpec, tag: Tag) -> DeclaredModel:
    """As the class of the model that serves has it."""
    usual = type(declared_as(tag))
    options = now.options.model_dump()
    if now.options.accelerator is None:
        del options["accelerator"]  # which only ONNX has
    if _as_stored(now):
        return usual(now.requested or str(tag), name=now.name, **options)
    signature = now.signature
    return usual(
        now.requested or str(tag),
        name=now.name,
        inputs=signature.inputs,
        outputs=signature.outputs,
        batched=signature.batched,
        **options,
    )


def _as_stored(now: NativeModelSpec) -> bool:
    """Whether the class says nothing of inputs and outputs by itself, as far as that can be known."""
    try:
        return now.tag is None or default_store().get(Tag.of(now.tag)).signature == now.signature
    except StoreError:
        return True
