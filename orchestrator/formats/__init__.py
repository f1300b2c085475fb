"""Model files: what one says of itself, and running one in this process."""

from orchestrator.formats.files import MODEL_SPEC_FILE, SAMPLE_FILE, ModelFiles, files_of
from orchestrator.formats.free_axes import DynamicAxes, free_axes
from orchestrator.formats.opening import OpenModel, open_model
from orchestrator.formats.sample import Sample, compare, generate, read_sample, write_sample
from orchestrator.formats.signature import read_signature
from orchestrator.formats.tensors import check_inputs, from_triton, to_triton

__all__ = [
    "MODEL_SPEC_FILE",
    "SAMPLE_FILE",
    "DynamicAxes",
    "ModelFiles",
    "OpenModel",
    "Sample",
    "check_inputs",
    "compare",
    "files_of",
    "free_axes",
    "from_triton",
    "generate",
    "open_model",
    "read_sample",
    "read_signature",
    "to_triton",
    "write_sample",
]
