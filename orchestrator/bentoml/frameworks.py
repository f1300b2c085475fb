"""`bentoml.sklearn`, `bentoml.xgboost` ...: one module a framework, all of them the same three functions.

They are made here and have no files: what differs between them is one row of a table.
"""

import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from orchestrator import models
from orchestrator.errors import StoreError
from orchestrator.models.tags import TagLike

__all__ = ["MODULES"]

_PACKAGE: Final = __name__.rpartition(".")[0]
_FRAMEWORKS: Final = {
    "keras": "keras",
    "lightgbm": "lightgbm",
    "onnx": "onnx",
    "picklable_model": "pickle",
    "pytorch": "torch",
    "sklearn": "sklearn",
    "tensorflow": "tensorflow",
    "torchscript": "torchscript",
    "transformers": "huggingface",
    "xgboost": "xgboost",
}
"""BentoML's name of a module -> our name of the framework."""
_ON_DEVICES: Final = frozenset({"torch", "torchscript"})


def _module(name: str, framework: str) -> ModuleType:
    full = f"bentoml.{name}"

    def save_model(
        name: TagLike,
        model: Any,
        *,
        signatures: Mapping[str, Mapping[str, Any]] | None = None,
        labels: Mapping[str, str] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> models.Model:
        """Saves a model as a new version.

        Args:
            **more: `sample`, `to`, `tolerance`, `options`, `aliases`, as of `orchestrator.models.save_model`.
        """
        return models.save_model(
            name,
            model,
            framework=framework,
            module=full,
            signatures=signatures,
            labels=labels,
            custom_objects=custom_objects,
            metadata=metadata,
            **more,
        )

    def get(tag: TagLike) -> models.Model:
        """A stored model of this framework.

        Raises:
            StoreError: there is none, or it is of another framework.
        """
        model = models.get(tag)
        if model.record.framework != framework:
            raise StoreError(f"{model.tag} is of {model.record.framework or 'no framework'}, so it is none of {full}")
        return model

    def load_model(bento_model: TagLike, device_id: str | None = None, *, trust: bool = False) -> Any:
        """The framework's own object.

        Args:
            device_id: to move a torch module to, such as `cuda:0`.
            trust: reads a pickle also where the model was imported or pulled.

        Raises:
            StoreError: as `get`; or it cannot be read here.
        """
        if device_id is not None and framework not in _ON_DEVICES:
            raise StoreError(f"device_id={device_id!r}: {full} moves nothing to devices", hint="leave it out")
        loaded = models.load_model(get(bento_model), trust=trust)
        return loaded if device_id is None else loaded.to(device_id)

    module = ModuleType(f"{_PACKAGE}.{name}", f"Models of {framework} in the store.")
    module.__spec__ = ModuleSpec(module.__name__, None)
    functions = {"save_model": save_model, "get": get, "load_model": load_model}
    vars(module).update(functions, __all__=sorted(functions))
    return module


MODULES: Final = {name: _module(name, framework) for name, framework in _FRAMEWORKS.items()}

# `import bentoml.models` looks here, and so does `import bentoml.sklearn`.
sys.modules[f"{_PACKAGE}.models"] = models
sys.modules.update({module.__name__: module for module in MODULES.values()})
