"""`orchestrator keys`: API keys for the front-end."""

import fcntl
import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import note, say
from orchestrator.errors import SettingsError
from orchestrator.server.auth_keys import NewKey, read_keys

__all__ = ["app"]

_OWN: int = 0o600
app = typer.Typer(no_args_is_help=True, help="API keys for the front-end of a service.")


@app.callback()
def _keys() -> None:
    """Keeps `new` a command of its own."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; the access log shows it.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="A service, service.api, metrics, or * for everything; as often as needed."
        ),
    ] = None,
    file: Annotated[Path, typer.Option("--file", help="The file of keys, which auth.keys_file names.")] = Path(
        "keys.txt"
    ),
) -> None:
    """Makes a key, prints it, and adds its hash to the file of keys. A running server takes it at once.

    The key itself is kept nowhere. To take a key back, delete its line.

    Examples:

      orchestrator keys new shop --scope Iris --scope metrics

      orchestrator serve service:Iris --set auth.keys_file=keys.txt
    """
    made = NewKey.make(name, scopes or ())
    try:
        with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, _OWN), "r+b") as keys:
            fcntl.flock(keys, fcntl.LOCK_EX)
            before = keys.read()
            line = made.line.encode()
            read_keys(before + b"\n" + line)
            keys.write(line if not before or before.endswith(b"\n") else b"\n" + line)
    except OSError as error:
        raise SettingsError(f"{str(file)!r} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{str(file)!r} cannot be used: {error}") from None
    say(made.key)
    note(f"{name} is in {file}; the key is shown only here")
