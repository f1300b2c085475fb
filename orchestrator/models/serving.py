"""`model:NAME:VERSION` as a service: one typed API, made from what the model takes and gives."""

import inspect
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from orchestrator.codec.markers import DType, Shape
from orchestrator.errors import DefinitionError, StoreError
from orchestrator.models.native import declared_as
from orchestrator.sdk.annotations import describe
from orchestrator.sdk.decorators import api, service
from orchestrator.sdk.native import NativeModel, Resolved
from orchestrator.spec import DType as Dtype
from orchestrator.spec import ModelSignature, NativeModelSpec, Tag, TensorSpec

__all__ = ["class_of_signature", "service_class"]

_ATTRIBUTE: Final = "model"
_RESERVED: Final = frozenset({"self", "result", "effects"})


class _Found(NativeModel):
    """A model that was resolved before the class was made."""

    def __init__(self, resolved: Resolved | None) -> None:
        super().__init__()
        self._resolved = resolved

    def resolve(self, service: str, attribute: str, tag: Tag | None = None) -> Resolved:
        if tag is not None:
            return declared_as(tag).resolve(service, attribute)
        if self._resolved is None:
            raise DefinitionError(f"{service}.{attribute}: this process knows the model by its exported spec only")
        return self._resolved


def service_class(text: str, known: Sequence[NativeModelSpec] | None = None) -> type:
    """The service of a stored model.

    Args:
        text: a tag: `text_det`, `text_det:3`, `text_det:production`.
        known: what it was resolved to before, for a process that has no store.

    Raises:
        DefinitionError: it is no tag, the store does not have it, or nothing can run it.
    """
    try:
        tag = Tag.of(text)
    except ValueError as error:
        raise DefinitionError(f"model:{text}: {error}", hint="write model:NAME or model:NAME:VERSION") from None
    if known is not None:
        spec, resolved = known[0], None
    else:
        resolved = _resolved(tag)
        spec = resolved.spec
    name = _class_name(tag.name)
    doc = f"The model {spec.tag or tag.name}."
    return class_of_signature(
        name if name != spec.name else f"{name}Service", _Found(resolved), {"predict": spec.signature}, doc
    )


def class_of_signature(name: str, model: NativeModel, methods: Mapping[str, ModelSignature], doc: str) -> type:
    """A service of one model, with an API for each method.

    Args:
        name: of the class, and of the service.
        methods: name -> what it takes and gives.
    """
    namespace: dict[str, Any] = {"__doc__": doc, "__module__": __name__, "__qualname__": name, _ATTRIBUTE: model}
    for method, signature in methods.items():
        namespace[method] = api(_function(method, signature, doc))
    return service(type(name, (), namespace))


def _resolved(tag: Tag) -> Resolved:
    try:
        return declared_as(tag).resolve(_class_name(tag.name), _ATTRIBUTE)
    except (DefinitionError, StoreError) as error:
        raise DefinitionError(f"model:{tag}: {error.message}", hint=error.hint) from error


def _function(method: str, signature: ModelSignature, doc: str) -> Any:
    names = dict(zip(_argument_names(signature.inputs), signature.inputs, strict=True))

    async def call(self: Any, **arguments: Any) -> Any:
        given = {tensor.name: arguments[name] for name, tensor in names.items() if arguments.get(name) is not None}
        handle = getattr(self, _ATTRIBUTE)
        # By position, for a model may have an input of the name `outputs`.
        return await (handle.to_async(*given.values()) if len(given) == len(names) else handle.to_async(**given))

    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword_only, default=None if tensor.optional else inspect.Parameter.empty)
        for name, tensor in names.items()
    ]
    call.__name__ = call.__qualname__ = method
    call.__doc__ = doc
    call.__module__ = __name__
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = inspect.Signature([itself, *parameters])  # type: ignore[attr-defined]
    call.__annotations__ = {name: _argument_type(name, tensor) for name, tensor in names.items()}
    call.__annotations__["return"] = _result_type(signature.outputs)
    return call


def _argument_names(tensors: Iterable[TensorSpec]) -> list[str]:
    """The tensors' names as Python can have them: `input.1` becomes `input_1`."""
    names: list[str] = []
    for tensor in tensors:
        name = re.sub(r"\W", "_", tensor.name, flags=re.ASCII).lstrip("_") or "input"
        if name[0].isdigit():
            name = f"input_{name}"
        if keyword.iskeyword(name) or name in _RESERVED:
            name += "_"
        while name in names:
            name += "_"
        names.append(name)
    return names


def _argument_type(name: str, tensor: TensorSpec) -> Any:
    array = _array(tensor)
    if name != tensor.name:
        array = Annotated[array, Field(description=f"input {tensor.name!r} of the model")]
    return array | None if tensor.optional else array


def _result_type(tensors: Sequence[TensorSpec]) -> Any:
    if len(tensors) == 1:
        return _array(tensors[0])
    # A dictionary of arrays is JSON; pydantic has no words for the arrays in it.
    schemas = {tensor.name: describe(_array(tensor), "result").json_schema for tensor in tensors}
    return TypedDict("Outputs", {name: Annotated[Any, WithJsonSchema(schema)] for name, schema in schemas.items()})  # type: ignore[operator]


def _array(tensor: TensorSpec) -> Any:
    dtype = "str" if tensor.dtype is Dtype.BYTES else tensor.dtype.numpy
    return Annotated[np.ndarray, DType(dtype), Shape(tensor.shape)]


def _class_name(model: str) -> str:
    """`text_det` -> `TextDet`."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", model))
    return name if name[:1].isalpha() else f"Model{name}"
