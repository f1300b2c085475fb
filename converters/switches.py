"""Options that are on or off, as Python and as a command line give them."""

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import ConversionError

__all__ = ["switch"]

_WORDS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def switch(options: Mapping[str, Any], name: str) -> bool:
    """Whether an option is on; off where it is not given.

    Raises:
        ConversionError: it is neither.
    """
    value = options.get(name, False)
    if isinstance(value, bool):
        return value
    found = _WORDS.get(str(value).lower())
    if found is None:
        raise ConversionError(f"{name}={value!r} is neither true nor false")
    return found
