"""A trained model into a form that Triton runs, and the proof that it is still the same model."""

from orchestrator.conversion.conversion import Conversion, convert
from orchestrator.conversion.finding import converter_for, converters, find_converter
from orchestrator.conversion.table import ParityError, describe, report_table

__all__ = [
    "Conversion",
    "ParityError",
    "convert",
    "converter_for",
    "converters",
    "describe",
    "find_converter",
    "report_table",
]
