"""A service as read from the user's class: the frozen spec, and what only Python can hold (functions, validators)."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from orchestrator.sdk.context import Context
from orchestrator.spec import ApiSpec, CalledService, Configuration, Passing, ServiceSpec

if TYPE_CHECKING:
    from orchestrator.formats import ModelFiles

__all__ = ["ApiBinding", "Definition", "DependencyBinding"]


@dataclass(frozen=True, slots=True)
class ApiBinding:
    """One API and the Python behind it.

    Attributes:
        function: as it stands in the class (not bound to an instance).
        arguments: argument name -> validator of its annotation.
        result: validator of the return annotation; of one chunk, for a stream.
        field_defaults: arguments whose default is a pydantic `Field(...)`, which Python itself would pass as it is.
        signature: of the function without `self`.
    """

    spec: ApiSpec
    function: Callable[..., Any]
    arguments: Mapping[str, TypeAdapter[Any]]
    result: TypeAdapter[Any]
    field_defaults: Mapping[str, FieldInfo]
    signature: inspect.Signature

    def with_defaults(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments and the `Field` defaults of those that are missing; plain defaults are left to Python."""
        for name, field in self.field_defaults.items():
            if name not in arguments:
                arguments[name] = field.get_default(call_default_factory=True, validated_data={})
        return arguments

    def bind(self, arguments: Mapping[str, Any], context: Context | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for the function, `self` not among them.

        Args:
            arguments: Python values by name; those left to their defaults are missing.
            context: for a method that takes one.
        """
        spec = self.spec
        named = dict(arguments)
        if spec.context is not None:
            named[spec.context] = context
        if all(argument.passing is Passing.KEYWORD for argument in spec.arguments):
            return (), named
        for argument in spec.arguments:
            if argument.passing is Passing.SPREAD and argument.name in named:
                named[argument.name] = tuple(named[argument.name])
        ordered = {name: named[name] for name in self.signature.parameters if name in named}
        bound = inspect.BoundArguments(self.signature, ordered)
        bound.apply_defaults()
        return bound.args, bound.kwargs


@dataclass(frozen=True, slots=True)
class DependencyBinding:
    """Another service as its caller sees it.

    Attributes:
        cls: the user's class; None for one that is known by its URL alone.
        service: what the caller must know of it; None where `cls` is.
        apis: the Python behind its APIs, by name.
        url: where it is served elsewhere; None for one that is served together with its caller.
    """

    cls: type | None = None
    service: CalledService | None = None
    apis: Mapping[str, ApiBinding] = dataclasses.field(default_factory=dict)
    url: str | None = None

    @property
    def name(self) -> str:
        """Of the service, for people."""
        return self.service.name if self.service is not None else str(self.url)


@dataclass(frozen=True, slots=True)
class Definition:
    """A service that can be run: its class, its spec and its APIs by name.

    Attributes:
        configuration: where each value of the spec's configuration comes from; None where the spec was read from a
            document.
        models: name of a Triton model -> its files, for the models that the class declares; empty in a worker.
        placement_reason: of `spec.placement`, as a clause; empty where the spec was read from a document.
        dependencies: attribute -> the service that its methods call by it.
        others: all services that it reaches and that are served together with it, dependencies before their callers;
            empty where the spec was read from a document.
    """

    cls: type
    spec: ServiceSpec
    apis: Mapping[str, ApiBinding]
    configuration: Configuration | None = None
    models: "Mapping[str, ModelFiles]" = dataclasses.field(default_factory=dict)
    placement_reason: str = ""
    dependencies: Mapping[str, DependencyBinding] = dataclasses.field(default_factory=dict)
    others: "tuple[Definition, ...]" = ()

    @property
    def graph(self) -> "tuple[Definition, ...]":
        """All services that are served together, itself the last one."""
        return (*self.others, self)
