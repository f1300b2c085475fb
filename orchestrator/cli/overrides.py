"""What a config file, the environment and the command line say about a service, as layers: the weakest first.

The order is in docs/configuration.md; `spec/layers.py` checks and merges.
"""

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.errors import SettingsError
from orchestrator.settings import Settings
from orchestrator.spec import Layer, read_assignment, read_layer

__all__ = ["read_overrides"]

DEFAULT_FILE: Final = "orchestrator.yaml"
_OUR_VERSION: Final = 1
_BENTOML_VERSION: Final = 2
_EVERY_SERVICE: Final = "defaults"


def read_overrides(
    settings: Settings,
    working_dir: Path,
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
) -> list[Layer]:
    """Reads every source above `@service`.

    Args:
        settings: the environment.
        working_dir: its `orchestrator.yaml` is read where no file is named.
        config: file of `--config`.
        assignments: of `--set`.
        flags: `--port` -> `http.port=8080`, for flags that are keys.

    Raises:
        SettingsError: one sentence with the file, the variable or the flag, and the nearest known key.
    """
    layers: list[Layer] = []
    if bentoml := settings.bentoml_config:
        layers += _read_file(Path(bentoml.path), bentoml.variable, _BENTOML_VERSION)
    if config is not None:
        layers += _read_file(config, "--config", _OUR_VERSION)
    elif settings.config is not None:
        layers += _read_file(Path(settings.config.path), settings.config.variable, _OUR_VERSION)
    elif (default := working_dir / DEFAULT_FILE).is_file():
        layers += _read_file(default, DEFAULT_FILE, _OUR_VERSION)
    for variable, text in settings.options:
        layers += [read_assignment(assignment, variable) for assignment in _split(variable, text)]
    layers += [read_assignment(assignment, variable) for variable, assignment in settings.keys]
    layers += [read_assignment(assignment, "--set") for assignment in assignments]
    layers += [read_assignment(assignment, flag) for flag, assignment in (flags or {}).items()]
    return layers


def _split(variable: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SettingsError(
            f"{variable}: {str(error).lower()}", hint='write it as "traffic.timeout=10 workers=2"'
        ) from None


def _read_file(path: Path, named_by: str, version: int) -> list[Layer]:
    """The file's layers: defaults, then one a service.

    Args:
        named_by: the flag or variable that names the file.
        version: what its `version` must be.
    """
    content = _parsed(path, named_by)
    for key in content:
        if key not in ("version", "services"):
            hint = "services.defaults holds what is for every service, services.<Name> what is for one"
            raise SettingsError(f"{path}: unknown key {key!r}", hint=hint)
    given = content.get("version", version)
    if given != version:
        other = "a file of BentoML's goes into BENTOML_CONFIG" if given == _BENTOML_VERSION else None
        raise SettingsError(f"{path}: version={given!r}: takes {version}", hint=other)
    services = _mapping(path, "services", content.get("services"))
    scopes: list[tuple[str | None, Any]] = [
        (None if name == _EVERY_SERVICE else name, services[name]) for name in services
    ]
    # What is for every service goes below what is for one, wherever it stands in the file.
    scopes.sort(key=lambda scope: scope[0] is not None)
    return [_section(path, name, content) for name, content in scopes]


def _section(path: Path, service: str | None, content: Any) -> Layer:
    key = f"services.{service or _EVERY_SERVICE}"
    return read_layer(_mapping(path, key, content), f"{path} ({key})", service=service)


def _mapping(path: Path, key: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path}: {key}={value!r}: takes a mapping")
    return {str(name): content for name, content in value.items()}


def _parsed(path: Path, named_by: str) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{named_by}: the config file {path} cannot be read: {reason}") from None
    try:
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: no TOML: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SettingsError(f"{where}: no YAML: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path}: takes a mapping with the keys version and services, not {type(content).__name__}")
    return {str(key): value for key, value in content.items()}
