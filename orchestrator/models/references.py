"""Models that a class of BentoML's style refers to by attributes: stored ones, and those of Hugging Face's hub."""

from collections.abc import Sequence
from typing import Self, overload

from orchestrator.errors import StoreError
from orchestrator.models.hub import fetch_snapshot
from orchestrator.models.loading import get
from orchestrator.models.stored import Model
from orchestrator.models.tags import Tag, TagLike, tag_of
from orchestrator.spec import StoredModelRef

__all__ = ["BentoModel", "HuggingFaceModel"]


class BentoModel:
    """A stored model as an attribute of a class: the class has this reference, an instance the `Model`.

        class Classifier:
            iris = models.BentoModel("iris:production")

            def __init__(self) -> None:
                self.model = joblib.load(self.iris.path_of("model.pkl"))

    Raises:
        StoreError: the text is no tag. Whether the store has it is seen when the service is read.
    """

    def __init__(self, tag: TagLike) -> None:
        self.tag: Tag = tag_of(tag)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Model: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Model:
        return self if instance is None else self.stored

    @property
    def stored(self) -> Model:
        """The version that the tag means.

        Raises:
            StoreError: there is none.
        """
        return get(self.tag)

    def resolve(self) -> Model:
        """The same, under BentoML's name for it."""
        return self.stored

    def path_of(self, path: str) -> str:
        """One of its files; see `Model.path_of`."""
        return self.stored.path_of(path)

    def stored_ref(self) -> StoredModelRef:
        """What was asked for, and what that is now."""
        return self.stored.stored_ref()

    def __repr__(self) -> str:
        return f"BentoModel({str(self.tag)!r})"


class HuggingFaceModel:
    """A model of Hugging Face's hub as an attribute of a class: an instance has the path of its files, as text.

        class Classifier:
            path = models.HuggingFaceModel("distilbert/distilbert-base-uncased")

            def __init__(self) -> None:
                self.pipeline = transformers.pipeline("fill-mask", model=self.path)

    They are fetched when an instance first asks, into the cache of the hub's own library (`HF_HOME`); with
    `HF_HUB_OFFLINE=1` they must be there.

    Args:
        model_id: `owner/name`.
        revision: branch, tag or commit.
        endpoint: of another hub; default: `HF_ENDPOINT`, or Hugging Face's.
        include: patterns of files to fetch, such as `*.safetensors`; default: all.
        exclude: patterns of files to leave out.
    """

    def __init__(
        self,
        model_id: str,
        revision: str = "main",
        endpoint: str | None = None,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str | None = None,
    ) -> None:
        if not isinstance(model_id, str) or not model_id:
            raise StoreError(f"model_id={model_id!r}: takes the id of a model of the hub", hint="such as owner/name")
        self.model_id = model_id
        self.revision = revision
        self.endpoint = endpoint
        self.include = [include] if isinstance(include, str) else include
        self.exclude = [exclude] if isinstance(exclude, str) else exclude
        self._path: str | None = None

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> str: ...
    def __get__(self, instance: object | None, owner: type) -> Self | str:
        return self if instance is None else self.resolve()

    def resolve(self) -> str:
        """The folder with the model's files on this machine; fetches what is not there.

        Raises:
            StoreError: the hub does not have it or cannot be reached, or huggingface_hub is not installed.
        """
        if self._path is None:
            self._path = fetch_snapshot(
                self.model_id,
                revision=self.revision,
                endpoint=self.endpoint,
                include=self.include,
                exclude=self.exclude,
            )
        return self._path

    def __repr__(self) -> str:
        return f"HuggingFaceModel({self.model_id!r}, revision={self.revision!r})"
