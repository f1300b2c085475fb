"""Template arguments on the command line: `--arg key=value` and `--arg-file`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from orchestrator.errors import SettingsError

__all__ = ["TemplateArguments", "TemplateFile", "read_template"]

TemplateArguments = Annotated[
    list[str] | None,
    typer.Option("--arg", metavar="KEY=VALUE", help="What use_arguments gives to the module; may be given again."),
]
TemplateFile = Annotated[
    Path | None, typer.Option("--arg-file", help="The same from a file, YAML or JSON; --arg goes above it.")
]


def read_template(pairs: Sequence[str] | None, file: Path | None) -> dict[str, Any]:
    """The arguments by name; those of `--arg` are text.

    Raises:
        SettingsError: the file cannot be read, or a pair is none.
    """
    arguments = dict(_read_file(file)) if file is not None else {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"--arg {pair!r}: is not key=value", hint="write it as --arg model_name=tiny")
        arguments[name.strip()] = value
    return arguments


def _read_file(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML, too
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"--arg-file: {file} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"--arg-file: {file}: no YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, Mapping) and content is not None:
        raise SettingsError(f"--arg-file: {file}: takes a mapping, not {type(content).__name__}")
    return {str(name): value for name, value in (content or {}).items()}
