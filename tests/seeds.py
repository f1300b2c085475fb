"""Examples of BentoML's own documentation, unmodified, beside stand-ins for what needs a hub or a GPU."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import joblib
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB

from orchestrator.formats import read_signature
from orchestrator.models import create
from orchestrator.models.stores import default_store
from orchestrator.sdk import load_service
from orchestrator.sdk.alias import uninstall_bentoml
from orchestrator.spec import ModelFormat, Tag
from tests import onnx_models

__all__ = [
    "CONCURRENT",
    "GRAPH",
    "SEEDS",
    "SEQUENTIAL",
    "load_seed",
    "place_ffmpeg",
    "place_hub",
    "place_seed",
    "save_for_iris",
    "save_for_runner",
]

SERVICES: Final = Path(__file__).parent / "services"
SEEDS: Final = {
    "seed_summarization": "Summarization",
    "seed_configured": "Summarization",
    "seed_route": "Summarization",
    "seed_context": "Summarization",
    "seed_vllm": "VLLMService",
    "seed_runner": "MyService",
    "seed_iris": "IrisClassifier",
    "seed_greeting_card": "GreetingCardService",
    "seed_multi_model": "MultiModelService",
    "seed_sequential": "InferenceService",
    "seed_concurrent": "EnsembleService",
    "seed_inference_graph": "InferenceGraph",
}
"""Module -> class. Where a page has only a method or only a decorator, it stands in the page's first example."""
_ON_THE_HUB: Final = [
    "FacebookAI/roberta-large-mnli",
    "distilbert/distilbert-base-uncased",
    "distilbert/distilroberta-base",
]
SEQUENTIAL: Final = {
    "preprocessing_result": {"label": "distilbert/distilbert-base-uncased", "score": 0.04},
    "final_result": {"label": "distilbert/distilroberta-base", "score": 0.04},
}
"""What the composed examples answer: to `four`, to `positive`, to nothing."""
CONCURRENT: Final = {
    "zero_shot_classification": {
        "sequence": "positive",
        "labels": ["positive", "negative", "neutral"],
        "scores": [1.0, 0.0, 0.0],
    },
    "sentiment_analysis": {"label": "distilbert/distilbert-base-uncased", "score": 0.08},
}
GRAPH: Final = [
    {"generated": "I have an idea! And gpt2 has another.", "score": 0.37},
    {"generated": "I have an idea! And distilgpt2 has another.", "score": 0.43},
]


def save_for_runner(folder: Path) -> None:
    """Saves `model_name:version`, which the example about runners calls, in the store of the settings: `x @ w`."""
    onnx_models.linear(folder / "model.onnx")
    signature = read_signature(folder / "model.onnx", ModelFormat.ONNX)
    tag = Tag(name="model_name", version="version")
    format = ModelFormat.ONNX
    default_store().save(tag, folder, format=format, file="model.onnx", method="predict", signature=signature)


def save_for_iris() -> list[int]:
    """Saves `iris_sklearn` in the store of the settings, and returns what it answers to every 50th flower."""
    rows, kinds = load_iris(return_X_y=True)
    classifier = GaussianNB().fit(rows, kinds)
    with create("iris_sklearn") as model:
        joblib.dump(classifier, model.path_of("model.pkl"))
    answers: list[int] = classifier.predict(rows[::50]).tolist()
    return answers


def place_hub(folder: Path) -> Path:
    """Writes a cache of Hugging Face's hub with what the examples name: it is what `HF_HOME` means, without a network."""
    commit = "0" * 40
    for model_id in _ON_THE_HUB:
        model = folder / "hub" / f"models--{model_id.replace('/', '--')}"
        snapshot = model / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(json.dumps({"_name_or_path": model_id}))
        (model / "refs").mkdir()
        (model / "refs" / "main").write_text(commit)
    return folder


def place_ffmpeg(folder: Path) -> Path:
    """Writes a stand-in for ffmpeg, and returns the folder for `PATH`: its film is the picture and then the sound."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text('#!/bin/sh\ncat "$4" "$6" > "$8"\n')
    program.chmod(0o755)
    return folder


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
