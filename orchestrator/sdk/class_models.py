"""Models that a service's class names: those that Triton runs for it, and stored ones that it reads by itself."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import DefinitionError
from orchestrator.sdk.native import NativeModel, models_of
from orchestrator.spec import NativeModelSpec, StoredModelRef

if TYPE_CHECKING:
    from orchestrator.formats import ModelFiles

__all__ = ["StoredModel", "check_names", "read_models", "stored_models"]


class StoredModel(Protocol):
    """What `orchestrator.models.get` gives."""

    def stored_ref(self) -> StoredModelRef | None:
        """What was asked for, and what it was; None for what is not from the store."""
        ...


def read_models(
    cls: type, service: str, known: Sequence[NativeModelSpec] | None
) -> "tuple[tuple[NativeModelSpec, ...], Mapping[str, ModelFiles]]":
    """The models that Triton runs for a class.

    Args:
        service: its name.
        known: what they were resolved to before; None to resolve them here and now.

    Returns:
        Their specs, in the order of the class, and their files by the Triton model's name: none where `known` is given.

    Raises:
        DefinitionError: at the line of the declaration.
    """
    declared = models_of(cls)
    for attribute, model in declared.items():
        if len(model.attributes) > 1:
            raise _at(model, f"one model is both {' and '.join(map(repr, model.attributes))}: make one for each")
        if attribute.startswith("__"):
            raise _at(model, f"{attribute}: a name with two underscores in front cannot be a model")
    if known is not None:
        return _known(cls, declared, known), {}
    resolved = {attribute: model.resolve(service, attribute) for attribute, model in declared.items()}
    owners: dict[str, NativeModelSpec] = {}
    for attribute, each in resolved.items():
        owner = owners.setdefault(each.spec.name, each.spec)
        if owner.shared() != each.spec.shared():
            hint = "give one of them a name=... of its own"
            message = f"{owner.attribute!r} and {attribute!r} are both the model {owner.name!r}, and differ"
            raise _at(declared[attribute], message, hint=hint)
    return tuple(each.spec for each in resolved.values()), {each.spec.name: each.files for each in resolved.values()}


def check_names(cls: type, service: str, apis: Sequence[str], models: Sequence[NativeModelSpec]) -> None:
    """Checks that no model has the name of the service's own Triton models.

    Raises:
        DefinitionError: at the line of the declaration.
    """
    taken = {service: "the service itself", **{f"{service}.{api}": f"the API {api!r}" for api in apis}}
    for spec in models:
        if spec.name in taken:
            hint = "give it a name=... of its own, or the service another with @service(name=...)"
            message = f"the model {spec.name!r} has the name of {taken[spec.name]}"
            raise _at(models_of(cls)[spec.attribute], message, hint=hint)


def stored_models(cls: type) -> tuple[StoredModelRef, ...]:
    """The stored models that a class, or the module around it, holds; each once."""
    refs = (each.stored_ref() for each in _held(cls))
    return tuple(dict.fromkeys(ref for ref in refs if ref is not None))


def _held(cls: type) -> Iterator[StoredModel]:
    module = sys.modules.get(cls.__module__)
    spaces: list[Mapping[str, Any]] = [vars(base) for base in reversed(cls.__mro__)]
    for space in [vars(module), *spaces] if module is not None else spaces:
        for value in list(space.values()):
            # A class has the method as well, and so has whatever answers to any name (a mock, a lazy module).
            if not isinstance(value, type) and callable(getattr(type(value), "stored_ref", None)):
                yield value


def _known(
    cls: type, declared: Mapping[str, NativeModel], known: Sequence[NativeModelSpec]
) -> tuple[NativeModelSpec, ...]:
    if set(declared) != {spec.attribute for spec in known}:
        raise DefinitionError(
            f"{cls.__name__} is not what was exported: its models have changed", hint="run `orchestrator export` again"
        )
    return tuple(known)


def _at(model: NativeModel, message: str, *, hint: str | None = None) -> DefinitionError:
    return DefinitionError(message, file=model.file, line=model.line, hint=hint)
