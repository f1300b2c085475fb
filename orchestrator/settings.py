"""What the environment says; nothing else reads it.

Precedence: flag of the command line, then variable of the environment, then default.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import SettingsError

__all__ = ["Settings"]

_PREFIX: Final = "ORCHESTRATOR_"


@dataclass(frozen=True)
class Settings:
    """Defaults of the command line's flags.

    Attributes:
        host: `ORCHESTRATOR_HOST`, address that the front-end listens on.
        port: `ORCHESTRATOR_PORT`.
        max_body_mb: `ORCHESTRATOR_MAX_BODY_MB`, longest request body in MiB.
        color: false where `NO_COLOR` is set (https://no-color.org).
    """

    host: str = "127.0.0.1"
    port: int = 3000
    max_body_mb: int = 64
    color: bool = True

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Reads the environment.

        Raises:
            SettingsError: a variable is not a number where one is needed.
        """
        env = os.environ if environment is None else environment
        return cls(
            host=env.get(f"{_PREFIX}HOST", cls.host),
            port=_whole(env, "PORT", cls.port),
            max_body_mb=_whole(env, "MAX_BODY_MB", cls.max_body_mb),
            color="NO_COLOR" not in env,
        )


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(f"{_PREFIX}{name}")
    if text is None:
        return default
    if not text.isdigit():
        raise SettingsError(f"{_PREFIX}{name}={text!r}: takes a whole number")
    return int(text)
