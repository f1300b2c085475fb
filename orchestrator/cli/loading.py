"""The service that a command is about, as every command sees it: the class, and all that is said about how it runs."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.console import note
from orchestrator.cli.overrides import read_overrides
from orchestrator.formats import ModelFiles
from orchestrator.sdk import Definition, load_service
from orchestrator.settings import Settings
from orchestrator.spec import Layer, environment_in

__all__ = ["Assignments", "Bentoml", "ConfigPath", "WorkingDir", "load", "models_of_graph", "note_dropped"]

WorkingDir = Annotated[Path, typer.Option("--working-dir", help="Folder that the module is imported from.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Config file, YAML or TOML; default ORCHESTRATOR_CONFIG, then orchestrator.yaml in the working directory.",
    ),
]
Bentoml = Annotated[
    bool, typer.Option("--bentoml", help="The module says `import bentoml`: that is this product's own, from here on.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one key, such as traffic.timeout=10; may be given again."),
]


def load(
    target: str,
    working_dir: Path,
    *,
    config: Path | None = None,
    assignments: Sequence[str] | None = None,
    flags: Mapping[str, str] | None = None,
    bentoml: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Definition:
    """Reads the configuration from all its sources, then the class.

    The variables of `envs` are set in this process's environment: those that other sources than `@service` give before
    the user's module is imported, the rest after it.

    Args:
        target: `module:Class`.
        working_dir: folder of its module.
        config: file of `--config`.
        assignments: of `--set`.
        flags: other flags that are keys, such as `--port` -> `http.port=8080`.
        bentoml: `--bentoml`.
        arguments: template arguments, see `cli/template.py`.

    Raises:
        SettingsError: a source is wrong.
        DefinitionError: the class cannot be loaded.
    """
    overrides = read_overrides(Settings.load(), working_dir, config=config, assignments=assignments or (), flags=flags)
    os.environ.update(environment_in(target.partition(":")[2], overrides))
    definition = load_service(target, working_dir, overrides, bentoml=bentoml, arguments=arguments)
    for each in definition.graph:
        os.environ.update(each.spec.environment)
    _note_near_misses(definition, overrides)
    return definition


def models_of_graph(definition: Definition) -> dict[str, ModelFiles]:
    """The files of all models that the services of a graph declare, by the Triton model's name."""
    return {name: files for each in definition.graph for name, files in each.models.items()}


def note_dropped(definition: Definition) -> None:
    """Says which keys were given that nothing here looks at."""
    for setting in definition.configuration.settings() if definition.configuration else ():
        if not setting.kept:
            note(f"{setting.source}: {setting.key} is accepted and has no effect: {setting.without_effect}")


def _note_near_misses(definition: Definition, overrides: Sequence[Layer]) -> None:
    names = [each.spec.name for each in definition.graph]
    others = {layer.service for layer in overrides if layer.service not in (None, *names)}
    for name in names:
        for near in difflib.get_close_matches(name, [other for other in others if other], 1, 0.8):
            note(f"what is said about the service {near!r} is not for {name!r}")
