"""What the environment says; nothing else reads it.

Which source wins over which: docs/configuration.md.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.errors import SettingsError
from orchestrator.logs import FORMAT_VARIABLE

__all__ = ["ConfigFile", "Settings"]

_PREFIX: Final = "ORCHESTRATOR_"
_HOME: Final = "~/.orchestrator"
_MONITORING: Final = "monitoring"
_CONFIG: Final = "ORCHESTRATOR_CONFIG"
_BENTOML_CONFIG: Final = "BENTOML_CONFIG"
_OPTIONS: Final = ("BENTOML_CONFIG_OPTIONS", "ORCHESTRATOR_OPTIONS")
_SHORT: Final = {
    "ORCHESTRATOR_HOST": "http.host",
    "ORCHESTRATOR_PORT": "http.port",
    FORMAT_VARIABLE: "logging.format",
}
_AS_WRITTEN: Final = frozenset({"envs", "labels"})
"""Sections whose keys are names of the user's own: `ORCHESTRATOR_ENVS__HF_TOKEN`."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config file that a variable names.

    Attributes:
        variable: the variable.
        path: as it is written there.
    """

    variable: str
    path: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment.

    Attributes:
        config: `ORCHESTRATOR_CONFIG`, the config file, where `--config` names no other.
        bentoml_config: `BENTOML_CONFIG`, a config file of BentoML's; below our own.
        options: `BENTOML_CONFIG_OPTIONS` and `ORCHESTRATOR_OPTIONS`, several `key=value`: variable and its text, the
            weaker first.
        keys: `ORCHESTRATOR_<SECTION>__<KEY>`: variable, and `key=value`; above the options.
        max_body_mb: `ORCHESTRATOR_MAX_BODY_MB`, longest request body in MiB.
        home: `ORCHESTRATOR_HOME`, folder for what is kept; default `~/.orchestrator`.
        store_database: `ORCHESTRATOR_STORE_DATABASE`, URL of the model store's database; default SQLite in `home`.
        store_objects: `ORCHESTRATOR_STORE_OBJECTS`, where its files are, a bucket's URL or a folder; default in `home`.
        remote_database: `ORCHESTRATOR_REMOTE_DATABASE`, of the store that `push` and `pull` reach.
        remote_objects: `ORCHESTRATOR_REMOTE_OBJECTS`, likewise.
        monitoring: `ORCHESTRATOR_MONITORING`, folder that monitors write to; default `monitoring` in `home`.
        triton_image: `ORCHESTRATOR_TRITON_IMAGE`, what `--triton docker` runs; default: the images of docker-compose.yml.
        color: false where `NO_COLOR` is set (https://no-color.org).
    """

    config: ConfigFile | None = None
    bentoml_config: ConfigFile | None = None
    options: tuple[tuple[str, str], ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    max_body_mb: int = 64
    home: Path = Path(_HOME)
    store_database: str | None = field(default=None, repr=False)  # may hold a password
    store_objects: str | None = None
    remote_database: str | None = field(default=None, repr=False)
    remote_objects: str | None = None
    monitoring: Path = Path(_HOME, _MONITORING)
    triton_image: str | None = None
    color: bool = True

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Reads the environment; a variable that is empty counts as not set.

        Raises:
            SettingsError: a variable is not a number where one is needed.
        """
        env = os.environ if environment is None else environment
        given = {name: value for name, value in env.items() if value}
        home = _folder(given.get(f"{_PREFIX}HOME", _HOME))
        return cls(
            config=_file(given, _CONFIG),
            bentoml_config=_file(given, _BENTOML_CONFIG),
            options=tuple((name, given[name]) for name in _OPTIONS if name in given),
            keys=tuple((name, f"{key}={given[name]}") for name in sorted(given) if (key := _key(name))),
            max_body_mb=_whole(given, "MAX_BODY_MB", 64),
            home=home,
            store_database=given.get(f"{_PREFIX}STORE_DATABASE"),
            store_objects=given.get(f"{_PREFIX}STORE_OBJECTS"),
            remote_database=given.get(f"{_PREFIX}REMOTE_DATABASE"),
            remote_objects=given.get(f"{_PREFIX}REMOTE_OBJECTS"),
            monitoring=_folder(given.get(f"{_PREFIX}MONITORING", str(home / _MONITORING))),
            triton_image=given.get(f"{_PREFIX}TRITON_IMAGE"),
            color="NO_COLOR" not in env,
        )


def _file(given: Mapping[str, str], variable: str) -> ConfigFile | None:
    return ConfigFile(variable, given[variable]) if variable in given else None


def _folder(text: str) -> Path:
    return Path(os.path.expanduser(text))  # not Path.expanduser: that one fails where nobody has a home


def _key(variable: str) -> str | None:
    """The dotted key that a variable sets."""
    if variable in _SHORT:
        return _SHORT[variable]
    section, *rest = variable.removeprefix(_PREFIX).split("__")
    if not variable.startswith(_PREFIX) or not rest:
        return None
    section = section.lower()
    return ".".join((section, "__".join(rest) if section in _AS_WRITTEN else ".".join(rest).lower()))


def _whole(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(f"{_PREFIX}{name}")
    if text is None:
        return default
    if not text.isdigit():
        raise SettingsError(f"{_PREFIX}{name}={text!r}: takes a whole number")
    return int(text)
