"""BentoML's base class of `input_spec` and `output_spec`."""

from pydantic import BaseModel, ConfigDict

__all__ = ["IODescriptor"]


class IODescriptor(BaseModel):
    """A pydantic model whose fields are an API's arguments, or its result."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
