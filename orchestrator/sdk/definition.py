"""A service as read from the user's class: the frozen spec, and what only Python can hold (functions, validators)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from orchestrator.spec import ApiSpec, ServiceSpec

__all__ = ["ApiBinding", "Definition"]


@dataclass(frozen=True, slots=True)
class ApiBinding:
    """One API and the Python behind it.

    Attributes:
        function: as it stands in the class (not bound to an instance).
        arguments: argument name -> validator of its annotation.
        result: validator of the return annotation.
        field_defaults: arguments whose default is a pydantic `Field(...)`, which Python itself would pass as it is.
    """

    spec: ApiSpec
    function: Callable[..., Any]
    arguments: Mapping[str, TypeAdapter[Any]]
    result: TypeAdapter[Any]
    field_defaults: Mapping[str, FieldInfo]

    def with_defaults(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments and the `Field` defaults of those that are missing; plain defaults are left to Python."""
        for name, field in self.field_defaults.items():
            if name not in arguments:
                arguments[name] = field.get_default(call_default_factory=True, validated_data={})
        return arguments


@dataclass(frozen=True, slots=True)
class Definition:
    """A service that can be run: its class, its spec and its APIs by name."""

    cls: type
    spec: ServiceSpec
    apis: Mapping[str, ApiBinding]
