"""An error of another service, as the class that its code raised."""

import sys
from functools import reduce

from orchestrator.errors import CallError, RequestFailed

__all__ = ["as_raised"]


def as_raised(error: CallError) -> CallError:
    """The error to be raised in the caller's code for one that came from another process.

    A class of the user's own is found where both services have imported it; else the error stays what it is.
    """
    if not isinstance(error, RequestFailed) or not error.origin:
        return error
    module, _, name = error.origin.partition(":")
    # Never imported for that: only what this process's own code has is looked at.
    try:
        cls = reduce(getattr, name.split("."), sys.modules.get(module))
    except AttributeError:
        return error
    if not (isinstance(cls, type) and issubclass(cls, RequestFailed)) or type(error) is cls:
        return error
    return cls.rebuilt(error)
