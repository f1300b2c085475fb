"""BentoML 1.1's runner of a stored model, as much of it as `runner_service` needs."""

from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.errors import StoreError
from orchestrator.models.extras import signatures_of
from orchestrator.models.native import DeclaredModel, Onnx, Python, TensorRT, TorchScript
from orchestrator.models.tags import Tag
from orchestrator.spec import ModelFormat, ModelRecord, StoredModelRef

__all__ = ["Runner", "runner_of"]

_DECLARED: Final = {
    ModelFormat.ONNX: Onnx,
    ModelFormat.TENSORRT: TensorRT,
    ModelFormat.TORCHSCRIPT: TorchScript,
    ModelFormat.PYTHON: Python,
}


@dataclass(frozen=True, slots=True)
class Runner:
    """A stored model to be run by Triton.

    Attributes:
        name: of the model.
        model: to be declared on a service.
        methods: that a call may name; all of them are the one call that the stored file answers.
    """

    name: str
    model: DeclaredModel
    methods: tuple[str, ...]


class StoredModel(Protocol):
    """A stored model, as far as it matters here."""

    @property
    def tag(self) -> Tag: ...
    @property
    def record(self) -> ModelRecord: ...
    def stored_ref(self) -> StoredModelRef: ...


def runner_of(model: StoredModel) -> Runner:
    """The runner of a stored model.

    Raises:
        StoreError: none of its files is something that Triton runs.
    """
    record = model.record
    if record.format is None:
        raise StoreError(
            f"{model.tag} has no file that Triton can run",
            hint="save it with to='onnx', or load it in a service of yours",
        )
    methods = tuple(signatures_of(record)) or ("run",)
    return Runner(model.tag.name, _DECLARED[record.format](model), methods)
