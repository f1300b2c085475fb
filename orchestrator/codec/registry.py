"""Kind -> codec: the one table."""

from typing import Final

from orchestrator.codec.array import ArrayCodec
from orchestrator.codec.blob import BlobCodec
from orchestrator.codec.codec import Codec, RowCodec
from orchestrator.codec.file import FileCodec
from orchestrator.codec.image import ImageCodec
from orchestrator.codec.many import ManyCodec
from orchestrator.codec.nullable import NullableCodec
from orchestrator.codec.rows import RowsCodec
from orchestrator.codec.scalar import BooleanCodec, IntegerCodec, NumberCodec, TextCodec
from orchestrator.codec.structure import JsonCodec
from orchestrator.codec.table import TableCodec
from orchestrator.spec import ValueKind

__all__ = ["CODECS", "codec_of", "row_codec_of"]

_ROW_CODECS: Final[dict[ValueKind, RowCodec]] = {
    codec.kind: codec for codec in (ArrayCodec(), RowsCodec(), TableCodec())
}
_OTHERS: Final[tuple[Codec, ...]] = (
    TextCodec(), IntegerCodec(), NumberCodec(), BooleanCodec(), JsonCodec(),
    BlobCodec(), FileCodec(), ImageCodec(), ManyCodec(),
)  # fmt: skip
CODECS: Final[dict[ValueKind, Codec]] = {
    codec.kind: NullableCodec(codec) for codec in (*_OTHERS, *_ROW_CODECS.values())
}


def codec_of(kind: ValueKind) -> Codec:
    """The codec of a kind."""
    return CODECS[kind]


def row_codec_of(kind: ValueKind) -> RowCodec:
    """The codec of a kind whose values are made of rows.

    Raises:
        ValueError: they are not.
    """
    if kind not in _ROW_CODECS:
        raise ValueError(f"a value of kind {kind} has no rows")
    return _ROW_CODECS[kind]
