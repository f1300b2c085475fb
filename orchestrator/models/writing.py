"""A model that is being written: a folder that becomes a version of the store, or nothing."""

import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import __version__
from orchestrator.errors import StoreError
from orchestrator.models.extras import Signatures, extras_of, write_custom_objects
from orchestrator.models.stored import Model
from orchestrator.models.stores import default_store
from orchestrator.models.tags import Tag, TagLike, tag_of
from orchestrator.spec import LATEST, ModelRecord

if TYPE_CHECKING:
    from orchestrator.store import Store

__all__ = ["NewModel", "create", "versions_of", "writing"]


class NewModel(Model):
    """A model that is being written; once saved, a model as any other.

    Args:
        asked: with `latest` in the place of a version: one is made.
        folder: empty; what is in it when `save` is called is the model.
    """

    def __init__(self, asked: Tag, folder: Path, store: "Store") -> None:
        from orchestrator.store.naming import made_version

        self._asked = asked
        self._tag = Tag(asked.name, made_version(datetime.now(UTC))) if asked.version == LATEST else asked
        self._folder = folder
        self._saved: Model | None = None
        self._store = store
        self._requested = str(self._tag)

    @property
    def record(self) -> ModelRecord:
        """All that the store knows of it.

        Raises:
            StoreError: it is not saved yet.
        """
        if self._saved is None:
            raise StoreError(f"{self._tag} is still being written", hint="it is saved at the end of the `with` block")
        return self._saved.record

    @property
    def tag(self) -> Tag:
        return self._tag if self._saved is None else self._saved.tag

    @property
    def path(self) -> str:
        """The folder to write to, until the model is saved; afterwards where it is kept."""
        return str(self._folder) if self._saved is None else self._saved.path

    def path_of(self, path: str) -> str:
        """Where a file is to be written, its folder made; afterwards where it is kept.

        Raises:
            StoreError: that is not inside the model.
        """
        if self._saved is not None:
            return self._saved.path_of(path)
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder.resolve()):
            raise StoreError(f"{path!r} is no path inside a model")
        file.parent.mkdir(parents=True, exist_ok=True)
        return str(file)

    @property
    def exists(self) -> bool:
        return self._saved is not None and self._saved.exists

    def save(self, **settings: Any) -> None:
        """Makes a version of what was written.

        Args:
            **settings: as of `Store.save`.

        Raises:
            StoreError: the tag is taken, nothing was written, or a label or the metadata cannot be kept.
        """
        try:
            record = self._store.save(self._tag, self._folder, **settings)
        except StoreError:
            # Another process may have made up the same version.
            if self._asked == self._tag or not self._is_taken():
                raise
            record = self._store.save(self._asked, self._folder, **settings)
        self._saved = Model(record, self._store)

    def _is_taken(self) -> bool:
        with suppress(StoreError):
            return tag_of(self._store.get(self._tag)) == self._tag
        return False


@contextmanager
def writing(name: TagLike) -> Iterator[NewModel]:
    """A model to be written to and then saved, in a folder that is gone at the end."""
    asked, store = tag_of(name), default_store()
    if asked.version != LATEST:
        _require_free(asked, store)
    with tempfile.TemporaryDirectory(prefix="orchestrator-model-") as folder:
        files = Path(folder, "files")
        files.mkdir()
        yield NewModel(asked, files, store)


def _require_free(tag: Tag, store: "Store") -> None:
    """Before a long training or conversion, not after it."""
    try:
        record = store.get(tag)
    except StoreError:
        return
    what = "in the store already" if tag_of(record) == tag else f"an alias, of {record.tag}"
    raise StoreError(f"{tag} is {what}", hint="a version never changes: take another one")


@contextmanager
def create(
    name: TagLike,
    *,
    module: str = "",
    signatures: Signatures | None = None,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    context: Mapping[str, str] | None = None,
) -> Iterator[NewModel]:
    """A new version, of whatever files you write.

        with models.create("iris", labels={"stage": "dev"}) as model:
            joblib.dump(classifier, model.path_of("model.pkl"))

    Where the block raises, nothing is saved.

    Args:
        name: `name`, for a version that is made up; or `name:version`.
        module: that wrote the files, for people.
        signatures: method -> `{"batchable": ...}`, for people.
        labels: texts by name, to select by; they can change later.
        metadata: whatever JSON can say; it never changes.
        custom_objects: Python objects to be pickled and kept along.
        context: text by name; versions of packages.

    Yields:
        The model: write its files to `path` or `path_of(file)`.

    Raises:
        StoreError: the tag is taken, nothing was written, or something of the above cannot be kept.
    """
    extras = extras_of(module, signatures)
    with writing(name) as model:
        yield model
        write_custom_objects(Path(model.path), custom_objects)
        made_by = versions_of(()) if context is None else dict(context)
        model.save(labels=labels or {}, metadata=metadata or {}, context=made_by | extras)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this package, and of those of the given packages that are imported."""
    found = {"python": platform.python_version(), "orchestrator": __version__}
    for package in packages:
        version = getattr(sys.modules.get(package), "__version__", None)
        if isinstance(version, str):
            found[package] = version
    return found
