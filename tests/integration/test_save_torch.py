"""`save_model` with torch, TorchScript, transformers and sentence-transformers, in a process that has them."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.torch_environment import TorchEnvironment

pytest_plugins = ["tests.torch_environment"]

HEAD = """
import os
import sys
from pathlib import Path

os.environ["ORCHESTRATOR_HOME"] = sys.argv[1]
import numpy as np
import torch
from orchestrator import bentoml, models
from orchestrator.errors import ConversionError, StoreError
from orchestrator.spec import ModelFormat

minilm = Path(sys.argv[2])
torch.manual_seed(0)
x = torch.randn(12, 4)
module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
with torch.inference_mode():
    wanted = module(x).numpy()

def files(model):
    return {file.path for file in model.record.files}

def refused(call, error=StoreError):
    try:
        call()
    except error as caught:
        return str(caught)
    raise AssertionError("it was not refused")
"""
MODULE = """
saved = models.save_model("plain", module, sample=x)
assert module.training  # as the user had it
assert (saved.record.framework, saved.record.format, saved.record.method) == ("torch", ModelFormat.PYTHON, "__call__")
assert files(saved) == {"model.pt", "sample.npz"}
signature = saved.record.signature
assert signature.batched and [(t.name, t.shape) for t in (*signature.inputs, *signature.outputs)] == [
    ("input", (-1, 4)), ("output", (-1, 3))], signature

class Plain:
    model = models.Python("plain")

np.testing.assert_allclose(Plain().model(x.numpy()), wanted, rtol=1e-5, atol=1e-6)
loaded = models.load_model("plain")
with torch.inference_mode():
    np.testing.assert_array_equal(loaded(x).numpy(), wanted)
bentoml.pytorch.save_model("plain", module, signatures={"__call__": {"batchable": True}})
with torch.inference_mode():
    np.testing.assert_array_equal(bentoml.pytorch.load_model("plain", device_id="cpu")(x).numpy(), wanted)

converted = models.save_model("onnx", module, sample=x, to="onnx")
assert files(converted) == {"model.pt", "model.onnx", "parity.json", "sample.npz"}, files(converted)
name = converted.record.signature.inputs[0].name

class Onnx:
    model = models.Onnx("onnx")

np.testing.assert_allclose(Onnx().model(x.numpy()), wanted, rtol=1e-3, atol=1e-4)
assert "sample" in refused(lambda: models.save_model("onnx", module, to="onnx"), ConversionError)
archive = models.export_model("plain", Path(sys.argv[1]).parent / "plain.tar")
models.delete("plain:latest")
models.import_model(archive, tag="plain:imported")
assert "model.pt is a pickle" in refused(lambda: models.load_model("plain:imported"))
"""
SCRIPT = """
script = torch.jit.trace(module, x)
saved = models.save_model("script", script, sample=x)
assert (saved.record.framework, saved.record.format, saved.record.file) == (
    "torchscript", ModelFormat.TORCHSCRIPT, "model.pt")
signature = saved.record.signature
assert signature.batched and [t.name for t in (*signature.inputs, *signature.outputs)] == ["INPUT__0", "OUTPUT__0"]

class Script:
    model = models.TorchScript("script")

np.testing.assert_allclose(Script().model(x.numpy()), wanted, rtol=1e-5, atol=1e-6)
assert isinstance(bentoml.torchscript.load_model("script", "cpu"), torch.jit.ScriptModule)
assert isinstance(models.get("script").to_runner().model, models.TorchScript)
assert "framework='torchscript'" in refused(lambda: bentoml.pytorch.save_model("script", script))

file = Path(sys.argv[1]).parent / "script.pt"
script.save(file)
for framework in (None, "torch", "torchscript"):
    again = models.save_model("again", file, framework=framework, sample=x.numpy())
    assert (again.record.framework, again.record.signature) == ("torchscript", signature)
onnx = models.save_model("onnx", file, sample=x.numpy(), to="onnx")
assert (onnx.record.framework, onnx.record.format) == ("torchscript", ModelFormat.ONNX)
assert onnx.parity.passed
"""
TRANSFORMERS = """
import transformers

model = transformers.AutoModel.from_pretrained(minilm).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
saved = bentoml.transformers.save_model("bert", model)
assert (saved.record.framework, saved.record.format) == ("huggingface", None)
assert "config.json" in files(saved)
loaded = models.load_model("bert")
assert type(loaded) is type(model)
given = tokenizer(["a cat"], return_tensors="pt")
with torch.inference_mode():
    torch.testing.assert_close(loaded(**given).last_hidden_state, model(**given).last_hidden_state)

pipeline = transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer)
bentoml.transformers.save_model("pipe", pipeline)
again = bentoml.transformers.load_model("pipe:latest")
assert type(again) is type(pipeline)
np.testing.assert_allclose(again("a cat"), pipeline("a cat"), rtol=1e-5)

saved = models.save_model("minilm", minilm)
assert (saved.record.framework, saved.record.file) == ("sentence_transformers", None)
encoder = models.load_model("minilm")
assert encoder.encode(["a cat"]).shape == (1, 384)
assert models.save_model("again", encoder).record.framework == "sentence_transformers"
np.testing.assert_allclose(models.load_model("again").encode("a cat"), encoder.encode("a cat"), rtol=1e-5)

converted = models.save_model("minilm", minilm, to="onnx")
assert {"model.onnx", "parity.json", "sample.npz", "model.safetensors"} <= files(converted)
assert converted.record.format is ModelFormat.ONNX
assert converted.parity.passed
"""


@pytest.mark.parametrize("script", [MODULE, SCRIPT, TRANSFORMERS], ids=["module", "script", "transformers"])
def test_a_torch_model_is_saved_in_one_line_and_runs(
    torch_environment: "TorchEnvironment", tmp_path: Path, script: str
) -> None:
    torch_environment.run("-c", HEAD + script, tmp_path / "home", torch_environment.minilm)
