"""A service among the others that a server serves with it: who calls it, and what new code of it may call."""

from collections.abc import Iterator, Mapping

from orchestrator.deployment.differences import method_differences
from orchestrator.errors import DeploymentError
from orchestrator.spec import DependencySpec, Placement, ServiceSpec

__all__ = ["among", "callers_of", "module_files", "reached_from"]


def callers_of(name: str, serves: Mapping[str, ServiceSpec]) -> list[ServiceSpec]:
    """The services that call one."""
    return [
        each
        for each in serves.values()
        if any(dependency.service is not None and dependency.service.name == name for dependency in each.dependencies)
    ]


def reached_from(service: ServiceSpec, serves: Mapping[str, ServiceSpec]) -> list[str]:
    """Names of the services that one calls, and of those that they call; those that are not served are left out."""
    found: dict[str, None] = {}
    to_do = [service]
    while to_do:
        for dependency in to_do.pop().dependencies:
            called = dependency.service
            if called is not None and called.name in serves and called.name not in found:
                found[called.name] = None
                to_do.append(serves[called.name])
    return list(found)


def module_files(service: ServiceSpec) -> frozenset[str]:
    """Where the module of a service's class may be, relative to the folder of its code."""
    place = service.target.partition(":")[0].replace(".", "/")
    return frozenset({f"{place}.py", f"{place}/__init__.py"})


def among(fresh: ServiceSpec, serves: Mapping[str, ServiceSpec]) -> ServiceSpec:
    """New code of a service as it is among those that serve: where it runs, and what it knows of those that it calls.

    Args:
        fresh: read by itself, or from another class than the one that the server was started with.
        serves: all services of the server by name, each as it serves now.

    Raises:
        DeploymentError: it calls what is not served here, or what is another service here.
    """
    old = serves[fresh.name]
    called_from_triton = any(each.placement is Placement.TRITON for each in callers_of(old.name, serves))
    placement = old.placement if called_from_triton else fresh.placement
    problems = [line for each in fresh.dependencies for line in _problems(each, old, serves)]
    if problems:
        raise DeploymentError(
            f"the new {fresh.name} does not go together with what is served: {'; '.join(problems)}",
            hint="start the server again with it",
        )
    known = {each.attribute: each for each in old.dependencies}
    dependencies = tuple(_known(each, known.get(each.attribute), serves) for each in fresh.dependencies)
    return fresh.model_copy(update={"placement": placement, "dependencies": dependencies})


def _problems(dependency: DependencySpec, caller: ServiceSpec, serves: Mapping[str, ServiceSpec]) -> Iterator[str]:
    called = dependency.service
    if called is None:
        return
    where = f"`{dependency.attribute}`"
    now = serves.get(called.name)
    if now is None:
        yield f"{where} is {called.name}, which is not served here"
    elif caller.placement is Placement.TRITON and now.placement is not Placement.TRITON:
        yield f"{where} is {called.name}, which runs on the front-end and cannot be called from inside Triton"
    elif called.name == caller.name or caller.name in reached_from(now, serves):
        yield f"{where} is {called.name}, which calls {caller.name} itself"
    else:
        yield from (f"{where}, {called.name}: {line}" for line in method_differences(now, called))


def _known(fresh: DependencySpec, old: DependencySpec | None, serves: Mapping[str, ServiceSpec]) -> DependencySpec:
    """What the caller knows of the service as it serves here; the words are those of before, where it was known."""
    if fresh.service is None:
        return fresh
    if old is not None and old.service is not None and old.service.name == fresh.service.name:
        return old
    return DependencySpec(attribute=fresh.attribute, service=serves[fresh.service.name].called())
