"""`orchestrator export`: a service as a Triton model repository."""

import os
from pathlib import Path
from typing import Annotated

import orjson
import typer

from orchestrator.cli.console import note, say
from orchestrator.cli.loading import Assignments, Bentoml, ConfigPath, WorkingDir, load, models_of_graph
from orchestrator.cli.template import TemplateArguments, TemplateFile, read_template
from orchestrator.compiler import RepositoryPlan, Target, check_repository, plan_graph, write_repository
from orchestrator.sdk import Definition

__all__ = ["export", "plan_for"]


def plan_for(definition: Definition, repository: Path, working_dir: Path, target: Target) -> RepositoryPlan:
    """The plan of a service and of those that it reaches. Their code stays where it is; the repository names its folder."""
    service_path = os.path.relpath(working_dir.resolve(), repository.resolve())
    services = [each.spec for each in definition.graph]
    return plan_graph(services, target=target, service_path=service_path, models=models_of_graph(definition))


def export(
    target_service: Annotated[
        str, typer.Argument(metavar="module:Class", help="The service; or model:NAME[:VERSION], a stored model.")
    ],
    repository: Annotated[Path, typer.Option(help="Folder of the model repository.")] = Path("model_repository"),
    target: Annotated[
        Target, typer.Option(help="Which Triton will run it: the embedded one, or NVIDIA's container.")
    ] = Target.EMBEDDED,
    working_dir: WorkingDir = Path(),
    config: ConfigPath = None,
    assignments: Assignments = None,
    bentoml: Bentoml = False,
    arg: TemplateArguments = None,
    arg_file: TemplateFile = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 where the repository is not what the service says."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Writes the Triton model repository of a service.

    The same service gives the same bytes. The service's own code is not copied: the repository names its folder, relative
    to itself.

    Examples:

      orchestrator export service:Iris --working-dir examples/iris

      orchestrator export service:Iris --working-dir examples/iris --check
    """
    definition = load(
        target_service,
        working_dir,
        config=config,
        assignments=assignments,
        bentoml=bentoml,
        arguments=read_template(arg, arg_file),
    )
    plan = plan_for(definition, repository, working_dir, target)
    differences = check_repository(plan, repository)
    if not check:
        write_repository(plan, repository)
    files = [str(path) for path in (*plan.files, *plan.copies)]
    if as_json:
        outcome = {
            "repository": str(repository),
            "models": plan.models,
            "files": files,
            "differences": differences,
            "service": orjson.Fragment(definition.spec.model_dump_json(exclude_defaults=True)),
            "others": [orjson.Fragment(each.spec.model_dump_json(exclude_defaults=True)) for each in definition.others],
        }
        say(orjson.dumps(outcome).decode())
    elif check:
        for line in differences:
            note(line)
        say("differs: run `orchestrator export` again" if differences else f"{repository} is what the service says")
    else:
        for path in files:
            note(f"{repository / path}")
        say(f"exported {', '.join(plan.models)} to {repository}")
    if check and differences:
        raise typer.Exit(1)
