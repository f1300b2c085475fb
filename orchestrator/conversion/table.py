"""A parity report for people."""

from math import isinf

from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import OutputParity, ParityReport, Tolerance

__all__ = ["ParityError", "describe", "report_table"]


class ParityError(ConversionError):
    """The converted model is not the original.

    Attributes:
        report: what was compared, and how far off each output is.
    """

    def __init__(self, report: ParityReport, *, hint: str | None = None) -> None:
        failed = [output for output in report.outputs if not output.passed]
        sentences = "; ".join(_sentence(output) for output in failed)
        allowed = describe(report.tolerance)
        super().__init__(
            f"{report.source} -> {report.target}: the converted model is not the original. {sentences}. Allowed: {allowed}",
            hint=hint,
        )
        self.report = report


def describe(tolerance: Tolerance) -> str:
    """A tolerance in words."""
    words = f"{tolerance.relative:g} of the value + {tolerance.absolute:g}"
    if tolerance.disagreement:
        words += f", and another answer for {tolerance.disagreement:.1%} of the rows"
    return words


def report_table(report: ParityReport) -> list[tuple[str, ...]]:
    """Rows of plain text, the headings first: one row an output."""
    return [
        ("output", "worst absolute", "worst relative", "agreement", "result"),
        *(
            (
                output.name,
                _number(output.worst_absolute),
                _number(output.worst_relative),
                "-" if output.agreement is None else f"{output.agreement:.2%}",
                "passed" if output.passed else f"refused: {output.reason}",
            )
            for output in report.outputs
        ),
    ]


def _sentence(output: OutputParity) -> str:
    worst = f"worst absolute {_number(output.worst_absolute)}, worst relative {_number(output.worst_relative)}"
    return f"Output {output.name!r} ({worst}): {output.reason}"


def _number(value: float) -> str:
    return "infinite" if isinf(value) else f"{value:.2g}"
