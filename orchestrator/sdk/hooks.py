"""Lifecycle hooks: marks on methods, and the list of those that a class has."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeVar

__all__ = ["Hook", "hooks_of", "on_deployment", "on_shutdown", "on_startup"]

_MARK: Final = "__orchestrator_hook__"
F = TypeVar("F", bound=Callable[..., Any])


class Hook(StrEnum):
    """When a hook runs."""

    DEPLOYMENT = "on_deployment"
    STARTUP = "on_startup"
    SHUTDOWN = "on_shutdown"


def on_deployment(function: F) -> F:
    """Runs once, before any worker starts; takes no instance."""
    return _mark(function, Hook.DEPLOYMENT)


def on_startup(function: F) -> F:
    """Runs in every worker, after `__init__` and before the first call; sync or async."""
    return _mark(function, Hook.STARTUP)


def on_shutdown(function: F) -> F:
    """Runs in every worker, after its last call; sync or async."""
    return _mark(function, Hook.SHUTDOWN)


def hooks_of(cls: type, hook: Hook) -> list[Callable[..., Any]]:
    """The functions of a class with that mark: base classes' first, in the order of their definition."""
    names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
    members = [inspect.getattr_static(cls, name) for name in names]
    functions = [m.__func__ if isinstance(m, (staticmethod, classmethod)) else m for m in members]
    return [function for function in functions if getattr(function, _MARK, None) is hook]


def _mark(function: F, hook: Hook) -> F:
    target = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
    setattr(target, _MARK, hook)
    return function
