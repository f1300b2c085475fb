"""A trained model as data: its name, what it takes and gives, how Triton runs it, what the store keeps of it."""

import hashlib
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.spec.frozen import Frozen
from orchestrator.spec.tensors import TensorSpec

__all__ = [
    "LATEST",
    "Accelerator",
    "ModelFormat",
    "ModelOptions",
    "ModelRecord",
    "ModelSignature",
    "NativeModelSpec",
    "StoredFile",
    "StoredModelRef",
    "Tag",
    "digest_of",
]

LATEST: Final = "latest"
"""In the place of a version: the newest one."""
_WORD: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


class ModelFormat(StrEnum):
    """What a model file is; each has a way to run in Triton, and one in the embedded server."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"
    TORCHSCRIPT = "torchscript"
    PYTHON = "python"


class Accelerator(StrEnum):
    """What onnxruntime hands a model's graph to, inside Triton's ONNX backend."""

    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


class Tag(Frozen):
    """`name:version`. In a request the version may be `latest` or an alias; a stored model has its own.

    Letters, digits, `.`, `_` and `-`; a letter or digit at both ends; 128 characters at most.
    """

    name: str
    version: str = LATEST

    @field_validator("name", "version")
    @classmethod
    def _check(cls, value: str) -> str:
        if not _WORD.fullmatch(value):
            raise ValueError(f"{value!r}: letters, digits, '.', '_' and '-', a letter or digit at both ends")
        return value

    @classmethod
    def of(cls, text: str) -> Self:
        """Reads `name` or `name:version`.

        Raises:
            ValueError: it is neither; the message says what a name may be.
        """
        name, colon, version = text.partition(":")
        if colon and not version:
            raise ValueError(f"{text!r}: there is no version after the colon")
        # Through the check by hand: pydantic's error is a page long.
        for part in (name, *([version] if colon else [])):
            cls._check(part)
        return cls(name=name, version=version if colon else LATEST)

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class ModelSignature(Frozen):
    """What a model takes and gives.

    Attributes:
        inputs: names, dtypes and shapes as in the file, the batch axis included; `ANY` for an axis of any length.
        outputs: likewise.
        batched: axis 0 of every input and output is the batch axis, of any length.
    """

    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    batched: bool = False

    @model_validator(mode="after")
    def _check_batch_axis(self) -> Self:
        if self.batched and not all(each.shape and each.shape[0] == -1 for each in (*self.inputs, *self.outputs)):
            raise ValueError("batched: axis 0 of every input and output must be of any length")
        return self

    def accepts(self, other: "ModelSignature") -> bool:
        """Whether a model of the other signature can stand in for one of this: same names, dtypes and shapes."""
        return self == other


class ModelOptions(Frozen):
    """How Triton runs a model.

    Attributes:
        max_batch_size: rows in one batch; None: 64 where the model has a batch axis, else 0.
        queue_delay_us: how long Triton holds a request back for others.
        instances: copies that run at the same time (a device, where `gpus` is given).
        gpus: devices to run on; empty for the CPU.
        threads: of one instance; None shares this machine's cores among the instances.
        warmup: runs the model once before it takes requests.
        response_cache: Triton answers equal requests from its cache.
        accelerator: of the ONNX backend; without effect in the embedded server.
    """

    max_batch_size: Annotated[int | None, Field(ge=0)] = None
    queue_delay_us: Annotated[int, Field(ge=0)] = 1000
    instances: Annotated[int, Field(ge=1)] = 1
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    threads: Annotated[int | None, Field(ge=1)] = None
    warmup: bool = True
    response_cache: bool = False
    accelerator: Accelerator | None = None


class NativeModelSpec(Frozen):
    """A model that a service declares: a Triton model of its own.

    Attributes:
        attribute: of the service's class.
        name: of the Triton model.
        file: the model file's name in the version's folder: `model.onnx`, `model.plan`, `model.pt`, `model.py` ...; other
            files lie beside it (external weights).
        framework: what wrote a Python model's file (`sklearn`, `xgboost` ...); empty for the other formats and for a
            `model.py`.
        method: of a framework's model: what a call runs, such as `predict`.
        requested: as the class names it (`text_det:latest`); None for a path.
        tag: of the stored model that this was resolved to; None for a path.
        version: number of Triton's version folder; of a stored model its number in the store.
        files_digest: sha256 over the names and contents of its files.
        tolerance: (relative, absolute) difference that its sample's outputs may show where it is loaded.
    """

    attribute: str
    name: str
    format: ModelFormat
    file: str
    framework: str = ""
    method: str = ""
    signature: ModelSignature
    options: ModelOptions = ModelOptions()
    requested: str | None = None
    tag: str | None = None
    version: int = 1
    files_digest: str
    tolerance: tuple[float, float] = (1e-3, 1e-4)

    @property
    def max_batch_size(self) -> int:
        """Rows in one Triton request; 0 for a model without a batch axis."""
        if not self.signature.batched:
            return 0
        return 64 if self.options.max_batch_size is None else self.options.max_batch_size

    def shared(self) -> "NativeModelSpec":
        """The model as Triton has it, whoever asks for it: equal ones are one Triton model."""
        return self.model_copy(update={"attribute": "", "requested": None})


class StoredModelRef(Frozen):
    """A stored model that a service's class reads by itself (`models.get(...)` in its body), not run by Triton.

    Attributes:
        requested: as the class names it, such as `iris:latest`.
        tag: what that was when the service was described; its workers get this one.
    """

    requested: str
    tag: str


class StoredFile(Frozen):
    """One file of a stored model.

    Attributes:
        path: inside the model, with forward slashes.
        size: bytes.
        sha256: of its content, hexadecimal.
    """

    path: str
    size: int
    sha256: str


class ModelRecord(Frozen):
    """What the store knows of one version; all of it is immutable but the labels.

    Attributes:
        number: of this version among its name's, from 1, never used twice.
        created_at: UTC.
        framework: what made it (`sklearn`, `onnx` ...); empty where nobody said.
        format: of the file that Triton can run; None where it has none.
        file: path of that file, or of the framework's own.
        method: what a call of a framework's model runs.
        signature: None where it is not known.
        metadata: JSON, for people.
        context: versions of Python and of the packages that made it.
        files: sorted by path.
        tolerance: (relative, absolute) difference that its sample's outputs may show on another machine.
        origin: where it came from, where that is not this store: `import` or `pull`. Pickles of such a model are not read.
    """

    tag: Tag
    number: int
    created_at: datetime
    framework: str = ""
    format: ModelFormat | None = None
    file: str | None = None
    method: str = ""
    signature: ModelSignature | None = None
    metadata: dict[str, Any] = {}
    labels: dict[str, str] = {}
    context: dict[str, str] = {}
    files: tuple[StoredFile, ...] = ()
    tolerance: tuple[float, float] = (1e-3, 1e-4)
    origin: str = ""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def files_digest(self) -> str:
        """Over names and contents of its files."""
        return digest_of(self.files)


def digest_of(files: "tuple[StoredFile, ...]") -> str:
    """One sha256 for several files: over the lines `sha256  path`, sorted by path."""
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256(lines.encode()).hexdigest()
