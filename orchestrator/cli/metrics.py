"""`orchestrator metrics`: what each model of a running server does now."""

import dataclasses
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import httpx2
import typer
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from orchestrator.cli.console import note, say
from orchestrator.cli.metrics_page import MetricsPage, ModelRates, rates_between
from orchestrator.cli.servers import running_servers
from orchestrator.cli.tables import say_json, say_table
from orchestrator.errors import BackendUnavailable, DeploymentError, OrchestratorError, SettingsError

__all__ = ["metrics"]

_TIMEOUT_S: Final = 10.0
_HEADINGS: Final = (
    "MODEL",
    "WHERE",
    "REQ/S",
    "P50",
    "P99",
    "BATCH",
    "QUEUE",
    "ACTIVE",
    "FAILED/S",
    "COPIES",
    "VERSIONS",
)
_ANYWHERE: Final = (("//0.0.0.0", "//127.0.0.1"), ("//[::]", "//[::1]"))


def metrics(
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="The server; default: the one that runs here.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="S", help="Seconds that a table is about.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a table.")] = False,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Has the key or token for the page, where that is guarded.")
    ] = None,
) -> None:
    """Shows what each model does: requests, how long they take and wait, batches, failures, versions.

    It reads the server's own page `/metrics` twice, so that the first table comes after the interval. P50 and P99 are what
    callers wait; of a model that only workers call, what its last minute's requests took in Triton. QUEUE is the mean wait
    in Triton for a batch to start, ACTIVE what runs or waits now. FAILED leaves out what was the caller's fault.

    Examples:

      orchestrator metrics

      orchestrator metrics --watch --interval 1

      orchestrator metrics --server https://models.example --token-file key.txt --json

    Exit codes: 0 shown, 1 no server answers or it has no such page, 2 a wrong flag.
    """
    url = _address(server)
    headers = {"Authorization": f"Bearer {_token(token_file)}"} if token_file is not None else {}
    verify = server is not None  # whoever runs on this machine has a certificate for another name
    with httpx2.Client(timeout=_TIMEOUT_S, headers=headers, verify=verify, follow_redirects=True) as http:
        tables = _tables(http, url, interval, watch)
        # Also where a shell has started this in the background, whose children do not hear Ctrl-C by themselves.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if as_json:
                for page, rates in tables:
                    _say_json(url, page, rates, interval)
            elif watch and sys.stdout.isatty():
                _show_live(url, tables)
            else:
                for number, (_, rates) in enumerate(tables):
                    if number:
                        say("")
                    say_table(_HEADINGS, [_cells(each) for each in rates])
        except KeyboardInterrupt:
            return


def _tables(
    http: httpx2.Client, url: str, interval_s: float, watch: bool
) -> Iterator[tuple[MetricsPage, list[ModelRates]]]:
    """A table for each interval; a watched server may be away for a while."""
    before = _read(http, url)
    while True:
        time.sleep(interval_s)
        try:
            now = _read(http, url)
        except BackendUnavailable as error:
            if not watch:
                raise
            note(str(error))
            continue
        yield now, rates_between(before, now)
        if not watch:
            return
        before = now


def _address(server: str | None) -> str:
    """The address of the server's page, without its end.

    Raises:
        DeploymentError: none is named, and none runs here.
        SettingsError: none is named, and several run here; or it is no URL.
    """
    if server is not None:
        if not server.startswith(("http://", "https://")):
            raise SettingsError(f"--server {server!r} is no URL", hint="write http://host:3000")
        return server.rstrip("/")
    urls = [each.status.url for each in running_servers()]
    if not urls:
        raise DeploymentError("no server of yours runs here", hint="--server URL names one")
    if len(urls) > 1:
        raise SettingsError(f"{len(urls)} servers run here", hint=f"--server names one of {', '.join(urls)}")
    url = urls[0].rstrip("/")
    for anywhere, here in _ANYWHERE:
        url = url.replace(anywhere, here)
    return url


def _token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"--token-file {file}: {error.strerror}") from error


def _read(http: httpx2.Client, url: str) -> MetricsPage:
    """The page.

    Raises:
        BackendUnavailable: nothing answers.
        OrchestratorError: what answers has no such page, or does not show it.
    """
    try:
        answer = http.get(f"{url}/metrics")
    except httpx2.HTTPError as error:
        raise BackendUnavailable(f"nothing answers at {url}: {error or type(error).__name__}") from error
    if answer.status_code in (401, 403):
        raise OrchestratorError(
            f"{url}/metrics is guarded", hint="--token-file names a file with a key that may read it"
        )
    if answer.status_code >= 500:
        raise BackendUnavailable(f"{url}/metrics answers {answer.status_code}")
    if answer.status_code != 200:
        raise OrchestratorError(f"{url} has no page of metrics", hint="the service may have metrics.enabled=false")
    try:
        return MetricsPage(answer.text)
    except ValueError as error:
        raise OrchestratorError(f"{url}/metrics cannot be read: {error}") from error


def _show_live(url: str, tables: Iterator[tuple[MetricsPage, list[ModelRates]]]) -> None:
    console = Console(highlight=False, emoji=False, markup=False)
    with Live(console=console, auto_refresh=False) as shown:
        for page, rates in tables:
            table = Table(
                title=f"{page.service} at {url}, {datetime.now():%H:%M:%S}", box=box.SIMPLE_HEAD, pad_edge=False
            )
            for number, heading in enumerate(_HEADINGS):
                table.add_column(heading, justify="left" if number < 2 else "right", overflow="fold")
            for each in rates:
                table.add_row(*_cells(each), style="red" if each.failures_per_s else None)
            shown.update(table, refresh=True)


def _say_json(url: str, page: MetricsPage, rates: Sequence[ModelRates], interval_s: float) -> None:
    say_json(
        {
            "at": datetime.now(UTC),
            "server": url,
            "service": page.service,
            "interval_s": interval_s,
            "models": [dataclasses.asdict(each) for each in rates],
        }
    )


def _cells(rates: ModelRates) -> list[str]:
    return [
        rates.name,
        rates.where,
        f"{rates.requests_per_s:.1f}",
        _duration(rates.p50_s),
        _duration(rates.p99_s),
        "-" if rates.batch_rows is None else f"{rates.batch_rows:.1f}",
        _duration(rates.queue_s),
        str(rates.in_flight),
        f"{rates.failures_per_s:.1f}" if rates.failures_per_s else "-",
        str(rates.instances),
        ", ".join(rates.versions) or "-",
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
