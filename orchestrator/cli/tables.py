"""What the commands show: rich on a terminal, plain columns for a pipe, JSON for machines."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from orchestrator.cli.console import say

__all__ = ["bytes_done", "say_json", "say_table", "size_in_words", "time_in_words"]

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def say_json(value: Any) -> None:
    """A result, as one line of JSON."""
    say(orjson.dumps(value, default=str).decode())


def say_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A result, a row a line; no cell is ever cut."""
    if sys.stdout.isatty():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console(highlight=False, emoji=False, markup=False).print(table)
        return
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        say("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def size_in_words(size: int) -> str:
    """Bytes in words: `1.2 MB`."""
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def time_in_words(at: datetime) -> str:
    """A moment in the time zone of this machine, to the second."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def bytes_done(words: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, where that is a terminal.

    Yields:
        What is to be told the bytes that are done, and all that there are; None where nobody would see it.
    """
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
