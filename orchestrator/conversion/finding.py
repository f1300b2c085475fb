"""Which converters there are: ours and anybody's, through one entry-point group."""

import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converter

__all__ = ["converter_for", "converters", "find_converter"]

_GROUP: Final = "orchestrator.converters"
_PARTS: Final = ("source", "target", "description", "options", "matches", "load", "convert")
_log = logging.getLogger(__name__)


def converters() -> list[Converter]:
    """Every converter that is installed, by source and target.

    An entry point names a class, which is called without arguments. One that cannot be had is named in the log and left
    out, so that a broken package takes nothing but its own converters away.
    """
    found = [_load(entry) for entry in sorted(entry_points(group=_GROUP), key=lambda entry: entry.name)]
    return sorted((each for each in found if each is not None), key=lambda each: (each.source, each.target))


def find_converter(source: str, target: str) -> Converter:
    """The converter from one form to another.

    Raises:
        ConversionError: there is none; the message lists what there is.
    """
    all_of_them = converters()
    for each in all_of_them:
        if (each.source, each.target) == (source, target):
            return each
    raise ConversionError(f"there is no converter from {source!r} to {target!r}", hint=f"there is {_list(all_of_them)}")


def converter_for(model: object, target: str) -> Converter:
    """The converter that takes a Python object, such as a fitted estimator.

    Raises:
        ConversionError: none takes it.
    """
    all_of_them = converters()
    for each in all_of_them:
        if each.target == target and each.matches(model):
            return each
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise ConversionError(f"no converter takes a {kind} to {target!r}", hint=f"there is {_list(all_of_them)}")


def _load(entry: EntryPoint) -> Converter | None:
    owner = entry.dist.name if entry.dist else "an unknown package"
    try:
        made: Converter = entry.load()()
    except Exception as error:  # noqa: BLE001 - anybody's code runs here
        _log.warning("converter %r of %s is left out: %s: %s", entry.name, owner, type(error).__name__, error)
        return None
    missing = [part for part in _PARTS if not hasattr(made, part)]
    if missing:
        _log.warning("converter %r of %s is left out: it has no %s", entry.name, owner, ", ".join(missing))
        return None
    return made


def _list(found: list[Converter]) -> str:
    return ", ".join(f"{each.source} -> {each.target}" for each in found) or "none at all"
