"""`get`, `list` and `load_model`: from a tag to the version, and to the framework's own object."""

from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.models.reading import find_own_file
from orchestrator.models.stored import Model
from orchestrator.models.stores import default_store
from orchestrator.models.tags import TagLike, tag_of
from orchestrator.sdk.pins import pinned

__all__ = ["get", "list_models", "load_model", "own_file"]


def get(tag: TagLike) -> Model:
    """The version that a tag means: the newest of `name`, the one of `name:version`, or where `name:alias` points to.

    Where a service runs, it is the version that the service was exported with.

    Raises:
        StoreError: there is none; the message names the store, and near ones.
    """
    if isinstance(tag, Model):
        return tag
    asked = tag_of(tag)
    known = pinned(str(asked))
    store = default_store()
    try:
        record = store.get(asked if known is None else tag_of(known))
    except StoreError as error:
        raise StoreError(f"{asked}: {error.message}, which is {store!r}", hint=error.hint) from error
    return Model(record, store, requested=str(asked))


def list_models(name: TagLike | None = None, selector: str | None = None) -> list[Model]:
    """Versions, the newest first.

    Args:
        name: of the model; None for all.
        selector: of labels: `stage=production, framework In (xgboost, lightgbm)`; `=`, `!=`, `In`, `NotIn`, `Exists`,
            `DoesNotExist`, and a comma for "and".

    Raises:
        StoreError: the selector cannot be read.
    """
    store = default_store()
    wanted = None if name is None else tag_of(name).name
    return [Model(record, store) for record in store.list(wanted, selector=selector)]


def load_model(tag: TagLike, *, trust: bool = False) -> Any:
    """The framework's own object of a stored model: an estimator, a booster, a module, an onnxruntime session ...

    Args:
        trust: reads a pickle also where the model was imported or pulled; that runs code of whoever wrote it.

    Raises:
        StoreError: there is no such version; it is such a pickle; its framework is not known or not installed here.
    """
    return get(tag).load(trust=trust)


def own_file(tag: TagLike, framework: str) -> Path:
    """The file, or folder, of a stored model that is of a framework: of a converted one, the original's, too.

    Raises:
        StoreError: there is no such version, or no such file in it; or it is a pickle that somebody else may have written.
    """
    model = get(tag)
    return find_own_file(model.record, model.path_of, framework)
