"""A stored model, as users see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import StoreError
from orchestrator.formats import SAMPLE_FILE, Sample, read_sample
from orchestrator.models.extras import context_of, custom_objects_of, module_of, signatures_of
from orchestrator.models.reading import read_model
from orchestrator.models.runner import Runner, runner_of
from orchestrator.models.tags import Tag
from orchestrator.spec import ModelRecord, StoredModelRef
from orchestrator.spec.conversion import ParityReport

if TYPE_CHECKING:
    from orchestrator.store import Store

__all__ = ["PARITY_FILE", "Model", "ModelInfo"]

PARITY_FILE: Final = "parity.json"
"""Beside a converted model: its `ParityReport`."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a version; its labels are those of the moment at which it was looked up.

    Attributes:
        module: where a `load_model` for it is, such as `bentoml.sklearn`.
        signatures: method -> `{"batchable": ...}`.
        context: versions of Python and of the packages that made it.
        creation_time: UTC.
    """

    tag: Tag
    module: str
    labels: Mapping[str, str]
    metadata: Mapping[str, Any]
    signatures: Mapping[str, Mapping[str, Any]]
    context: Mapping[str, str]
    creation_time: datetime

    @property
    def name(self) -> str:
        return self.tag.name

    @property
    def version(self) -> str:
        return self.tag.version


class Model:
    """One version of a model in the store. Files are fetched, and compared with their digests, when they are asked for.

    Args:
        requested: what was asked for, such as `iris:latest`.
    """

    def __init__(self, record: ModelRecord, store: "Store", *, requested: str | None = None) -> None:
        self._record = record
        self._store = store
        self._requested = requested or str(record.tag)

    @property
    def record(self) -> ModelRecord:
        """All that the store knows of it."""
        return self._record

    @property
    def tag(self) -> Tag:
        """Its name and its own version, whatever was asked for."""
        return Tag(self.record.tag.name, self.record.tag.version)

    @property
    def folder(self) -> Path:
        """`path`, as a `pathlib.Path`."""
        return Path(self.path)

    @property
    def path(self) -> str:
        """The folder with all of its files; not to be written to.

        Raises:
            StoreError: a file is missing or has other content than was saved, or the version was deleted.
        """
        return str(self._store.folder(self.record))

    def path_of(self, path: str) -> str:
        """One of its files, or a folder in it.

        Args:
            path: inside the model, such as `model.pkl`.

        Raises:
            StoreError: it has no such file; and as `path`.
        """
        return str(self._store.path_of(self.record, path))

    @property
    def info(self) -> ModelInfo:
        """What is known of it."""
        return ModelInfo(
            tag=self.tag,
            module=module_of(self.record),
            labels=self.labels,
            metadata=self.metadata,
            signatures=signatures_of(self.record),
            context=MappingProxyType(context_of(self.record)),
            creation_time=self.creation_time,
        )

    @property
    def labels(self) -> Mapping[str, str]:
        """Texts by name; `models.label` changes them."""
        return MappingProxyType(self.record.labels)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was said of it when it was saved: accuracy, data set ..."""
        return MappingProxyType(self.record.metadata)

    @property
    def creation_time(self) -> datetime:
        """When it was saved, UTC."""
        return self.record.created_at

    @property
    def custom_objects(self) -> dict[str, Any]:
        """The objects that were saved along; none where nobody gave any.

        Raises:
            StoreError: they came from another store: reading them would run somebody else's code.
        """
        return custom_objects_of(self.record, self.path_of)

    @property
    def sample(self) -> Sample | None:
        """Inputs, and what the model gives for them; None where none was saved."""
        if not self._has(SAMPLE_FILE):
            return None
        return read_sample(Path(self.path_of(SAMPLE_FILE)))

    @property
    def parity(self) -> ParityReport | None:
        """How the converted model was compared with the original; None for one that was not converted."""
        if not self._has(PARITY_FILE):
            return None
        return ParityReport.parse(Path(self.path_of(PARITY_FILE)).read_bytes())

    @property
    def exists(self) -> bool:
        """Whether the store still has it."""
        try:
            self._store.get(self.record.tag)
        except StoreError:
            return False
        return True

    @property
    def stored(self) -> "Model":
        """Itself: what `BentoModel` has under this name, too."""
        return self

    def load(self, *, trust: bool = False) -> Any:
        """The framework's own object: an estimator, a booster, a module, an onnxruntime session ...

        Args:
            trust: reads a pickle also where the model was imported or pulled; that runs code of whoever wrote it.

        Raises:
            StoreError: it is such a pickle; its framework is not known or not installed here.
        """
        return read_model(self.record, self.path_of, trust=trust)

    def to_runner(self) -> Runner:
        """What `runner_service` makes a service of.

        Raises:
            StoreError: none of its files is something that Triton runs.
        """
        return runner_of(self)

    def stored_ref(self) -> StoredModelRef:
        """What was asked for, and what that is now."""
        return StoredModelRef(requested=self._requested, tag=str(self.tag))

    def _has(self, path: str) -> bool:
        return any(file.path == path for file in self.record.files)

    def __repr__(self) -> str:
        return f"Model({str(self.tag)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and (self.tag, self.record.files_digest) == (
            other.tag,
            other.record.files_digest,
        )

    def __hash__(self) -> int:
        return hash(self.tag)
