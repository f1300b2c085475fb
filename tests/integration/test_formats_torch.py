"""TorchScript files and whole torch modules, run by torch in a process that has it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.torch_environment import TorchEnvironment

pytest_plugins = ["tests.torch_environment"]

HEAD = """
import sys
from pathlib import Path
import numpy as np
import torch
from orchestrator.errors import DefinitionError
from orchestrator.formats import files_of, open_model, read_signature
from orchestrator.spec import ModelFormat, NativeModelSpec

folder = Path(sys.argv[1])

def opened(path, format, inputs, outputs, **more):
    files = files_of(path, format)
    signature = read_signature(path, format, inputs=inputs, outputs=outputs)
    spec = NativeModelSpec(attribute="m", name="m", format=format, file=path.name, signature=signature, files_digest="", **more)
    return open_model(path.parent, spec, threads=1)
"""
SCRIPT = """
class Two(torch.nn.Module):
    def forward(self, x, i):
        return 2 * x + i.float(), x.sum(dim=1)

torch.jit.script(Two()).save(folder / "model.pt")
inputs, outputs = ["INPUT__0: FP32[-1, 3]", "INPUT__1: INT64[-1, 1]"], ["OUTPUT__0: FP32[-1, 3]", "OUTPUT__1: FP32[-1]"]
model = opened(folder / "model.pt", ModelFormat.TORCHSCRIPT, inputs, outputs)
x = np.arange(6, dtype=np.float32).reshape(2, 3)
x.flags.writeable = False  # as Triton hands it over
feeds = {"INPUT__1": np.array([[1], [2]]), "INPUT__0": x}  # by name, whatever their order
result = model.run(feeds)
assert {name: array.tolist() for name, array in result.items()} == {
    "OUTPUT__0": [[1.0, 3.0, 5.0], [8.0, 10.0, 12.0]], "OUTPUT__1": [3.0, 12.0]}
assert list(model.run(feeds, ["OUTPUT__1"])) == ["OUTPUT__1"]
assert torch.get_num_threads() == 1

(folder / "model.pt").write_bytes(b"no zip")
try:
    opened(folder / "model.pt", ModelFormat.TORCHSCRIPT, inputs, outputs)
except DefinitionError as error:
    assert "model.pt: torch cannot read this model: " in str(error)
    assert "\\n" not in str(error)
else:
    raise AssertionError("a broken file was opened")
"""
MODULE = """
module = torch.nn.Linear(3, 2)
torch.save(module, folder / "linear.pth")
model = opened(folder / "linear.pth", ModelFormat.PYTHON, ["x: FP32[-1, 3]"], ["y: FP32[-1, 2]"], framework="torch")
x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
assert np.array_equal(model.run({"x": x})["y"], module(torch.tensor(x)).detach().numpy())
"""


@pytest.mark.parametrize("code", [SCRIPT, MODULE], ids=["script", "module"])
def test_torch_runs_its_own_files(torch_environment: "TorchEnvironment", tmp_path: Path, code: str) -> None:
    script = tmp_path / "script.py"  # torch.jit.script reads the source
    script.write_text(HEAD + code)
    torch_environment.run(script, tmp_path)
