"""From an exported version back to the user's class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import DefinitionError
from orchestrator.sdk import ApiBinding, Definition, load_service
from orchestrator.sdk.importing import demand_imports
from orchestrator.sdk.pins import set_pins
from orchestrator.spec import CalledService, ServiceSpec

__all__ = ["load_definition"]

_METHOD: Final = {"__all__": {"name": True, "arguments": True, "result": True, "batch": True}}
_INTERFACE: Final[Any] = {"name": True, "apis": _METHOD, "checks": _METHOD}
_WORDS: Final = {"json_schema", "default", "has_default_example", "opaque"}


def load_definition(spec: ServiceSpec, folder: Path) -> Definition:
    """The user's class as exported.

    Args:
        spec: of the exported version.
        folder: the user's code.

    Raises:
        DefinitionError: it cannot be imported, or its APIs are no longer the exported ones.
    """
    demand_imports()
    set_pins(spec.stored)
    definition = load_service(
        spec.target,
        folder,
        bentoml=spec.bentoml,
        arguments=spec.template,
        models=spec.models,
        dependencies=spec.dependencies,
    )
    if _interface(definition.spec) != _interface(spec):
        raise DefinitionError(
            f"{spec.target} in {folder} is not what was exported: its APIs have changed",
            hint="run `orchestrator export` again",
        )
    for dependency in definition.dependencies.values():
        known = dependency.service
        if known is not None and _interface(known) != _interface(_as_read(known, dependency.apis)):
            raise DefinitionError(
                f"{spec.target} in {folder} is not what was exported: the APIs of {dependency.name} have changed",
                hint="run `orchestrator export` again",
            )
    return Definition(definition.cls, spec, definition.apis, dependencies=definition.dependencies)


def _as_read(known: CalledService, apis: Mapping[str, ApiBinding]) -> CalledService:
    """A service that is called, with the APIs that its code has now."""
    checks = {check.name for check in known.checks}
    return known.model_copy(
        update={
            "apis": tuple(api.spec for name, api in apis.items() if name not in checks),
            "checks": tuple(api.spec for name, api in apis.items() if name in checks),
        }
    )


def _interface(spec: ServiceSpec | CalledService) -> Any:
    """What must not differ between the exported config and the code: tensors and batching, not words."""

    def bare(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: bare(value) for key, value in node.items() if key not in _WORDS}
        return [bare(item) for item in node] if isinstance(node, (list, tuple)) else node

    return bare(spec.model_dump(mode="json", include=_INTERFACE))
