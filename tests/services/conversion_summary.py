"""What tests look at of a conversion that another process made."""

from typing import Any

from orchestrator.conversion import Conversion

__all__ = ["summary"]


def summary(done: Conversion) -> dict[str, Any]:
    """As JSON has it."""
    signature = done.converted.signature
    return {
        "inputs": [f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in signature.inputs],
        "outputs": [f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in signature.outputs],
        "batched": signature.batched,
        "worst": max(output.worst_absolute for output in done.report.outputs),
        "agreement": [output.agreement for output in done.report.outputs],
        "samples": list(done.report.samples),
        "notes": list(done.report.notes),
    }
