"""`orchestrator config`: what holds for a service, and who said so."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from orchestrator.cli.console import say
from orchestrator.cli.loading import Assignments, Bentoml, ConfigPath, WorkingDir, load
from orchestrator.cli.template import TemplateArguments, TemplateFile, read_template
from orchestrator.spec import Setting

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The configuration of a service.")


@app.callback()
def _config() -> None:
    """Keeps `show` a command of its own."""


@app.command()
def show(
    service: Annotated[str, typer.Argument(metavar="module:Class", help="The service.")],
    working_dir: WorkingDir = Path(),
    config: ConfigPath = None,
    assignments: Assignments = None,
    bentoml: Bentoml = False,
    arg: TemplateArguments = None,
    arg_file: TemplateFile = None,
    everything: Annotated[bool, typer.Option("--all", help="Show the defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """Shows the configuration that `serve` and `export` would use: key, value and where the value comes from.

    Only keys that somebody gave are shown, unless --all is given. Secrets are never shown.

    Examples:

      orchestrator config show service:Iris --working-dir examples/iris

      orchestrator config show service:Iris --set traffic.timeout=10 --all
    """
    definition = load(
        service,
        working_dir,
        config=config,
        assignments=assignments,
        bentoml=bentoml,
        arguments=read_template(arg, arg_file),
    )
    assert definition.configuration is not None
    settings = [each for each in definition.configuration.settings() if everything or each.source is not None]
    if as_json:
        say(orjson.dumps({"service": definition.spec.name, "settings": list(map(_document, settings))}).decode())
        return
    for line in _table([("KEY", "VALUE", "FROM"), *map(_row, settings)]):
        say(line)
    if not settings:
        say(f"nothing is set for {definition.spec.name}: --all shows the defaults")


def _document(setting: Setting) -> dict[str, Any]:
    return {
        "key": setting.key,
        "value": setting.value,
        "from": setting.source or "default",
        "without_effect": setting.without_effect,
    }


def _row(setting: Setting) -> tuple[str, str, str]:
    source = setting.source or "default"
    if setting.without_effect and setting.source:
        source += f"  (accepted, has no effect: {setting.without_effect})"
    value = setting.value if isinstance(setting.value, str) else orjson.dumps(setting.value, default=str).decode()
    return setting.key, value, source


def _table(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{key:{widths[0]}}  {value:{widths[1]}}  {source}" for key, value, source in rows]
