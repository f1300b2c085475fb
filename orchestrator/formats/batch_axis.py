"""Whether axis 0 of an ONNX model is a batch axis, by running it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.onnx_session import OnnxSession
from orchestrator.formats.sample import generate
from orchestrator.spec import ModelSignature

__all__ = ["LENGTHS", "attempt", "rows_follow"]

LENGTHS: Final = (32, 64, 8, 224, 1)
"""Of free axes, tried in turn: networks halve images several times, and not any length can be halved so often."""
_ROWS: Final = (2, 3)


def rows_follow(path: Path, signature: ModelSignature) -> bool | None:
    """Whether every output has as many rows as the inputs; None where the model could not be run.

    Args:
        path: an ONNX file.
        signature: with axis 0 free throughout.
    """
    try:
        session = OnnxSession(path, threads=1)
    except DefinitionError:
        return None
    try:
        for length in LENGTHS:
            counts: set[tuple[int, int]] = set()
            for rows in _ROWS:
                ran = attempt(session, signature, rows, length)
                if ran is None:
                    break
                counts |= {(rows, len(output) if output.ndim else 0) for output in ran[1].values()}
            else:
                return all(wanted == got for wanted, got in counts)
        return None
    finally:
        session.close()


def attempt(
    session: OnnxSession, signature: ModelSignature, rows: int, length: int
) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]] | None:
    """Generated inputs and their outputs; None where the model does not take them."""
    inputs = generate(signature, rows, seed=0, length=length)
    try:
        return inputs, session.run(inputs, [output.name for output in signature.outputs])
    except Exception:  # noqa: BLE001  # onnxruntime's exceptions have no root, and this is only a try
        return None
