"""Proof that a server computes, before anybody relies on it.

"Live" and "ready" prove nothing: with a wrong numpy or libpython a model loads, is ready, and answers with empty
tensors or a dead worker. Only content that comes back unchanged proves it.
"""

import numpy as np

from orchestrator.engine.backend import InferRequest, Tensors
from orchestrator.errors import CallError, ServerProcessError
from orchestrator.triton.control import Control
from orchestrator.triton.probe_model import PROBE_MODEL
from orchestrator.triton.transport import TritonBackend

__all__ = ["probe_server"]

_LIKELY = (
    "most likely the workers have numpy 2, or a libpython of another release: "
    "pip install 'numpy>=1.26,<2' and look at LD_LIBRARY_PATH"
)


async def probe_server(grpc_url: str, *, timeout_s: float = 60.0) -> None:
    """Loads the probe's model, sends numbers and texts through it, and unloads it.

    It takes a quarter of a second and may run while other models load.

    Args:
        grpc_url: of a server that `TritonServer` started.
        timeout_s: for the load and for the round trip, each.

    Raises:
        ServerProcessError: the server does not compute.
    """
    backend = TritonBackend(grpc_url)
    sent = {
        "numbers": np.array([0.0, -1.5, np.inf, 3.25e-40], dtype=np.float32),
        "texts": np.array([b"", b"\x00\xff", "\u00fc".encode(), b"x" * 300], dtype=object),
    }
    try:
        async with Control(grpc_url) as control:
            await control.load_model(PROBE_MODEL, timeout_s=timeout_s)
            answer = await backend.infer(InferRequest(PROBE_MODEL, sent, timeout_s=timeout_s))
            await control.unload_model(PROBE_MODEL)
    except CallError as exc:
        raise ServerProcessError(f"Triton runs, but its Python workers do not answer: {exc}", hint=_LIKELY) from exc
    finally:
        await backend.close()
    if not _same(sent, answer.outputs):
        raise ServerProcessError(
            "Triton runs, but tensors change on their way through its Python workers", hint=_LIKELY
        )


def _same(sent: Tensors, received: Tensors) -> bool:
    return sent.keys() == received.keys() and all(
        array.dtype == received[name].dtype and array.shape == received[name].shape and (array == received[name]).all()
        for name, array in sent.items()
    )
