"""Python value <-> tensor, one kind of type per file. Knows no server and no user class."""

from orchestrator.codec.codec import Carrier, Codec, Packed, RowCodec
from orchestrator.codec.layout import Layout, PackedCall
from orchestrator.codec.markers import DType, Shape
from orchestrator.codec.registry import codec_of, row_codec_of

__all__ = [
    "Carrier",
    "Codec",
    "DType",
    "Layout",
    "Packed",
    "PackedCall",
    "RowCodec",
    "Shape",
    "codec_of",
    "row_codec_of",
]
