"""`orchestrator models export | import | push | pull`: versions between stores and files."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator import models
from orchestrator.cli.console import say
from orchestrator.cli.models import AsJson, Tag, document_of
from orchestrator.cli.tables import bytes_done, say_json

__all__ = ["add_exchange"]


def add_exchange(group: typer.Typer) -> None:
    """Adds the commands to `orchestrator models`."""
    group.command("export")(_export)
    group.command("import")(_import)
    group.command("push")(_push)
    group.command("pull")(_pull)


def _export(
    tag: Tag,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A .tar.gz or .tar, a folder to put one in, or FOLDER/.")],
    as_json: AsJson = False,
) -> None:
    """Writes a version as one file, or as a new folder where PATH ends in /.

    Examples:

      orchestrator models export iris:production iris.tar.gz

      orchestrator models export iris:production iris/
    """
    with bytes_done(f"exporting {tag}") as progress:
        written = models.export_model(tag, path, progress=progress)
    if as_json:
        say_json({"path": str(written)})
    else:
        say(f"exported {written}")


def _import(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="What `export` wrote.")],
    tag: Annotated[str | None, typer.Option(help="To keep it under; default: its own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Adds a version that `export` wrote, with its labels and metadata. Its pickles are not read unless you say so.

    Example:

      orchestrator models import iris.tar.gz
    """
    with bytes_done(f"importing {path.name}") as progress:
        model = models.import_model(path, tag=tag, progress=progress)
    _say(model, "imported", as_json)


def _push(tag: Tag, as_json: AsJson = False) -> None:
    """Copies a version to the remote store: ORCHESTRATOR_REMOTE_DATABASE and ORCHESTRATOR_REMOTE_OBJECTS.

    Example:

      orchestrator models push iris:production
    """
    with bytes_done(f"pushing {tag}") as progress:
        model = models.push(tag, progress=progress)
    _say(model, "pushed", as_json)


def _pull(tag: Tag, as_json: AsJson = False) -> None:
    """Copies a version from the remote store. Its pickles are not read unless you say so.

    Example:

      orchestrator models pull iris:production
    """
    with bytes_done(f"pulling {tag}") as progress:
        model = models.pull(tag, progress=progress)
    _say(model, "pulled", as_json)


def _say(model: models.Model, done: str, as_json: bool) -> None:
    if as_json:
        say_json(document_of(model))
    else:
        say(f"{done} {model.tag}")
