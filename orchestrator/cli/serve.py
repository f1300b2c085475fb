"""`orchestrator serve`: a service, from the class to the answer."""

import os
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.deployment import run_deployment_hooks
from orchestrator.cli.engine import engine_for
from orchestrator.cli.frontend import FrontendPlan, check_tls, listen, run_frontend, url_of
from orchestrator.cli.loading import Assignments, Bentoml, ConfigPath, WorkingDir, load, note_dropped
from orchestrator.cli.operator import operated
from orchestrator.cli.reload import run_reloading
from orchestrator.cli.template import TemplateArguments, TemplateFile, read_template
from orchestrator.errors import OrchestratorError, SettingsError
from orchestrator.logs import FORMAT_VARIABLE
from orchestrator.server.auth import Authenticator
from orchestrator.settings import Settings
from orchestrator.spec import Placement

__all__ = ["serve"]

_SERVICE_FLAGS = frozenset({"--working-dir", "--config", "--set", "--bentoml", "--arg", "--arg-file"})


def serve(
    service: Annotated[
        str, typer.Argument(metavar="module:Class", help="The service; or model:NAME[:VERSION], a stored model.")
    ],
    host: Annotated[str | None, typer.Option(help="Address to listen on (http.host); default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (http.port); 0 takes a free one; default 3000.")
    ] = None,
    working_dir: WorkingDir = Path(),
    config: ConfigPath = None,
    assignments: Assignments = None,
    bentoml: Bentoml = False,
    arg: TemplateArguments = None,
    arg_file: TemplateFile = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Front-end processes (not workers of the service).")] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Load the service again whenever its folder changes.")
    ] = False,
    triton: Annotated[
        str,
        typer.Option(
            help="embedded: start one; docker: start one in a container; grpc://host:8001: use one that runs, or several "
            "with commas.",
            metavar="embedded|docker|URL",
        ),
    ] = "embedded",
    await_triton: Annotated[
        bool,
        typer.Option(
            "--await-triton", help="With a URL: start before that Triton answers; `/readyz` says when it does."
        ),
    ] = False,
    allow_internal_urls: Annotated[
        bool,
        typer.Option("--allow-internal-urls", help="Fetch files for callers also from addresses that are not public."),
    ] = False,
    max_body_mb: Annotated[int | None, typer.Option(min=1, help="Longest request body in MiB; default 64.")] = None,
) -> None:
    """Serves a service: typed HTTP in front, Triton beneath, or the service's own process where it has `cmd`.

    Prints `ready http://...` (or `https://...`) once the first request can come. SIGTERM or Ctrl-C lets requests in
    flight finish.

    Examples:

      orchestrator serve service:Iris --working-dir examples/iris

      orchestrator serve service:Iris --port 8080 --workers 2

      orchestrator serve service:Iris --set traffic.timeout=10 --set workers=2

      orchestrator serve model:text_det:latest
    """
    stop_asked = _stop_on_signals()
    settings = Settings.load()
    flags = {"--host": f"http.host={host}"} if host is not None else {}
    if port is not None:
        flags["--port"] = f"http.port={port}"
    definition = load(
        service,
        working_dir,
        config=config,
        assignments=assignments,
        flags=flags,
        bentoml=bentoml,
        arguments=read_template(arg, arg_file),
    )
    os.environ[FORMAT_VARIABLE] = definition.spec.logging.format  # of all that is started from here
    note_dropped(definition)
    check_tls(definition.spec.ssl)
    Authenticator(definition.spec.auth)  # a file that cannot be read is said now, and not by each front-end process
    if reload and definition.spec.placement is Placement.COMMAND:
        raise SettingsError(f"--reload is not for {definition.spec.name}, which is a process of its own")
    with listen(definition.spec) as sock:
        try:
            for each in definition.graph:
                run_deployment_hooks(each)
            with engine_for(triton, definition, working_dir, reloads=reload, awaits=await_triton) as engine:
                plan = FrontendPlan(
                    service=definition.spec,
                    others=tuple(each.spec for each in definition.others),
                    grpc_url=engine.grpc_url,
                    elsewhere=engine.elsewhere,
                    metrics_url=engine.metrics_url,
                    working_dir=working_dir.resolve(),
                    scratch=engine.scratch,
                    max_body_bytes=(max_body_mb or settings.max_body_mb) * 2**20,
                    workers=workers,
                    allow_internal_urls=allow_internal_urls,
                    process=engine.process,
                    call_board=engine.call_board,
                    http_url=engine.http_url,
                )
                try:
                    with operated(definition, engine, url_of(definition.spec, sock), reloads=reload):
                        if reload:
                            run_reloading(plan, sock, engine, _export_command(service))
                        else:
                            run_frontend(plan, sock)
                finally:
                    # Stopping takes its time; a second Ctrl-C must not leave half of it behind.
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            sys.exit(0)
        except OrchestratorError:
            raise
        except Exception:
            # Where a class is being made, Python wraps the interrupt into an error of its own.
            if not stop_asked.is_set():
                raise
            sys.exit(0)


def _export_command(service: str) -> list[str]:
    """The `orchestrator export` of the same service: this command's own flags, as far as they say what the service is."""
    command = ["export", service]
    words = iter(sys.argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if name in _SERVICE_FLAGS:
            command += [word] if equals or name == "--bentoml" else [word, next(words, "")]
    return command


def _stop_on_signals() -> threading.Event:
    """Makes SIGTERM stop as Ctrl-C does; the event says that one of them came."""
    asked = threading.Event()

    def stop(_: int, __: types.FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, stop)
    return asked
