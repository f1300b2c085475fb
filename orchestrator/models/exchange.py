"""Versions between stores and files, and what of a version can change: its labels, and the aliases that point to it."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError
from orchestrator.models.stored import Model
from orchestrator.models.stores import default_store, remote_store
from orchestrator.models.tags import TagLike, tag_of
from orchestrator.spec import LATEST

if TYPE_CHECKING:
    from orchestrator.store import Event

__all__ = [
    "aliases",
    "check",
    "delete",
    "export_model",
    "history",
    "import_model",
    "label",
    "pull",
    "push",
    "remove_alias",
    "roll_back",
    "set_alias",
]

Progress = Callable[[int, int], None]
"""Is told the bytes that are done, and all that there are."""


def delete(tag: TagLike, *, force: bool = False) -> Model:
    """Removes one version; its number is never used again.

    Args:
        tag: `name:version`, or `name:alias`; a name alone is refused, for it would mean the newest.
        force: removes the aliases that point to it, too.

    Raises:
        StoreError: there is none, or an alias points to it.
    """
    wanted, store = tag_of(tag), default_store()
    if isinstance(tag, str) and ":" not in tag:
        raise StoreError(f"{tag!r} names no version", hint=f"{tag}:{LATEST} is the newest one")
    return Model(store.delete(wanted, force=force), store)


def export_model(tag: TagLike, path: str | PathLike[str], *, progress: Progress | None = None) -> Path:
    """Writes a version as one file (`.tar.gz` or `.tar`), or as a folder where the path ends in `/`.

    Returns:
        What was written: in an existing folder a file named after the version.

    Raises:
        StoreError: there is no such version, or it cannot be written.
    """
    given = path if isinstance(path, str) else Path(path)
    return default_store().export(tag_of(tag), given, progress=progress)


def import_model(path: str | PathLike[str], *, tag: TagLike | None = None, progress: Progress | None = None) -> Model:
    """Adds a version that `export_model` wrote.

    Args:
        tag: to keep it under, where that is not its own.

    Raises:
        StoreError: it is no such file, or the tag is taken by another model.
    """
    store = default_store()
    wanted = None if tag is None else tag_of(tag)
    return Model(store.import_(Path(path).expanduser(), tag=wanted, progress=progress), store)


def push(tag: TagLike, *, progress: Progress | None = None) -> Model:
    """Copies a version to the remote store, with its labels.

    Raises:
        StoreError: no remote store is configured, or it has another model of that tag.
    """
    other = remote_store()
    return Model(default_store().copy_to(other, tag_of(tag), origin="push", progress=progress), other)


def pull(tag: TagLike, *, progress: Progress | None = None) -> Model:
    """Copies a version from the remote store, with its labels.

    Raises:
        StoreError: no remote store is configured, it has no such version, or this store has another model of that tag.
    """
    mine = default_store()
    return Model(remote_store().copy_to(mine, tag_of(tag), origin="pull", progress=progress), mine)


def label(tag: TagLike, labels: Mapping[str, str | None]) -> Model:
    """Sets labels of a version; None removes one.

    Raises:
        StoreError: there is no such version, or a key or value cannot be one.
    """
    store = default_store()
    return Model(store.set_labels(tag_of(tag), labels), store)


def set_alias(tag: TagLike, alias: str) -> Model:
    """Makes an alias point to a version, from wherever it pointed.

    Args:
        tag: `name:version`, `name:latest`, or another alias.

    Raises:
        StoreError: there is no such version, or the alias is the name of one.
    """
    wanted, store = tag_of(tag), default_store()
    store.set_alias(wanted.name, alias, wanted.version)
    return Model(store.get(tag_of(f"{wanted.name}:{alias}")), store)


def remove_alias(name: TagLike, alias: str) -> None:
    """Takes an alias of a model away; its version stays.

    Raises:
        StoreError: there is none.
    """
    default_store().remove_alias(tag_of(name).name, alias)


def roll_back(name: TagLike, alias: str) -> Model:
    """Moves an alias back to where it was before.

    Raises:
        StoreError: there is no such alias, or no version before this one is left.
    """
    wanted, store = tag_of(name), default_store()
    version, _ = store.roll_back_alias(wanted.name, alias)
    return Model(store.get(tag_of(f"{wanted.name}:{version}")), store)


def aliases(name: TagLike | None = None) -> dict[str, dict[str, str]]:
    """Versions by alias, by name of the model."""
    return default_store().aliases(None if name is None else tag_of(name).name)


def history(name: TagLike) -> "list[Event]":
    """What happened to a model's versions, the newest first.

    Raises:
        StoreError: there never was such a model.
    """
    return default_store().history(tag_of(name).name)


def check() -> list[str]:
    """Reads every byte of every version.

    Returns:
        One line a fault; none where all is well.
    """
    return default_store().check()
