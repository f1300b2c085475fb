"""What a server serves whose versions can move: the Triton models of its services, and what each is a version of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.compiler import Target as Engine
from orchestrator.deployment.code import code_digest, source_of
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.history import History, Served
from orchestrator.errors import DeploymentError
from orchestrator.formats import MODEL_SPEC_FILE
from orchestrator.spec import SPEC_FILE, NativeModelSpec, Placement, ServiceSpec, Tag

__all__ = ["NativeTarget", "ServiceTarget", "Serving", "Target", "check_placement"]


@dataclass(frozen=True, slots=True)
class NativeTarget:
    """A model that Triton runs for a service, or for several."""

    folder: ModelFolder

    @property
    def spec(self) -> NativeModelSpec:
        """Of the version that serves."""
        return NativeModelSpec.parse((self.folder.version(self.folder.serving) / MODEL_SPEC_FILE).read_bytes())

    @property
    def stored(self) -> frozenset[str]:
        """Name of the stored model that it comes from."""
        tag = self.spec.tag
        return frozenset() if tag is None else frozenset({Tag.of(tag).name})

    def history(self) -> History:
        spec = self.spec
        return self.folder.history(_served(self.folder, spec.tag or spec.file))


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """A service's own Triton model: its code, and the stored models that this reads by itself."""

    folder: ModelFolder

    @property
    def spec(self) -> ServiceSpec:
        """Of the version that serves."""
        return ServiceSpec.parse((self.folder.version(self.folder.serving) / SPEC_FILE).read_bytes())

    @property
    def stored(self) -> frozenset[str]:
        """Names of the stored models."""
        return frozenset(self.pins)

    @property
    def pins(self) -> dict[str, str]:
        """Stored model -> tag."""
        return {Tag.of(ref.tag).name: ref.tag for ref in self.spec.stored}

    def history(self) -> History:
        version = self.folder.version(self.folder.serving)
        served = _served(self.folder, source_of(version))
        update = {"stored": self.pins, "code": code_digest(version)}
        return self.folder.history(served.model_copy(update=update))


Target = NativeTarget | ServiceTarget


def _served(folder: ModelFolder, what: str) -> Served:
    since = datetime.fromtimestamp((folder.place / "config.pbtxt").stat().st_mtime, UTC)
    return Served(version=folder.serving, what=what, config=folder.config, since=since)


def check_placement(service: ServiceSpec) -> None:
    """Raises: DeploymentError where the service's code does not run in a worker of Triton's, which can be exchanged."""
    if service.placement is Placement.FRONTEND:
        raise DeploymentError(
            f"{service.name} runs on the front-end, where code cannot be exchanged under way",
            hint="start the server again, or serve it with --reload; the models and services that Triton runs for it can "
            "be deployed",
        )
    if service.placement is Placement.COMMAND:
        raise DeploymentError(f"{service.name} is a process of its own", hint="start the server again")


@dataclass(frozen=True, slots=True)
class Serving:
    """One server.

    Attributes:
        repository: that its Triton reads; ours to change.
        service: as it was started.
        reloads: the server takes new code by itself (`--reload`).
        others: the services that it reaches and that are served with it, dependencies before their callers.
        native: names of models of services that are not known here.
        built_for: the Triton that reads the repository.
        elsewhere: it is on other machines, which have the folders of our code at places of their own.
    """

    repository: Path
    service: ServiceSpec | None
    reloads: bool = False
    others: tuple[ServiceSpec, ...] = ()
    native: tuple[str, ...] = ()
    built_for: Engine = Engine.EMBEDDED
    elsewhere: bool = False

    @property
    def name(self) -> str:
        """The service's; where only its models are known, the repository's."""
        return self.service.name if self.service is not None else self.repository.name

    @property
    def graph(self) -> tuple[ServiceSpec, ...]:
        """All services as they were started, dependencies before their callers."""
        return self.others if self.service is None else (*self.others, self.service)

    @property
    def serves(self) -> Mapping[str, ServiceSpec]:
        """All services by name, each as it serves now."""
        own = {target.folder.name: target.spec for target in self.targets if isinstance(target, ServiceTarget)}
        return {service.name: own.get(service.name, service) for service in self.graph}

    @property
    def targets(self) -> tuple[Target, ...]:
        """All Triton models whose versions can move."""
        native = dict.fromkeys((*self.native, *(spec.name for service in self.graph for spec in service.models)))
        workers = [service.name for service in self.graph if service.placement is Placement.TRITON]
        found: list[Target] = [NativeTarget(ModelFolder(self.repository, name)) for name in native]
        found += [ServiceTarget(ModelFolder(self.repository, name)) for name in workers]
        # With --reload a class may have lost a model by now.
        return tuple(target for target in found if target.folder.place.is_dir())

    def check(self) -> None:
        """Raises: DeploymentError where the versions of this server are not to be moved from outside."""
        if self.reloads:
            raise DeploymentError(
                f"{self.name} is served with --reload, which takes new code and models by itself",
                hint="start it without --reload to deploy versions",
            )

    def of_stored(self, name: str) -> Sequence[Target]:
        """What uses a stored model.

        Raises:
            DeploymentError: nothing does, or only code that cannot be changed under a running front-end.
        """
        self.check()
        for service in self.graph:
            reads = {Tag.of(ref.tag).name for ref in service.stored}
            if service.placement is not Placement.TRITON and name in reads:
                raise DeploymentError(
                    f"{service.name} reads {name} by itself and runs on the front-end, where code cannot be exchanged "
                    "under way",
                    hint="start the server again, or serve it with --reload",
                )
        found = [target for target in self.targets if name in target.stored]
        if not found:
            used = sorted({each for target in self.targets for each in target.stored})
            hint = f"it serves {', '.join(used)}" if used else f"{self.name} uses no stored model"
            raise DeploymentError(f"{self.name} does not use a stored model {name!r}", hint=hint)
        return found

    def of_name(self, name: str) -> Sequence[Target]:
        """What a rollback of that name is for: a stored model's, a Triton model's or a service's.

        Raises:
            DeploymentError: nothing here has it.
        """
        self.check()
        if name in {service.name for service in self.graph}:
            return [self.own(name)]
        found = [target for target in self.targets if name in target.stored]
        found = found or [target for target in self.targets if target.folder.name == name]
        if not found:
            raise DeploymentError(f"nothing here is named {name!r}", hint=f"there is {', '.join(self._names())}")
        return found

    def own(self, name: str) -> ServiceTarget:
        """A service's own model.

        Raises:
            DeploymentError: it has none, or nothing here is a service of that name.
        """
        self.check()
        for target in self.targets:
            if isinstance(target, ServiceTarget) and target.folder.name == name:
                return target
        services = {service.name: service for service in self.graph}
        if name not in services:
            raise DeploymentError(f"no service {name!r} is served here", hint=f"there is {', '.join(services)}")
        check_placement(services[name])
        raise DeploymentError(f"{name} has no model of its own here", hint="start the server again")

    def _names(self) -> Iterator[str]:
        names = {service.name for service in self.graph if service.placement is Placement.TRITON}
        for target in self.targets:
            names |= target.stored or {target.folder.name}
        yield from sorted(names)
