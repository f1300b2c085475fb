"""`orchestrator deploy`, `rollback`, and `models deploy | rollback | status`: versions on running servers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.console import note, say
from orchestrator.cli.deployment import run_deployment_hooks
from orchestrator.cli.fleet import FarTritons, Operation, far_tritons
from orchestrator.cli.loading import Assignments, Bentoml, ConfigPath, WorkingDir, load, note_dropped
from orchestrator.cli.servers import RunningServer, chosen, running_servers
from orchestrator.cli.tables import say_json, say_table, time_in_words
from orchestrator.cli.template import TemplateArguments, TemplateFile, read_template
from orchestrator.deployment import Changed, Deployer, Report, ServerStatus, ServiceCode, StepDone, check_placement
from orchestrator.errors import OrchestratorError, SettingsError
from orchestrator.server.operator import CodeRequest
from orchestrator.spec import Tag
from orchestrator.worker.snapshot import take_snapshot

__all__ = ["add_deployment", "deploy", "rollback"]

Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="The server, by the URL that `serve` printed.")
]
Everywhere = Annotated[bool, typer.Option("--all", help="Every running server that uses it.")]
Tritons = Annotated[
    str | None,
    typer.Option(
        "--triton",
        metavar="URL[,URL]",
        help="Tritons in containers or on other machines: grpc://host:8001; a name stands for all its machines.",
    ),
]
Repository = Annotated[
    Path | None,
    typer.Option(
        "--repository", metavar="DIR", help="With --triton: the model repository that they read, as it is here."
    ),
]
SkipSilent = Annotated[
    bool, typer.Option("--skip-silent", help="With --triton: go on without machines that do not answer.")
]
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
    triton: Tritons = None,
    repository: Repository = None,
    skip_silent: SkipSilent = False,
    before: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="With --triton, after an export: a folder with the code that serves, to keep it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Puts new code of a service on the server that runs it, without a failed request.

    The new version is loaded beside the old one, which takes every request until the new one is ready. Its APIs must be
    the same; `orchestrator rollback CLASS` goes back. The models that the service uses stay as they are, and so do the
    services that it calls: each is deployed by itself.

    Examples:

      orchestrator deploy service:Iris --working-dir examples/iris

      orchestrator deploy service:Iris --triton grpc://triton:8001 --repository model_repository
    """
    far = far_tritons(triton, repository, skip_silent, server=server, everywhere=everywhere)
    if far is None and before is not None:
        raise SettingsError("--before goes with --triton")
    definition = load(
        service,
        working_dir,
        config=config,
        assignments=assignments,
        bentoml=bentoml,
        arguments=read_template(arg, arg_file),
    )
    note_dropped(definition)
    spec, folder = definition.spec, working_dir.resolve()
    servers = [] if far is not None else chosen(spec.name, server, everywhere)
    versioned = [served.status.versioned for served in servers] if far is None else [far.versioned]
    if not any(spec.name in names for names in versioned):
        # Alone it may run elsewhere than among those that call it; what the server has is what counts.
        check_placement(spec)
    code = ServiceCode(spec, folder, take_snapshot(folder))
    run_deployment_hooks(definition)
    if far is not None:
        _do([_far(far, f"the deployment of {spec.target}", far.deploy_code(code, before))], as_json)
    else:
        body = CodeRequest.of(code).model_dump()
        _do([_near(each, "/deploy-code", body) for each in servers], as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A stored model, a service, or one of Triton's models.")],
    server: Server = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
    triton: Tritons = None,
    repository: Repository = None,
    skip_silent: SkipSilent = False,
) -> None:
    """Goes back to the version that served before, on a running server; again: to the one before that.

    Examples:

      orchestrator models rollback text_det

      orchestrator rollback Iris --triton grpc://triton:8001 --repository model_repository
    """
    far = far_tritons(triton, repository, skip_silent, server=server, everywhere=everywhere)
    if far is not None:

        def roll_back(deployer: Deployer, report: Report) -> Awaitable[list[Changed]]:
            return deployer.roll_back(name, report)

        _do([_far(far, f"the rollback of {name}", roll_back)], as_json)
    else:
        _do([_near(each, "/rollback", {"name": name}) for each in chosen(name, server, everywhere)], as_json)


def _deploy_model(
    tag: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="A stored model; default: the newest version.")],
    server: Server = None,
    everywhere: Everywhere = False,
    triton: Tritons = None,
    repository: Repository = None,
    skip_silent: SkipSilent = False,
    as_json: AsJson = False,
) -> None:
    """Puts a version of a stored model on the server that uses that model, without a failed request.

    It is loaded beside the old one and proves itself with the sample that was stored with it; a version that does not load
    or gives other numbers never takes a request.

    Examples:

      orchestrator models deploy text_det:4

      orchestrator models deploy text_det:production --server http://127.0.0.1:3000

      orchestrator models deploy text_det:4 --triton grpc://gpu1:8001,grpc://gpu2:8001 --repository /srv/models
    """
    far = far_tritons(triton, repository, skip_silent, server=server, everywhere=everywhere)
    try:
        model = Tag.of(tag)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if far is not None:

        def deploy_model(deployer: Deployer, report: Report) -> Awaitable[list[Changed]]:
            return deployer.deploy_model(model, report)

        _do([_far(far, f"the deployment of {model}", deploy_model)], as_json)
    else:
        _do([_near(each, "/deploy", {"model": tag}) for each in chosen(model.name, server, everywhere)], as_json)


def _status(
    triton: Tritons = None, repository: Repository = None, skip_silent: SkipSilent = False, as_json: AsJson = False
) -> None:
    """What the running servers serve, and what a rollback leads to.

    Example:

      orchestrator models status --triton grpc://triton:8001 --repository model_repository
    """
    far = far_tritons(triton, repository, skip_silent)
    servers = [far.status()] if far is not None else [server.status for server in running_servers()]
    if as_json:
        say_json([status.model_dump(mode="json") for status in servers])
        return
    for status in servers:
        names = ", ".join((status.service, *status.others))
        say(f"{status.url} {names}{_process_of(status)}")
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


def _process_of(status: ServerStatus) -> str:
    if status.pid is None:
        return ""
    return f" (process {status.pid}{', --reload' if status.reloads else ''})"


def add_deployment(models: typer.Typer) -> None:
    """Adds the commands that are about running servers to `orchestrator models`."""
    models.command("deploy")(_deploy_model)
    models.command("status")(_status)


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be done, and by whom.

    Attributes:
        url: of those who do it.
        perform: does it, and tells of each step.
    """

    url: str
    perform: Callable[[Report], list[Changed]]


def _near(server: RunningServer, path: str, body: Any) -> _Order:
    """For a server of this machine."""

    def perform(report: Report) -> list[Changed]:
        changed = []
        for event in server.order(path, body):
            if event["kind"] == "step":
                report(StepDone.model_validate(event))
            else:
                changed.append(Changed.model_validate(event))
        return changed

    return _Order(server.status.url, perform)


def _far(tritons: FarTritons, what: str, operation: Operation) -> _Order:
    return _Order(tritons.url, partial(tritons.order, what, operation))


def _do(orders: Sequence[_Order], as_json: bool) -> None:
    """Has each done; one that fails does not keep the others from it.

    Raises:
        OrchestratorError: the first one's.
    """
    outcomes, errors = [], []
    for order in orders:
        try:
            changed = order.perform(partial(_tell, as_json=as_json))
        except OrchestratorError as error:
            if len(orders) > 1:
                note(f"{order.url}: {error}")
            errors.append(error)
        else:
            outcomes.append({"server": order.url, "changed": [each.model_dump(mode="json") for each in changed]})
            if not as_json:
                _say(order.url, changed)
    if as_json and outcomes:
        say_json(outcomes)
    if errors:
        raise errors[0]


def _tell(step: StepDone, as_json: bool) -> None:
    if not as_json and step.step in _STEPS:
        note(f"{step.model} {step.version}: {_STEPS[step.step]} ({step.seconds:.2f} s)")


def _say(url: str, changed: Sequence[Changed]) -> None:
    for each in changed:
        for line in each.notes:
            note(line)
        before = "" if each.before == each.version else f", before: {each.before_what}"
        say(f"{url} {each.model}: {each.what}{before}")
