"""`orchestrator deploy`, `rollback`, and `models deploy | rollback | status`: versions on running servers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.console import note, say
from orchestrator.cli.deployment import run_deployment_hooks
from orchestrator.cli.loading import Assignments, Bentoml, ConfigPath, WorkingDir, load, note_dropped
from orchestrator.cli.servers import RunningServer, chosen, running_servers
from orchestrator.cli.tables import say_json, say_table, time_in_words
from orchestrator.cli.template import TemplateArguments, TemplateFile, read_template
from orchestrator.deployment import Changed, ServiceCode, StepDone, check_placement
from orchestrator.errors import OrchestratorError, SettingsError
from orchestrator.server.operator import CodeRequest
from orchestrator.spec import Tag
from orchestrator.worker.snapshot import take_snapshot

__all__ = ["add_deployment", "deploy", "rollback"]

Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="The server, by the URL that `serve` printed.")
]
Everywhere = Annotated[bool, typer.Option("--all", help="Every running server that uses it.")]
AsJson = Annotated[bool, typer.Option("--json", help="The outcome as one line of JSON.")]
_STEPS: Final = {"stage": "written", "load": "loaded and proved", "drain": "the version before has ended"}
"""Steps that a person waits for, in words."""


def deploy(
    service: Annotated[str, typer.Argument(metavar="module:Class", help="The service.")],
    working_dir: WorkingDir = Path(),
    config: ConfigPath = None,
    assignments: Assignments = None,
    bentoml: Bentoml = False,
    arg: TemplateArguments = None,
    arg_file: TemplateFile = None,
    server: Server = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Puts new code of a service on the server that runs it, without a failed request.

    The new version is loaded beside the old one, which takes every request until the new one is ready. Its APIs must be
    the same; `orchestrator rollback CLASS` goes back. The models that the service uses stay as they are, and so do the
    services that it calls: each is deployed by itself.

    Example:

      orchestrator deploy service:Iris --working-dir examples/iris
    """
    definition = load(
        service,
        working_dir,
        config=config,
        assignments=assignments,
        bentoml=bentoml,
        arguments=read_template(arg, arg_file),
    )
    note_dropped(definition)
    servers = chosen(definition.spec.name, server, everywhere)
    if not any(definition.spec.name in served.status.versioned for served in servers):
        # Alone it may run elsewhere than among those that call it; what the server has is what counts.
        check_placement(definition.spec)
    code = ServiceCode(definition.spec, working_dir.resolve(), take_snapshot(working_dir.resolve()))
    run_deployment_hooks(definition)
    _order(servers, "/deploy-code", CodeRequest.of(code).model_dump(), as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A stored model, a service, or one of Triton's models.")],
    server: Server = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Goes back to the version that served before, on a running server; again: to the one before that.

    Example:

      orchestrator models rollback text_det
    """
    _order(chosen(name, server, everywhere), "/rollback", {"name": name}, as_json)


def _deploy_model(
    tag: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="A stored model; default: the newest version.")],
    server: Server = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Puts a version of a stored model on the server that uses that model, without a failed request.

    It is loaded beside the old one and proves itself with the sample that was stored with it; a version that does not load
    or gives other numbers never takes a request.

    Examples:

      orchestrator models deploy text_det:4

      orchestrator models deploy text_det:production --server http://127.0.0.1:3000
    """
    try:
        name = Tag.of(tag).name
    except ValueError as error:
        raise SettingsError(str(error)) from None
    _order(chosen(name, server, everywhere), "/deploy", {"model": tag}, as_json)


def _status(as_json: AsJson = False) -> None:
    """What the running servers serve, and what a rollback leads to."""
    servers = [server.status for server in running_servers()]
    if as_json:
        say_json([status.model_dump(mode="json") for status in servers])
        return
    for status in servers:
        names = ", ".join((status.service, *status.others))
        say(f"{status.url} {names} (process {status.pid}{', --reload' if status.reloads else ''})")
        say_table(
            ("MODEL", "SERVES", "SINCE", "BEFORE", "STATES"),
            [
                (
                    model.model,
                    model.what,
                    time_in_words(model.since),
                    model.before or "-",
                    ", ".join(f"{version} {state}" for version, state in model.states.items()),
                )
                for model in status.models
            ],
        )
    if not servers:
        note("no server of yours runs here that can be deployed to")


def add_deployment(models: typer.Typer) -> None:
    """Adds the commands that are about running servers to `orchestrator models`."""
    models.command("deploy")(_deploy_model)
    models.command("status")(_status)


def _order(servers: Sequence[RunningServer], path: str, body: Any, as_json: bool) -> None:
    """Has each server do it; one that fails does not keep the others from it.

    Raises:
        OrchestratorError: the first one's.
    """
    outcomes, errors = [], []
    for server in servers:
        changed: list[Changed] = []
        try:
            for event in server.order(path, body):
                if event["kind"] == "step":
                    _tell(StepDone.model_validate(event), as_json)
                else:
                    changed.append(Changed.model_validate(event))
        except OrchestratorError as error:
            if len(servers) > 1:
                note(f"{server.status.url}: {error}")
            errors.append(error)
        else:
            outcomes.append(
                {"server": server.status.url, "changed": [each.model_dump(mode="json") for each in changed]}
            )
            if not as_json:
                _say(server, changed)
    if as_json and outcomes:
        say_json(outcomes)
    if errors:
        raise errors[0]


def _tell(step: StepDone, as_json: bool) -> None:
    if not as_json and step.step in _STEPS:
        note(f"{step.model} {step.version}: {_STEPS[step.step]} ({step.seconds:.2f} s)")


def _say(server: RunningServer, changed: Sequence[Changed]) -> None:
    for each in changed:
        for line in each.notes:
            note(line)
        before = "" if each.before == each.version else f", before: {each.before_what}"
        say(f"{server.status.url} {each.model}: {each.what}{before}")
