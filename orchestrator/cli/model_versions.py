"""`orchestrator models label | alias | history | rollback`: what points to a version, and what was done to it."""

from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator import models
from orchestrator.cli.console import say
from orchestrator.cli.deploy import Everywhere, Server
from orchestrator.cli.deploy import rollback as roll_back_server
from orchestrator.cli.models import AsJson, Tag, document_of
from orchestrator.cli.tables import say_json, say_table, time_in_words
from orchestrator.errors import SettingsError
from orchestrator.spec import LATEST

__all__ = ["add_versions"]


def add_versions(group: typer.Typer) -> None:
    """Adds the commands to `orchestrator models`."""
    group.command("label")(_label)
    group.command("alias")(_alias)
    group.command("history")(_history)
    group.command("rollback")(_roll_back)


def _label(
    tag: Tag,
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE|KEY-", help="To set, or to take away.")],
    as_json: AsJson = False,
) -> None:
    """Sets labels of a version, and takes labels away.

    Example:

      orchestrator models label iris:latest stage=production experimental-
    """
    model = models.label(tag, _changes(changes))
    if as_json:
        say_json({"tag": str(model.tag), "labels": dict(model.labels)})
    else:
        said = ", ".join(f"{key}={value}" for key, value in model.labels.items())
        say(f"{model.tag} {said or 'has no labels'}")


def _changes(texts: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if equals and key:
            found[key] = value
        elif text.endswith("-") and len(text) > 1:
            found[text[:-1]] = None
        else:
            raise SettingsError(f"{text!r}: takes KEY=VALUE to set a label, or KEY- to take it away")
    return found


def _alias(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The version; with --remove the name is enough.")],
    alias: Annotated[str, typer.Argument(help="Such as production.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away; its version stays.")] = False,
    as_json: AsJson = False,
) -> None:
    """Makes an alias point to a version, from wherever it pointed.

    Examples:

      orchestrator models alias iris:20261121-6xbgwm production

      orchestrator models alias iris production --remove
    """
    if remove:
        models.remove_alias(tag, alias)
        name = models.Tag.from_taglike(tag).name
        if as_json:
            say_json({"name": name, "removed": alias})
        else:
            say(f"{name}:{alias} is no more")
        return
    if ":" not in tag:
        raise SettingsError(f"{tag!r} names no version", hint=f"{tag}:{LATEST} is the newest one")
    model = models.set_alias(tag, alias)
    _say_alias(model, alias, as_json)


def _history(
    name: Annotated[str, typer.Argument(help="Of the model.")],
    as_json: AsJson = False,
) -> None:
    """Shows what happened to the versions of a model, the newest first.

    Example:

      orchestrator models history iris
    """
    events = models.history(name)
    if as_json:
        say_json(
            [{"at": e.at, "kind": e.kind, "name": e.name, "version": e.version, "detail": e.detail} for e in events]
        )
        return
    rows = [(time_in_words(e.at), e.kind, f"{e.name}:{e.version}", e.detail or "-") for e in events]
    say_table(("AT", "WHAT", "VERSION", "DETAIL"), rows)


def _roll_back(
    what: Annotated[str, typer.Argument(metavar="NAME:ALIAS|NAME", help="An alias; or what a running server serves.")],
    server: Server = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Moves an alias back to where it pointed before; or takes a running server back to the version before.

    Again: to the one before that.

    Examples:

      orchestrator models rollback iris:production

      orchestrator models rollback text_det
    """
    name, colon, alias = what.partition(":")
    if not colon:
        roll_back_server(name, server, everywhere, as_json)
        return
    if server is not None or everywhere:
        raise SettingsError(f"{what} is an alias in the store; --server and --all are for what a server serves")
    _say_alias(models.roll_back(name, alias), alias, as_json)


def _say_alias(model: models.Model, alias: str, as_json: bool) -> None:
    if as_json:
        say_json(document_of(model) | {"alias": alias})
    else:
        say(f"{model.tag.name}:{alias} is {model.tag}")
