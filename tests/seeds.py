"""Examples of BentoML's own documentation, unmodified, beside stand-ins for what needs a hub or a GPU."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.formats import read_signature
from orchestrator.models.stores import default_store
from orchestrator.sdk import load_service
from orchestrator.sdk.alias import uninstall_bentoml
from orchestrator.spec import ModelFormat, Tag
from tests import onnx_models

__all__ = ["LEFT_OUT", "SEEDS", "load_seed", "place_seed", "save_for_runner"]

SERVICES: Final = Path(__file__).parent / "services"
SEEDS: Final = {
    "seed_summarization": "Summarization",
    "seed_configured": "Summarization",
    "seed_route": "Summarization",
    "seed_context": "Summarization",
    "seed_vllm": "VLLMService",
    "seed_runner": "MyService",
}
"""Module -> class. Where the page has only a method or only a decorator, it stands in the page's first example."""
LEFT_OUT: Final = {
    "IrisClassifier": "depends",
    "GreetingCardService": "depends",
}
"""Class of the page that no test serves yet -> the name of `bentoml` in it that does not take what it is given there."""


def save_for_runner(folder: Path) -> None:
    """Saves `model_name:version`, which the example about runners calls, in the store of the settings: `x @ w`."""
    onnx_models.linear(folder / "model.onnx")
    signature = read_signature(folder / "model.onnx", ModelFormat.ONNX)
    tag = Tag(name="model_name", version="version")
    format = ModelFormat.ONNX
    default_store().save(tag, folder, format=format, file="model.onnx", method="predict", signature=signature)


def place_seed(module: str, folder: Path) -> str:
    """Puts an example and the stand-ins into a folder, and returns its target."""
    for source in (SERVICES / f"{module}.py", *(SERVICES / "standins").glob("*.py")):
        shutil.copy(source, folder)
    return f"{module}:{SEEDS[module]}"


@contextmanager
def load_seed(module: str, folder: Path) -> Iterator[type]:
    """The class of an example, loaded as `--bentoml` does; what it imported is forgotten afterwards."""
    known, path = set(sys.modules), sys.path.copy()
    try:
        yield load_service(place_seed(module, folder), folder, bentoml=True).cls
    finally:
        sys.path[:] = path
        uninstall_bentoml()
        for name in set(sys.modules) - known:
            if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
                del sys.modules[name]
