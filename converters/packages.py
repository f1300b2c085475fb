"""The frameworks, imported when a conversion needs them."""

from importlib import import_module
from typing import Any, Final

from orchestrator.errors import ConversionError

__all__ = ["framework_of", "need"]

_INSTALL: Final = {
    **dict.fromkeys(
        ("onnx", "onnxruntime", "onnxconverter_common", "onnxmltools", "onnxsim", "sklearn", "skl2onnx", "joblib"),
        "pip install 'triton-orchestrator[convert]'",
    ),
    **dict.fromkeys(
        ("torch", "transformers", "tokenizers", "safetensors"), "pip install 'triton-orchestrator[convert,torch]'"
    ),
    **dict.fromkeys(("tensorflow", "tf2onnx"), "pip install 'triton-orchestrator[convert]' tensorflow-cpu tf2onnx"),
    "xgboost": "pip install 'triton-orchestrator[convert]' xgboost",
    "lightgbm": "pip install 'triton-orchestrator[convert]' lightgbm",
}
_FRAMEWORKS: Final = frozenset(
    {
        "catboost",
        "keras",
        "lightgbm",
        "onnx",
        "sentence_transformers",
        "sklearn",
        "tensorflow",
        "torch",
        "transformers",
        "xgboost",
    }
)


def need(name: str) -> Any:
    """Imports a package.

    Raises:
        ConversionError: it is not installed, with the one line that installs it; or it does not import.
    """
    root = name.partition(".")[0]
    install = _INSTALL.get(root, f"pip install {root}")
    try:
        return import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == root:
            raise ConversionError(f"this conversion needs the package {root}", hint=install) from error
        raise ConversionError(f"the package {root} does not import: {error}", hint=install) from error


def framework_of(model: object) -> str:
    """Package of the framework that a model's class, or the nearest of its bases, comes from; "" where it is of none."""
    for kind in type(model).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in _FRAMEWORKS:
            return root
    return ""
