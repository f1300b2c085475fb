"""What a conversion that gives up precision can keep."""

from typing import Final

from orchestrator.spec.conversion import Tolerance

__all__ = ["float16_tolerance", "int8_tolerance"]

_FLOAT16: Final = 0.01
"""11 bits are 5e-4 of a value; what a network adds up over its layers was within 20 of these steps."""
_INT8: Final = 0.1
_INT8_ABSOLUTE: Final = 0.2
"""MiniLM, 6 layers: up to 0.14 of the largest magnitude, at a cosine of 0.984 with the original."""
_INT8_DISAGREEMENT: Final = 0.05


def float16_tolerance(scale: float) -> Tolerance:
    """1 % of a value, and 1 % of the outputs' magnitude for values about zero; every answer stays the same.

    Args:
        scale: largest magnitude of the outputs.
    """
    return Tolerance(relative=_FLOAT16, absolute=_FLOAT16 * scale)


def int8_tolerance(scale: float) -> Tolerance:
    """10 % of a value and 20 % of the outputs' magnitude: a weight has 127 steps, and their errors add up over the layers.

    So it is the answer that counts: at most 5 % of the rows may have another one.

    Args:
        scale: largest magnitude of the outputs.
    """
    return Tolerance(relative=_INT8, absolute=_INT8_ABSOLUTE * scale, disagreement=_INT8_DISAGREEMENT)
