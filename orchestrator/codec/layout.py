"""Where each value of a service sits in the tensors of its Triton model: names, shapes, batch axis.

The compiler writes it into config.pbtxt, the invoker and the worker pack and unpack by it, so it has one home.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.codec.codec import Packed
from orchestrator.codec.registry import codec_of, row_codec_of
from orchestrator.errors import InvalidInput
from orchestrator.spec import ANY, ApiSpec, DType, Methods, ResponseEffects, TensorSpec, ValueSpec

__all__ = ["API_PARAMETER", "CONTEXT_PARAMETER", "HINT_PREFIX", "RESULT", "Layout", "PackedCall"]

API_PARAMETER: Final = "api"
"""Request parameter that names the API where a service has several."""
CONTEXT_PARAMETER: Final = "context"
"""Request parameter with the `CallInfo` document, for the APIs that take a context."""
HINT_PREFIX: Final = "hint."
"""Request parameter `hint.<tensor>`: see `Packed.hint`."""
RESULT: Final = "result"
EFFECTS: Final = "effects"
"""Output with a `ResponseEffects` document, for the APIs that have them."""
NULL_HINT: Final = "null"
"""Hint of a value that is None, where a tensor cannot say so."""
_NO_ARGUMENTS: Final = "no-arguments"
"""No name of an argument: those have no hyphen."""


@dataclass(frozen=True, slots=True)
class PackedCall:
    """A call as tensors and request parameters."""

    tensors: dict[str, NDArray[Any]]
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of one API.

    Attributes:
        several: the service has several methods, which share one Triton model: names are `api.argument`.
        batched: the model has a batch axis in front of every tensor.
    """

    api: ApiSpec
    several: bool
    batched: bool

    @classmethod
    def of(cls, service: Methods, api: ApiSpec) -> "Layout":
        return cls(api, len(service.methods) > 1, service.max_batch_size > 0)

    def name_of(self, value_name: str) -> str:
        return f"{self.api.name}.{value_name}" if self.several else value_name

    @property
    def result_name(self) -> str:
        return self.name_of(RESULT)

    @property
    def effects_name(self) -> str:
        return self.name_of(EFFECTS)

    def inputs(self) -> Iterator[TensorSpec]:
        """All inputs, batch axis included.

        An API that can be called without arguments has one more, which nobody needs to send: Triton's HTTP protocol
        wants at least one input in a request.
        """
        for argument in self.api.arguments:
            yield self._tensor(argument.name, argument.value, self._input_axis, optional=not argument.required)
        if not any(argument.required for argument in self.api.arguments):
            shape = (ANY, 1) if self.batched else (1,)
            yield TensorSpec(name=self.name_of(_NO_ARGUMENTS), dtype=DType.BOOL, shape=shape, optional=True)

    def outputs(self) -> Iterator[TensorSpec]:
        """The result's tensor, and that of the effects where the API has them; batch axis included."""
        axis = self.api.batch.output_axis if self.api.batch else None
        yield self._tensor(RESULT, self.api.result, axis, optional=False)
        if self.api.has_effects:
            shape = (ANY, 1) if self.batched else (1,)
            yield TensorSpec(name=self.effects_name, dtype=DType.BYTES, shape=shape)

    def rows(self, plains: Mapping[str, Any]) -> int:
        """Rows of one call, as far as its arguments say before they are packed; 1 where they do not, or have none."""
        if self._input_axis is not None:
            for argument in self.api.arguments:
                if argument.name in plains:
                    try:
                        return row_codec_of(argument.value.kind).count(plains[argument.name], self._input_axis)
                    except (TypeError, ValueError):  # a table is one document still
                        return 1
        return 1

    def pack(self, plains: Mapping[str, Any]) -> PackedCall:
        """The arguments of one call.

        Args:
            plains: argument name -> plain form; arguments left to their defaults are missing.

        Raises:
            InvalidInput: a value cannot be carried (an integer over 64 bits, half a surrogate pair).
        """
        tensors: dict[str, NDArray[Any]] = {}
        parameters: dict[str, str] = {API_PARAMETER: self.api.name} if self.several else {}
        for argument in self.api.arguments:
            if argument.name in plains:
                name = self.name_of(argument.name)
                if plains[argument.name] is None and argument.value.nullable:
                    parameters[HINT_PREFIX + name] = NULL_HINT
                    continue
                try:
                    packed = self._pack(argument.value, plains[argument.name], self._input_axis)
                except ValueError as error:
                    raise InvalidInput.at([argument.name], str(error)) from error
                tensors[name] = packed.tensor
                if packed.hint:
                    parameters[HINT_PREFIX + name] = packed.hint
        if not tensors:
            tensors[self.name_of(_NO_ARGUMENTS)] = np.ones((1, 1) if self.batched else (1,), dtype=np.bool_)
        return PackedCall(tensors, parameters)

    def unpack(self, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Reads `pack` back; also what a plain Triton client sent.

        Raises:
            InvalidInput: a required tensor is missing, or cannot be such a value.
        """
        plains: dict[str, Any] = {}
        for argument in self.api.arguments:
            name = self.name_of(argument.name)
            tensor = tensors.get(name)
            hint = str(parameters.get(HINT_PREFIX + name, ""))
            if hint == NULL_HINT:
                plains[argument.name] = None
                continue
            if tensor is None:
                if argument.required:
                    raise InvalidInput.at([argument.name], "Field required", kind="missing")
                continue
            packed = Packed(tensor, hint)
            try:
                plains[argument.name] = self._unpack(argument.value, packed, self._input_axis)
            except ValueError as error:
                raise InvalidInput.at([argument.name], str(error)) from error
        return plains

    def pack_result(self, plain: Any) -> Packed:
        """The result of one call as its tensor, in its own shape and dtype (Triton passes both on)."""
        api = self.api
        if plain is None and api.result.nullable:
            carrier = codec_of(api.result.kind).carrier(api.result)
            shape = (1,) * (len(carrier.shape) + self.batched)
            nothing = b"" if carrier.dtype is DType.BYTES else 0
            return Packed(np.full(shape, nothing, dtype=carrier.dtype.numpy), NULL_HINT)
        if api.batch is not None:
            return Packed(row_codec_of(api.result.kind).result_rows(api.result, plain, api.batch.output_axis))
        packed = codec_of(api.result.kind).result_tensor(api.result, plain)
        return Packed(packed.tensor[np.newaxis], packed.hint) if self.batched else packed

    def unpack_result(self, tensor: NDArray[Any], hint: str = "") -> Any:
        """Reads `pack_result` back.

        Raises:
            ValueError: it is not such a tensor.
        """
        value = self.api.result
        if hint == NULL_HINT:
            return None
        if self.api.batch is not None:
            return row_codec_of(value.kind).from_rows(value, Packed(tensor, hint), self.api.batch.output_axis)
        return codec_of(value.kind).from_tensor(value, Packed(tensor[0] if self.batched else tensor, hint))

    def pack_effects(self, effects: ResponseEffects) -> NDArray[Any]:
        """What an answer carries besides its result, as a tensor."""
        shape = (1, 1) if self.batched else (1,)
        return np.full(shape, effects.model_dump_json(exclude_defaults=True).encode(), dtype=object)

    def unpack_effects(self, tensor: NDArray[Any]) -> ResponseEffects:
        """Reads `pack_effects` back.

        Raises:
            ValueError: it is not such a tensor.
        """
        return ResponseEffects.parse(tensor.reshape(-1)[0])

    @property
    def _input_axis(self) -> int | None:
        return self.api.batch.input_axis if self.api.batch else None

    def _tensor(self, name: str, value: ValueSpec, axis: int | None, *, optional: bool) -> TensorSpec:
        codec = codec_of(value.kind)
        carrier = codec.carrier(value) if axis is None else row_codec_of(value.kind).row_carrier(value, axis)
        shape = (ANY, *(carrier.shape or (1,))) if self.batched else carrier.shape
        return TensorSpec(name=self.name_of(name), dtype=carrier.dtype, shape=shape, optional=optional)

    def _pack(self, value: ValueSpec, plain: Any, axis: int | None) -> Packed:
        if axis is not None:
            return row_codec_of(value.kind).to_rows(value, plain, axis)
        packed = codec_of(value.kind).to_tensor(value, plain)
        return Packed(packed.tensor[np.newaxis], packed.hint) if self.batched else packed

    def _unpack(self, value: ValueSpec, packed: Packed, axis: int | None) -> Any:
        if axis is not None:
            return row_codec_of(value.kind).from_rows(value, packed, axis)
        if self.batched:
            if len(packed.tensor) != 1:
                raise ValueError(f"{self.api.name} does not batch: send one row, not {len(packed.tensor)}")
            packed = Packed(packed.tensor[0], packed.hint)
        return codec_of(value.kind).from_tensor(value, packed)
