# mypy: disable-error-code="misc"
"""Conversions that need torch, each a function that prints what came of it as JSON: run by `tests/integration`."""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from orchestrator.conversion import convert, converter_for, find_converter
from orchestrator.errors import ConversionError
from tests.services.conversion_summary import summary

TEXTS = [
    "A man is eating food.",
    "A woman eats a large bowl of noodles in a small restaurant by the sea, and nobody hurries her.",
    "The girl is carrying a baby.",
    "Berlin",
    "Where can I buy a second-hand bicycle, and how much should I pay for it at most?",
]


def digits_network() -> Any:
    """A small convolutional network, trained for some seconds on scikit-learn's digits."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    pixels, numbers = load_digits(return_X_y=True)
    images = torch.tensor(pixels.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    answers = torch.tensor(numbers)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 4 * 4, 10),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(8):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[rows]), answers[rows]).backward()
            optimizer.step()
    return network, images.numpy(), numbers


def refusal(model: Any, folder: Path, **settings: Any) -> str:
    """The sentence with which a conversion ends."""
    try:
        convert(model, converter_for(model, "onnx"), folder / "refused", **settings)
    except ConversionError as error:
        left = [path.name for path in folder.iterdir() if "refused" in path.name]
        return f"{type(error).__name__}: {error}{left or ''}"
    return "not refused"


def network(folder: Path) -> dict[str, Any]:
    """A module in training mode, as a file of TorchScript, and with float16 after it."""
    module, images, numbers = digits_network()
    module.train()
    onnx = find_converter("onnx", "onnx")
    found: dict[str, Any] = {}
    found["module"] = summary(convert(module, converter_for(module, "onnx"), folder / "module", sample=images))
    found["still training"] = module.training
    session = onnxruntime.InferenceSession(folder / "module" / "model.onnx")
    answers = session.run(None, {session.get_inputs()[0].name: images})[0].argmax(axis=1)
    found["right"] = float((answers == numbers).mean())
    torch.jit.trace(module.eval(), torch.tensor(images[:2])).save(str(folder / "traced.pt"))
    torch.jit.script(module).save(str(folder / "scripted.pt"))
    torch.save(module, folder / "pickled.pt")
    torch.save(module.state_dict(), folder / "weights.pt")
    converter = find_converter("torch", "onnx")
    for name in ("traced", "scripted", "pickled"):
        found[name] = summary(
            convert(
                converter.load(folder / f"{name}.pt"),
                converter,
                folder / name,
                sample=images[:64],
                options={"outputs": "scores"},
            )
        )
    try:
        converter.load(folder / "weights.pt")
    except ConversionError as error:
        found["weights"] = str(error)
    for name in ("float16", "int8"):
        try:
            done = convert(folder / "module" / "model.onnx", onnx, folder / name, sample=images, options={name: True})
            found[name] = summary(done)
        except ConversionError as error:
            found[name] = str(error)
    return found


class Tokens(torch.nn.Module):
    """Ids and their mask to scores, under names; the length of the texts is free."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(50, 16)
        self.dense = torch.nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        weights = mask.unsqueeze(-1).float()
        mean = (self.table(ids) * weights).sum(1) / weights.sum(1).clamp(min=1)
        return {"vector": torch.nn.functional.normalize(mean, dim=1), "scores": self.dense(mean).softmax(1)}


class Mixes(torch.nn.Module):
    """Its rows depend on each other: no model for batches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(dim=0)


class Bakes(torch.nn.Module):
    """Counts rows with Python, which tracing turns into a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + float(x.shape[0])


class Picks(torch.nn.Module):
    """An `if` in Python, of which tracing keeps one side."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if bool(x.sum() > 0) else x * 3


def modules(folder: Path) -> dict[str, Any]:
    """Modules of several inputs and outputs, and those that cannot be converted."""
    rng = np.random.default_rng(0)
    mask = (np.arange(9) < rng.integers(1, 10, (6, 1))).astype(np.int64)
    tokens = Tokens()
    sample = {"mask": mask, "ids": rng.integers(0, 50, (6, 9))}
    x = rng.standard_normal((6, 4)).astype(np.float32)
    image = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    doubles = torch.nn.Linear(4, 2).double()
    return {
        "tokens": summary(convert(tokens, converter_for(tokens, "onnx"), folder / "tokens", sample=sample)),
        "image": summary(
            convert(
                image,
                converter_for(image, "onnx"),
                folder / "image",
                sample=rng.standard_normal((3, 3, 16, 12)),
                options={"free_axes": "2,3", "inputs": "pixels"},
            )
        ),
        "doubles": summary(convert(doubles, converter_for(doubles, "onnx"), folder / "doubles", sample=[x])),
        "mixes": refusal(Mixes(), folder, sample=x),
        "bakes": refusal(Bakes(), folder, sample=x),
        "picks": refusal(Picks(), folder, sample=np.abs(x)),
        "no sample": refusal(tokens, folder),
        "wrong sample": refusal(torch.nn.Linear(4, 2), folder, sample=rng.standard_normal((2, 5))),
        "wrong names": refusal(tokens, folder, sample=sample, options={"outputs": "a,b,c"}),
    }


def minilm(folder: Path, source: str) -> dict[str, Any]:
    """MiniLM by its folder, with and without its pooling, against sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    from tokenizers import Tokenizer

    found: dict[str, Any] = {}
    for kind in ("sentence_transformers", "huggingface"):
        converter = find_converter(kind, "onnx")
        found[kind] = summary(convert(converter.load(Path(source)), converter, folder / kind))
        found[kind]["files"] = sorted(path.name for path in (folder / kind).iterdir())
    original = SentenceTransformer(source, device="cpu")
    tokenizer = Tokenizer.from_file(str(folder / "sentence_transformers" / "tokenizer.json"))
    tokenizer.enable_padding()
    session = onnxruntime.InferenceSession(folder / "sentence_transformers" / "model.onnx")
    found["apart"] = {}
    for rows in (1, 2, 5, 8, 17):
        for cut in (1, 4, 1000):
            texts = [(TEXTS * 4)[index][: cut * 5] for index in range(rows)]
            encoded = tokenizer.encode_batch(texts)
            fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
            inputs = {name: np.array([getattr(each, field) for each in encoded]) for name, field in fields.items()}
            vectors = session.run(None, inputs)[0]
            length = inputs["input_ids"].shape[1]
            found["apart"][f"{rows} x {length}"] = float(np.abs(vectors - original.encode(texts)).max())
    found["object"] = summary(convert(original, converter_for(original, "onnx"), folder / "object"))
    return found


def main() -> None:
    """`torch_conversions.py FUNCTION [ARGUMENT]`: the last line that it prints is the result."""
    functions: dict[str, Callable[..., Any]] = {"network": network, "modules": modules, "minilm": minilm}
    with tempfile.TemporaryDirectory(prefix="orchestrator-test-") as folder:
        print(json.dumps(functions[sys.argv[1]](Path(folder), *sys.argv[2:])))


if __name__ == "__main__":
    main()
