"""Cells -> medians, ratios within a round, a table, a file."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.load import Sample

__all__ = ["BASELINES", "Cell", "Summary", "print_report", "summarise", "write_json"]

BASELINES: Final = ("triton", "fastapi")
_SATURATED: Final = 0.85


@dataclass(frozen=True, slots=True)
class Cell:
    """One peer at one concurrency in one round.

    Attributes:
        mean_batch: rows in one execution, as Triton counted; None for a peer without Triton.
    """

    round: int
    peer: str
    concurrency: int
    sample: Sample
    mean_batch: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """Right answers per second against a baseline's in the same round: the median over the rounds, and the extremes."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One peer at one concurrency: medians over the rounds; ratios by the baseline's name."""

    peer: str
    concurrency: int
    per_second: float
    p50_ms: float
    p99_ms: float
    mean_batch: float | None
    errors: int
    ratios: dict[str, Ratio]


def summarise(cells: Sequence[Cell]) -> list[Summary]:
    """One summary for each peer and concurrency, in the order of the cells' first appearance."""
    keys = sorted({(cell.concurrency, cell.peer) for cell in cells}, key=lambda key: key[0])
    order = list(dict.fromkeys(cell.peer for cell in cells))
    keys.sort(key=lambda key: (key[0], order.index(key[1])))
    return [_summary(cells, peer, concurrency) for concurrency, peer in keys]


def _summary(cells: Sequence[Cell], peer: str, concurrency: int) -> Summary:
    by_round = {
        name: {cell.round: cell for cell in cells if cell.peer == name and cell.concurrency == concurrency}
        for name in {peer, *BASELINES}
    }
    mine = by_round[peer]
    batches = [cell.mean_batch for cell in mine.values() if cell.mean_batch is not None]
    return Summary(
        peer=peer,
        concurrency=concurrency,
        per_second=median(cell.sample.per_second for cell in mine.values()),
        p50_ms=_median(cell.sample.p50_ms for cell in mine.values()),
        p99_ms=_median(cell.sample.p99_ms for cell in mine.values()),
        mean_batch=median(batches) if batches else None,
        errors=sum(sum(cell.sample.errors.values()) for cell in mine.values()),
        ratios={name: ratio for name in BASELINES if (ratio := _ratio(mine, by_round[name])) is not None},
    )


def _ratio(mine: dict[int, Cell], baseline: dict[int, Cell]) -> Ratio | None:
    ratios = [
        cell.sample.per_second / baseline[number].sample.per_second
        for number, cell in mine.items()
        if number in baseline and baseline[number].sample.per_second
    ]
    return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else math.nan


def print_report(console: Console, summaries: Sequence[Summary], titles: dict[str, str], cells: Sequence[Cell]) -> None:
    """The table, and what one needs to know to read it."""
    failed = any(line.errors for line in summaries)
    table = Table(title="examples/iris, one row a request; medians over the rounds", title_justify="left", box=SIMPLE)
    table.padding = (0, 1)
    table.add_column("in\nflight", justify="right")
    table.add_column("peer", no_wrap=True)
    headings = ["req/s", "p50 ms", "p99 ms", "rows/\nbatch", *(f"against\n{titles[name]}" for name in BASELINES)]
    for heading in (*headings, "errors") if failed else headings:
        table.add_column(heading, justify="right", overflow="fold")
    previous = None
    for line in summaries:
        if previous not in (None, line.concurrency):
            table.add_section()
        table.add_row(
            "" if line.concurrency == previous else str(line.concurrency),
            titles[line.peer],
            f"{line.per_second:.0f}",
            f"{line.p50_ms:.2f}",
            f"{line.p99_ms:.2f}",
            "" if line.mean_batch is None else f"{line.mean_batch:.1f}",
            *(_ratio_text(line, name) for name in BASELINES),
            *([str(line.errors)] if failed else []),
        )
        previous = line.concurrency
    console.print(table)
    busiest = max(cells, key=lambda cell: cell.sample.client_cpu)
    console.print(
        f"{os.cpu_count()} cores, shared by load generator, front-end, Triton and model: the numbers are this "
        "machine's, only the ratios mean something. A ratio is the median over the rounds of req/s against that peer "
        "in the same round (lowest-highest); where that range includes 1.00, no difference was shown."
    )
    console.print(
        f"The load generator used at most {busiest.sample.client_cpu:.0%} of one core "
        f"({titles[busiest.peer]}, {busiest.concurrency} in flight)"
        + (": it, too, is a limit there." if busiest.sample.client_cpu > _SATURATED else ".")
    )


def _ratio_text(line: Summary, baseline: str) -> str:
    ratio = line.ratios.get(baseline)
    if ratio is None or line.peer == baseline:
        return "" if ratio is None else "1"
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def write_json(path: Path, options: dict[str, Any], summaries: Sequence[Summary], cells: Sequence[Cell]) -> None:
    """Everything measured, as JSON, in one step: whoever reads `path` finds a whole document, the old or the new."""
    document = {
        "options": options,
        "cores": os.cpu_count(),
        "summaries": [asdict(summary) for summary in summaries],
        "cells": [asdict(cell) for cell in cells],
    }
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        partial.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
