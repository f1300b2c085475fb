"""Trained models: kept in the store, declared on a service.

    from orchestrator import models

    models.save_model("iris", classifier, to="onnx", aliases=["production"])

    @orchestrator.service
    class Flowers:
        iris = models.Onnx("iris:production")

docs/models.md is the user's page.
"""

from orchestrator.models.exchange import (
    aliases,
    check,
    delete,
    export_model,
    history,
    import_model,
    label,
    pull,
    push,
    remove_alias,
    roll_back,
    set_alias,
)
from orchestrator.models.loading import get, list_models, load_model, own_file
from orchestrator.models.native import Onnx, Python, TensorRT, TorchScript
from orchestrator.models.references import BentoModel, HuggingFaceModel
from orchestrator.models.runner import Runner
from orchestrator.models.saving import save_model
from orchestrator.models.stored import Model, ModelInfo
from orchestrator.models.stores import use_store
from orchestrator.models.tags import Tag
from orchestrator.models.writing import NewModel, create

__all__ = [
    "BentoModel",
    "HuggingFaceModel",
    "Model",
    "ModelInfo",
    "NewModel",
    "Onnx",
    "Python",
    "Runner",
    "Tag",
    "TensorRT",
    "TorchScript",
    "aliases",
    "check",
    "create",
    "delete",
    "export",
    "export_model",
    "get",
    "history",
    "import_",
    "import_model",
    "label",
    "list",
    "list_models",
    "load_model",
    "own_file",
    "pull",
    "push",
    "remove_alias",
    "roll_back",
    "save_model",
    "set_alias",
    "use_store",
]

list = list_models
import_ = import_model
export = export_model
