"""Kind -> codec: the one table."""

from typing import Final, cast

from orchestrator.codec.array import ArrayCodec
from orchestrator.codec.codec import Codec, RowCodec
from orchestrator.codec.rows import RowsCodec
from orchestrator.codec.scalar import BooleanCodec, IntegerCodec, NumberCodec, TextCodec
from orchestrator.codec.structure import JsonCodec
from orchestrator.spec import ValueKind

__all__ = ["CODECS", "codec_of", "row_codec_of"]

_ALL: Final[tuple[Codec, ...]] = (
    TextCodec(),
    IntegerCodec(),
    NumberCodec(),
    BooleanCodec(),
    JsonCodec(),
    ArrayCodec(),
    RowsCodec(),
)
CODECS: Final[dict[ValueKind, Codec]] = {codec.kind: codec for codec in _ALL}
_ROW_KINDS: Final = frozenset({ValueKind.ARRAY, ValueKind.ROWS})


def codec_of(kind: ValueKind) -> Codec:
    """The codec of a kind."""
    return CODECS[kind]


def row_codec_of(kind: ValueKind) -> RowCodec:
    """The codec of a kind whose values are made of rows.

    Raises:
        ValueError: they are not.
    """
    if kind not in _ROW_KINDS:
        raise ValueError(f"a value of kind {kind} has no rows")
    return cast(RowCodec, CODECS[kind])
