"""What is compared: one small class a peer.

A peer that needs packages of its own (BentoML, MLServer) runs in a venv of its own: its class differs only in the
interpreter that `ServerProcess` is given.
"""

import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import orjson

from benchmarks.load import Address, Check, Exchange
from benchmarks.processes import ServerProcess

__all__ = ["Frontend", "Peer", "PlainFastAPI", "RawTriton", "TritonSource", "all_peers"]

ROOT: Final = Path(__file__).resolve().parent.parent
IRIS: Final = ROOT / "examples" / "iris"
MODEL: Final = "Iris"
_START_S: Final = 180.0


class TritonSource(Protocol):
    """Where a Triton counts what a peer answers."""

    @property
    def metrics_url(self) -> str: ...


class Peer(Protocol):
    """One way to serve the model.

    Attributes:
        name: one word, for options and files.
        title: for people, short.
        check: whether an answer is right.
        triton: the Triton that runs its model, or None; its counters must agree with the answers.
    """

    name: str
    title: str
    check: Check
    triton: TritonSource | None

    def start(self) -> None:
        """Starts it, and returns once it can answer.

        Raises:
            ServerFailed: it does not come up.
        """

    def stop(self) -> None:
        """Stops it; does nothing where it does not run."""

    @property
    def address(self) -> Address:
        """Where it listens; known once it is started."""

    def exchanges(self) -> Sequence[Exchange]:
        """Its requests, one row each, for several flowers."""


class Frontend:
    """`orchestrator serve`, and the Triton below it."""

    name = "orchestrator"
    title = "orchestrator"

    def __init__(self) -> None:
        self.check: Check = json_names_class
        self.triton: TritonSource | None = self
        self._process: ServerProcess | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "orchestrator"), "serve", "service:Iris"]
        self._process = ServerProcess([*command, "--working-dir", str(IRIS), "--port", "0"], ROOT)
        triton = self._process.wait_for(r"Triton runs: HTTP (\S+), gRPC (\S+), metrics (\S+)", _START_S)
        self.triton_address = _address(triton[1])
        self.metrics_url = triton[3]
        self._address = _address(self._process.wait_for(r"^ready (\S+)", _START_S)[1])

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    @property
    def address(self) -> Address:
        return self._address

    def exchanges(self) -> Sequence[Exchange]:
        return json_exchanges("/classify", self.address)


class RawTriton:
    """The very same Triton, without our front-end: its own HTTP/1.1 with tensors in binary.

    Args:
        frontend: started before this one.
    """

    name = "triton"
    title = "raw Triton"

    def __init__(self, frontend: Frontend) -> None:
        self.check: Check = tensor_names_class
        self.triton: TritonSource | None = frontend
        self._frontend = frontend

    def start(self) -> None:
        """Runs already."""

    def stop(self) -> None:
        """Ends with its front-end."""

    @property
    def address(self) -> Address:
        return self._frontend.triton_address

    def exchanges(self) -> Sequence[Exchange]:
        return [Exchange(_tensor_request(self.address, row), species) for row, species in _flowers()]


class PlainFastAPI:
    """What one would write without us: see plain_fastapi.py."""

    name = "fastapi"
    title = "plain FastAPI"

    def __init__(self) -> None:
        self.check: Check = json_names_class
        self.triton: TritonSource | None = None
        self._process: ServerProcess | None = None

    def start(self) -> None:
        self._process = ServerProcess(
            [sys.executable, "-m", "benchmarks.plain_fastapi", str(IRIS / "iris.joblib")], ROOT
        )
        self._address = _address(self._process.wait_for(r"^ready (\S+)", _START_S)[1])

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    @property
    def address(self) -> Address:
        return self._address

    def exchanges(self) -> Sequence[Exchange]:
        return json_exchanges("/classify", self.address)


def all_peers() -> list[Peer]:
    """In the order to start them; stop them in the reverse."""
    frontend = Frontend()
    return [frontend, RawTriton(frontend), PlainFastAPI()]


def json_exchanges(path: str, address: Address) -> list[Exchange]:
    """`{"input_series": [[...]]}` posted to `path`."""
    return [
        Exchange(_post(address, path, "Content-Type: application/json", orjson.dumps({"input_series": [row]})), species)
        for row, species in _flowers()
    ]


def json_names_class(head: bytes, body: bytes, expected: int) -> bool:
    """A JSON list of one class."""
    return bool(orjson.loads(body) == [expected])


def tensor_names_class(head: bytes, body: bytes, expected: int) -> bool:
    """Triton's answer: a JSON header, then the INT64 tensor `result` of one row."""
    document = body[:-8]
    (output,) = orjson.loads(document)["outputs"]
    return (
        output["name"] == "result"
        and output["datatype"] == "INT64"
        and output["shape"] == [1]
        and b"inference-header-content-length: %d\r\n" % len(document) in head.lower()
        and struct.unpack("<q", body[-8:])[0] == expected
    )


def _flowers() -> list[tuple[list[float], int]]:
    """Known flowers and their species; neighbours are of different species."""
    known = json.loads((IRIS / "requests.json").read_text())
    flowers = [(flower["request"]["input_series"][0], flower["answer"][0]) for flower in known]
    by_species = [[flower for flower in flowers if flower[1] == species] for species in range(3)]
    return [flower for trio in zip(*by_species, strict=True) for flower in trio]


def _tensor_request(address: Address, row: list[float]) -> bytes:
    tensor = struct.pack("<4d", *row)
    document = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "input_series",
                    "shape": [1, 4],
                    "datatype": "FP64",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": "result", "parameters": {"binary_data": True}}],
        }
    )
    headers = f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {len(document)}"
    return _post(address, f"/v2/models/{MODEL}/infer", headers, document + tensor)


def _post(address: Address, path: str, headers: str, body: bytes) -> bytes:
    host, port = address
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _address(url: str) -> Address:
    parts = urlsplit(url)
    if parts.hostname != "127.0.0.1" or parts.port is None:
        raise ValueError(f"{url} is not on loopback")
    return parts.hostname, parts.port
