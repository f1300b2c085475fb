"""Markers for `typing.Annotated`: `Annotated[numpy.ndarray, DType("float32"), Shape((-1, 4))]`."""

from orchestrator.codec.markers import ContentType, DataframeSchema, DType, Shape

__all__ = ["ContentType", "DType", "DataframeSchema", "Shape"]
