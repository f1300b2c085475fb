"""Stored models that tell their version, and a service that does, for tests of deployments."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from orchestrator.cli.main import run
from orchestrator.formats import Sample, read_signature, write_sample
from orchestrator.spec import ModelFormat, ModelRecord, Tag
from orchestrator.store import Store
from tests.e2e.serving import COMMAND

SERVICE = """
import helper
import numpy as np
import orchestrator

VERSION = "{version}"

@orchestrator.service
class Teller:
    number = orchestrator.models.Onnx("number:latest", max_batch_size=8)

    @orchestrator.api
    def tell(self, x: float) -> dict[str, str | float]:
        y = self.number(np.array([[x]], np.float32))
        return {{"code": VERSION, "helper": helper.VERSION, "model": float(y[0, 0]) - x}}

    @orchestrator.api(batchable=True, max_batch_size=16)
    def rows(self, x: list[int]) -> list[str]:
        return [f"{{VERSION}} {{helper.VERSION}} {{each}}" for each in x]
"""


def write_code(folder: Path, version: str) -> None:
    """The service, in that version; its helper is a file of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "helper.py").write_text(f"VERSION = {version!r}\n")
    (folder / "service.py").write_text(SERVICE.format(version=version))


def save_number(
    home: Path, version: int, *, width: int = 1, damaged: bool = False, broken: bool = False
) -> ModelRecord:
    """Stores `number`: y = x + version, with a sample.

    Args:
        home: of the store.
        width: of x and y: FP32[-1, width].
        damaged: the sample's outputs are not the model's.
        broken: onnxruntime cannot run it: one of its operators is nobody's.
    """
    place = home / "made" / str(version)
    place.mkdir(parents=True)
    shape: list[str | int | None] = ["n", width]
    graph = helper.make_graph(
        [helper.make_node("Nothing" if broken else "Add", ["x", "c"], ["y"], domain="no.one" if broken else "")],
        "number",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(version, np.float32), "c")],
    )
    file = place / "model.onnx"
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("no.one", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(file))
    signature = read_signature(file, ModelFormat.ONNX)
    x = np.arange(2 * width, dtype=np.float32).reshape(2, width)
    write_sample(place / "sample.npz", Sample({"x": x}, {"y": x + version + (0.5 if damaged else 0)}))
    with Store.open(home) as store:
        return store.save(
            Tag(name="number", version=str(version)),
            place,
            framework="onnx",
            format=ModelFormat.ONNX,
            file="model.onnx",
            signature=signature,
        )


def orchestrator(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user does, in a process of its own."""
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=120)


def orchestrator_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which saves its start; for one thread, and commands that import nobody's module."""
    argv, out, err = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = [COMMAND, *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run()
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def done(*arguments: str) -> list[dict[str, Any]]:
    """The outcome of a command that must end well, as JSON."""
    outcome = _way(arguments)(*arguments, "--json")
    assert outcome.returncode == 0, outcome.stderr
    return list(json.loads(outcome.stdout))


def refused(*arguments: str) -> str:
    """The one line of a command that must not."""
    outcome = _way(arguments)(*arguments)
    assert outcome.returncode != 0, outcome.stdout
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    return errors[0]


def folders(run_dir: Path) -> dict[str, list[str]]:
    """What is on disk of every model of a server: its folder's entries."""
    repository = run_dir / "repository"
    return {model: sorted(os.listdir(repository / model)) for model in sorted(os.listdir(repository))}


def _way(arguments: Sequence[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    return orchestrator if arguments[0] == "deploy" else orchestrator_here
