"""Which versions of stored models this process uses: a worker those that its service was exported with, whatever is newest."""

from collections.abc import Iterable

from orchestrator.spec import StoredModelRef

__all__ = ["pinned", "set_pins"]

_pins: dict[str, str] = {}


def set_pins(refs: Iterable[StoredModelRef]) -> None:
    """Sets the pins of this process, which has one service; before its module is imported."""
    _pins.clear()
    _pins.update((ref.requested, ref.tag) for ref in refs)


def pinned(requested: str) -> str | None:
    """The tag that a request such as `iris:latest` stands for here; None where any version will do."""
    return _pins.get(requested)
