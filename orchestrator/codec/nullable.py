"""None, for the kinds that have no other form for it."""

from typing import Any

from pydantic import TypeAdapter

from orchestrator.codec.codec import Carrier, Codec, Packed, Workspace
from orchestrator.spec import ValueKind, ValueSpec

__all__ = ["NullableCodec"]


class NullableCodec:
    """A codec that lets None past where the value allows it.

    None has no tensor: the layout sends a hint instead.

    Args:
        codec: of the kind, which need not know None.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    @property
    def kind(self) -> ValueKind:
        return self._codec.kind

    def carrier(self, value: ValueSpec) -> Carrier:
        return self._codec.carrier(value)

    def edge_type(self, value: ValueSpec) -> Any:
        edge = self._codec.edge_type(value)
        return edge | None if value.nullable else edge

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        return b"null" if plain is None and value.nullable else self._codec.to_json(value, plain)

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self._codec.to_tensor(value, plain)

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self._codec.result_tensor(value, plain)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        return self._codec.from_tensor(value, packed)

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        if plain is None:
            return _checked_none(value, adapter)
        return self._codec.to_python(value, plain, adapter, workspace)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        if python is None and value.nullable:
            return _checked_none(value, adapter)
        return self._codec.from_python(value, python, adapter)


def _checked_none(value: ValueSpec, adapter: TypeAdapter[Any]) -> Any:
    if not value.nullable:
        raise ValueError("expected a value, not null")
    return adapter.validate_python(None)
