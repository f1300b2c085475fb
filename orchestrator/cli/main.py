"""The `orchestrator` command."""

import inspect
import sys

import typer

from orchestrator import __version__
from orchestrator.cli import config as config_command
from orchestrator.cli import convert as convert_command
from orchestrator.cli import deploy as deploy_command
from orchestrator.cli import explain as explain_command
from orchestrator.cli import export as export_command
from orchestrator.cli import keys as keys_command
from orchestrator.cli import metrics as metrics_command
from orchestrator.cli import models as models_command
from orchestrator.cli import serve as serve_command
from orchestrator.cli.console import fail, say
from orchestrator.cli.model_exchange import add_exchange
from orchestrator.cli.model_versions import add_versions
from orchestrator.errors import OrchestratorError

__all__ = ["app", "run"]

app = typer.Typer(
    name="orchestrator",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Write a Python class, serve it typed and batched on NVIDIA Triton.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong flag, variable or port, 3 the service cannot be loaded, 4 a server failed.",
)
app.command("serve")(serve_command.serve)
app.command("export")(export_command.export)
app.command("explain")(explain_command.explain_service)
app.command("deploy")(deploy_command.deploy)
app.command("rollback")(deploy_command.rollback)
app.command("metrics")(metrics_command.metrics)
app.command("convert")(convert_command.convert)
app.add_typer(models_command.app, name="models")
app.add_typer(config_command.app, name="config")
app.add_typer(keys_command.app, name="keys")
add_exchange(models_command.app)
add_versions(models_command.app)
deploy_command.add_deployment(models_command.app)


def _show_whole_summaries(of: typer.Typer) -> None:
    """Lists of commands have the first sentence of each, which Typer would cut at the end of a line."""
    for command in of.registered_commands:
        if command.callback is not None and command.short_help is None:
            summary, _, _ = (inspect.getdoc(command.callback) or "").partition("\n\n")
            command.short_help = " ".join(summary.split())
    for group in of.registered_groups:
        if group.typer_instance is not None:
            _show_whole_summaries(group.typer_instance)


_show_whole_summaries(app)


def _version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def run() -> None:
    """Entry point: every error of ours is one clear line and an exit code, never a traceback."""
    try:
        app()
    except OrchestratorError as error:
        sys.exit(fail(error))
    except BrokenPipeError:
        sys.exit(1)
