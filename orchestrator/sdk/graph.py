"""A class and all services that it reaches -> `Definition`s: where each runs, and what each knows of those that it calls."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import DefinitionError
from orchestrator.sdk.asgi import mounts_of
from orchestrator.sdk.definition import Definition, DependencyBinding
from orchestrator.sdk.dependency import Dependency, dependencies_of
from orchestrator.sdk.options import ServiceOptions
from orchestrator.sdk.reader import at_class, name_of, read_alone, read_apis
from orchestrator.spec import CalledService, DependencySpec, Layer, NativeModelSpec, Placement

__all__ = ["read_service"]


@dataclass(frozen=True, slots=True)
class _Edge:
    """One service's dependency on another.

    Attributes:
        caller: the class that has the attribute.
        on: the other class; None for one that is known by its URL alone.
    """

    caller: type
    attribute: str
    dependency: Dependency
    on: type | None

    @property
    def is_ours(self) -> bool:
        """Whether the other one is served together with its caller."""
        return self.dependency.url is None

    def __str__(self) -> str:
        callee = self.on.__name__ if self.on is not None else self.dependency.url
        return f"{self.caller.__name__}.{self.attribute} -> {callee}"


def read_service(
    cls: type,
    target: str,
    overrides: Sequence[Layer] | None = (),
    *,
    models: Sequence[NativeModelSpec] | None = None,
    dependencies: Sequence[DependencySpec] | None = None,
) -> Definition:
    """Reads a class that has `@service`, and those of the services that it reaches.

    Args:
        cls: the class.
        target: `module:Class`, where a worker process will find it.
        overrides: what others than `@service` say about how it is run, the weakest first; None where the caller goes by
            another configuration than the definition's.
        models: what its models were resolved to before, for a process that has no store and only runs the service;
            None to resolve them.
        dependencies: what it knew of the services that it calls when it was exported, for a process that runs it alone;
            None to read them.

    Raises:
        DefinitionError: with file and line, for anything that could not be served.
        SettingsError: the overrides contradict each other, or what `@service` says.
    """
    edges = _edges(cls)
    if dependencies is not None:
        definition = read_alone(cls, target, overrides, models=models, depends=bool(edges))
        return _known(definition, edges, dependencies)
    reached = _reached(cls)
    alone = {
        each: read_alone(
            each,
            target if each is cls else _target_of(each),
            overrides,
            models=models if each is cls else None,
            depends=bool(_edges(each)),
        )
        for each in reached
    }
    _check_names(alone)
    placed = _placed(alone)
    definitions: dict[type, Definition] = {}
    for each in reached:  # dependencies come before their callers
        definitions[each] = _connected(placed[each], _edges(each), definitions)
    *others, own = definitions.values()
    return dataclasses.replace(own, others=tuple(others))


def _edges(cls: type) -> list[_Edge]:
    return [
        _Edge(cls, attribute, dependency, dependency.service_class(cls))
        for attribute, dependency in dependencies_of(cls).items()
    ]


def _reached(cls: type) -> list[type]:
    """The classes that are served together, dependencies before their callers, the given one last.

    Raises:
        DefinitionError: they depend on each other in a circle.
    """
    found: dict[type, None] = {}

    def visit(each: type, path: tuple[_Edge, ...]) -> None:
        for edge in _edges(each):
            if not edge.is_ours or edge.on is None or edge.on in found:
                continue
            begun = [step.caller for step in path]
            way = (*path, edge)
            if edge.on is each or edge.on in begun:
                raise _circle(way[begun.index(edge.on) if edge.on in begun else len(path) :])
            visit(edge.on, way)
        found[each] = None

    visit(cls, ())
    return list(found)


def _circle(way: Sequence[_Edge]) -> DefinitionError:
    names = [edge.caller.__name__ for edge in way]
    lines = [f"  {edge}  ({edge.dependency.file}:{edge.dependency.line})" for edge in way]
    drawn = "\n".join([f"services depend on each other in a circle: {' -> '.join([*names, names[0]])}", *lines])
    return way[-1].dependency.at(drawn, hint="one of these must do without the other")


def _target_of(cls: type) -> str:
    """Where a worker process will find a class that another one depends on.

    Raises:
        DefinitionError: it will not.
    """
    name, module = cls.__qualname__, sys.modules.get(cls.__module__)
    if getattr(module, name, None) is not cls:
        hint = "a worker process imports it from there"
        raise at_class(cls, f"{name} is not a class at the top of the module {cls.__module__!r}", hint=hint)
    return f"{cls.__module__}:{name}"


def _check_names(alone: Mapping[type, Definition]) -> None:
    taken: dict[str, type] = {}
    for cls, definition in alone.items():
        models = {spec.name for spec in definition.spec.models}
        for name in (definition.spec.name, *models):
            owner = taken.setdefault(name, cls)
            both_models = name in models and name in {spec.name for spec in alone[owner].spec.models}
            if owner is not cls and not both_models:
                hint = "give one of them another with @service(name=...)"
                raise at_class(cls, f"{owner.__name__} and {cls.__name__} have both the name {name!r}", hint=hint)
        if definition.spec.placement is Placement.COMMAND and cls is not next(reversed(list(alone))):
            hint = "serve it by itself, and write depends(url=...)"
            raise at_class(cls, f"{cls.__name__} is a process of its own, which no other service can call", hint=hint)


def _placed(alone: Mapping[type, Definition]) -> dict[type, Definition]:
    """Each where it runs: a service that is called from inside of Triton must be there as well.

    Raises:
        DefinitionError: it says that it must not.
    """
    placed = dict(alone)
    for cls in reversed(list(placed)):  # callers come before what they call
        caller = placed[cls]
        if caller.spec.placement is not Placement.TRITON:
            continue
        for edge in _edges(cls):
            if not edge.is_ours or edge.on is None:
                continue
            callee = placed[edge.on]
            if callee.spec.placement is Placement.TRITON:
                continue
            options: ServiceOptions = name_of(edge.on)[1]
            if options.placement is Placement.FRONTEND or not _can_move(callee):
                raise edge.dependency.at(
                    f"{caller.spec.name} runs in Triton ({caller.placement_reason}), from where {callee.spec.name} cannot be "
                    f"called: it runs on the front-end ({callee.placement_reason})",
                    hint=f"give {caller.spec.name} @service(placement='frontend')",
                )
            spec = callee.spec.model_copy(update={"placement": Placement.TRITON})
            why = f"{caller.spec.name}, which runs in Triton, calls it"
            placed[edge.on] = dataclasses.replace(callee, spec=spec, placement_reason=why)
    return placed


def _can_move(definition: Definition) -> bool:
    return not mounts_of(definition.cls)


def _connected(definition: Definition, edges: Sequence[_Edge], known: Mapping[type, Definition]) -> Definition:
    """The definition with what it must know of those it calls."""
    specs, bindings = [], {}
    for edge in edges:
        called: CalledService | None = None
        if edge.is_ours and edge.on is not None:
            called = known[edge.on].spec.called()
        specs.append(DependencySpec(attribute=edge.attribute, service=called, url=edge.dependency.url))
        apis = known[edge.on].apis if called is not None and edge.on is not None else {}
        bindings[edge.attribute] = DependencyBinding(edge.on, called, apis, edge.dependency.url)
    spec = definition.spec.model_copy(update={"dependencies": tuple(specs)})
    return dataclasses.replace(definition, spec=spec, dependencies=bindings)


def _known(definition: Definition, edges: Sequence[_Edge], known: Sequence[DependencySpec]) -> Definition:
    """The definition with what it knew when it was exported.

    Raises:
        DefinitionError: its code depends on other services now.
    """
    by_attribute = {spec.attribute: spec for spec in known}
    bindings = {}
    for edge in edges:
        spec = by_attribute.pop(edge.attribute, None)
        has = edge.on is not None and edge.is_ours
        if spec is None or (spec.service is not None) is not has:
            raise _changed(definition)
        apis = read_apis(edge.on) if has and edge.on is not None else {}
        bindings[edge.attribute] = DependencyBinding(edge.on, spec.service, apis, edge.dependency.url)
    if by_attribute:
        raise _changed(definition)
    spec_now = definition.spec.model_copy(update={"dependencies": tuple(known)})
    return dataclasses.replace(definition, spec=spec_now, dependencies=bindings)


def _changed(definition: Definition) -> DefinitionError:
    return DefinitionError(
        f"{definition.cls.__name__} is not what was exported: its dependencies have changed",
        hint="run `orchestrator export` again",
    )
