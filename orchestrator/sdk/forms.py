"""Which annotations are more than JSON: arrays, bytes, files, images, tables, and lists of them.

The packages that such classes are from are never imported here: a user who names `torch.Tensor` has imported torch.
"""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NewType, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel
from typing_extensions import TypeAliasType, is_typeddict

from orchestrator.codec.container import container_of
from orchestrator.spec import ValueKind

__all__ = ["Form", "UnsupportedAnnotation", "class_inside", "form_of", "kind_of_class", "relaxed", "shown"]

_CLASSES: Final = {("PIL", "Image"): ValueKind.IMAGE, ("pandas", "DataFrame"): ValueKind.TABLE}
"""Package and class name -> kind."""
_UNIONS: Final = (Union, types.UnionType)
_ALIASES: Final = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
"""Python's own (3.12) and the one for Python 3.11."""


class UnsupportedAnnotation(Exception):
    """The annotation cannot cross a network; the message says why and what can."""


@dataclass(frozen=True, slots=True)
class Form:
    """An annotation of one of these kinds, taken apart.

    Attributes:
        base: the class, or `list[...]` for MANY.
        metadata: of every `Annotated` around it, the innermost first.
        nullable: it is `X | None`.
        item: MANY: the annotation of the items.
    """

    kind: ValueKind
    base: Any
    metadata: tuple[Any, ...]
    nullable: bool = False
    item: Any = None


def form_of(annotation: Any) -> Form | None:
    """Takes an annotation apart, or says None for what is JSON.

    Raises:
        UnsupportedAnnotation: a union or a list of such kinds that has no form of its own.
    """
    metadata: tuple[Any, ...] = ()
    nullable = False
    base = annotation
    while True:
        base = _aliased(base)
        if get_origin(base) is Annotated:
            base, *more = get_args(base)
            metadata = (*more, *metadata)
        elif get_origin(base) in _UNIONS:
            members = [member for member in get_args(base) if member is not type(None)]
            if len(members) != 1:
                _check_union(annotation, members)
                return None
            nullable, base = True, members[0]
        else:
            break
    if isinstance(base, types.ModuleType):
        name = base.__name__
        raise UnsupportedAnnotation(
            f"{name} is a module, not a type; write {name}.{name.rpartition('.')[2]} or the like"
        )
    kind = kind_of_class(base)
    if kind is not None:
        return Form(kind, base, metadata, nullable)
    if get_origin(base) is list and get_args(base):
        item = get_args(base)[0]
        inner = form_of(item)
        if inner is None:
            return None
        if inner.nullable or inner.kind in (ValueKind.MANY, ValueKind.TABLE):
            raise UnsupportedAnnotation(
                f"{shown(annotation)} has no form to travel in; a list may hold arrays, bytes, files or images, "
                "and neither lists of them nor None"
            )
        return Form(ValueKind.MANY, base, metadata, nullable, item)
    return None


def kind_of_class(base: Any) -> ValueKind | None:
    """The kind of one class; None where it is JSON."""
    if base is np.ndarray or get_origin(base) is np.ndarray:
        return ValueKind.ARRAY
    if base is bytes:
        return ValueKind.BLOB
    if not isinstance(base, type) or isinstance(base, types.GenericAlias):
        return None
    if issubclass(base, Path):
        return ValueKind.FILE
    if container_of(base):
        return ValueKind.ARRAY
    return _CLASSES.get((base.__module__.partition(".")[0], base.__name__))


def _check_union(annotation: Any, members: Sequence[Any]) -> None:
    inside = next((found for member in members for found in class_inside(member)), None)
    if inside is not None:
        raise UnsupportedAnnotation(
            f"{shown(annotation)}: {shown(inside)} cannot be one of several types; "
            f"take {shown(inside)} | None, one argument for each type, or an API for each"
        )


def class_inside(annotation: Any, _seen: frozenset[int] = frozenset()) -> Iterator[Any]:
    """The classes within an annotation (within models and dataclasses too) that travel only as values of their own."""
    base = _aliased(annotation)
    if id(base) in _seen:
        return
    seen = _seen | {id(base)}
    kind = kind_of_class(base)
    if kind is not None:
        if kind is not ValueKind.BLOB:  # in JSON, pydantic writes bytes as text
            yield base
        return
    inner = [argument for argument in get_args(base) if not isinstance(argument, (str, int))]
    if get_origin(base) is Annotated:
        inner = inner[:1]
    for one in (*inner, *_field_types(base)):
        yield from class_inside(one, seen)


def _field_types(base: Any) -> list[Any]:
    if not isinstance(base, type):
        return []
    if issubclass(base, BaseModel):
        return [field.annotation for field in base.model_fields.values()]
    if not (is_dataclass(base) or is_typeddict(base) or hasattr(base, "_fields")):
        return []
    try:
        hints = get_type_hints(base)
    except Exception:  # noqa: BLE001  # the user's annotations may be anything; pydantic reports them
        return []
    names = {field.name for field in fields(base)} if is_dataclass(base) else hints.keys()
    return [hint for name, hint in hints.items() if name in names]


def relaxed(annotation: Any, instead: Mapping[ValueKind, Any]) -> Any:
    """The annotation with the classes that pydantic does not know replaced; everything around them stays.

    Args:
        instead: kind -> type to put in its place; other kinds stay.
    """
    base = _aliased(annotation)
    origin = get_origin(base)
    if origin is Annotated:
        inner, *metadata = get_args(base)
        return Annotated[relaxed(inner, instead), *metadata]
    if origin in _UNIONS:
        return Union[tuple(relaxed(member, instead) for member in get_args(base))]  # noqa: UP007  # made at run time
    kind = kind_of_class(base)
    if kind is not None:
        return instead.get(kind, base)
    if origin is list:
        return list[relaxed(get_args(base)[0], instead)]  # type: ignore[misc]  # made at run time
    return annotation


def _aliased(annotation: Any) -> Any:
    """What a `type` alias or a `NewType` stands for."""
    while True:
        if isinstance(annotation, _ALIASES):
            annotation = annotation.__value__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def shown(annotation: Any) -> str:
    """The annotation as a person would write it."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        name = annotation.__qualname__
        return name if annotation.__module__ == "builtins" else f"{annotation.__module__}.{name}"
    return str(annotation).replace("typing.", "")
