"""Measures the front-end beside its peers, on the same model: `python -m benchmarks.compare`. See README.md."""

import argparse
import math
import signal
import subprocess
import sys
import types
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.counters import counted_since, read_counters
from benchmarks.generator import LoadGenerator
from benchmarks.load import Job, Sample
from benchmarks.peers import IRIS, MODEL, Peer, all_peers
from benchmarks.processes import ServerFailed
from benchmarks.report import Cell, print_report, summarise, write_json

__all__ = ["main"]

_err = Console(stderr=True, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where a server did not come up or an answer was wrong."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cells, titles = _run(options)
    except ServerFailed as error:
        _err.print(f"error: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        _err.print("stopped")
        return 130
    summaries = summarise(cells)
    if options.json:
        write_json(options.json, {**vars(options), "json": str(options.json)}, summaries, cells)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120  # a file takes wide lines; rich would guess 80
    print_report(console, summaries, titles, cells)
    return _report_errors(cells, titles)


def _run(options: argparse.Namespace) -> tuple[list[Cell], dict[str, str]]:
    _train()
    peers = all_peers()
    with ExitStack() as stack:
        try:
            load = stack.enter_context(LoadGenerator())
            for peer in peers:
                stack.callback(peer.stop)
                _err.print(f"starting {peer.title}", style="dim", markup=False)
                peer.start()
            cells = _rounds(load, peers, options)
        finally:
            # Stopping takes its time; a second Ctrl-C must not leave half of it behind.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _err.print("stopping", style="dim")
    return cells, {peer.name: peer.title for peer in peers}


def _rounds(load: LoadGenerator, peers: Sequence[Peer], options: argparse.Namespace) -> list[Cell]:
    """Every cell in every round; within a round the peers take turns, and each round another one begins."""
    for peer in peers:
        sample, _ = _measure(load, peer, max(options.concurrency), 0.5)  # the first requests find everything cold
        if sample.errors or not sample.answers:
            raise ServerFailed(f"{peer.title} answers wrong, nothing was measured: {sample.errors}")
    cells: list[Cell] = []
    for number in range(options.rounds):
        _err.print(f"round {number + 1} of {options.rounds}", style="dim")
        for place, concurrency in enumerate(options.concurrency):
            turn = (number + place) % len(peers)
            for peer in (*peers[turn:], *peers[:turn]):
                sample, mean_batch = _measure(load, peer, concurrency, options.seconds)
                cells.append(Cell(number, peer.name, concurrency, sample, mean_batch))
    return cells


def _measure(load: LoadGenerator, peer: Peer, concurrency: int, seconds: float) -> tuple[Sample, float | None]:
    """One cell; where a Triton counts the peer's rows, too few of them are an error."""
    job = Job(peer.address, tuple(peer.exchanges()), peer.check, concurrency, seconds)
    before = read_counters(peer.triton.metrics_url, MODEL) if peer.triton else None
    sample = load.measure(job)
    if peer.triton is None or before is None:
        return sample, None
    counted = counted_since(before, peer.triton.metrics_url, MODEL, sample.answers)
    missing = sample.answers - counted.rows
    if missing > 0:
        sample = replace(sample, errors={**sample.errors, "answers that Triton did not count": missing})
    return sample, counted.rows / counted.batches if counted.batches else None


def _train() -> None:
    if not (IRIS / "iris.joblib").exists():
        _err.print("training examples/iris", style="dim")
        done = subprocess.run([sys.executable, "train.py"], cwd=IRIS, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerFailed(f"examples/iris/train.py failed\n{done.stderr}")


def _report_errors(cells: Sequence[Cell], titles: dict[str, str]) -> int:
    failed = [cell for cell in cells if cell.sample.errors]
    for cell in failed:
        for reason, count in cell.sample.errors.items():
            where = f"{titles[cell.peer]}, {cell.concurrency} in flight, round {cell.round + 1}"
            _err.print(f"{where}: {reason}: {count}", style="red", markup=False)
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=_count, default=5, help="how often each cell is measured (default 5)")
    parser.add_argument("--seconds", type=_seconds, default=2.0, help="measured time of one cell (default 2)")
    parser.add_argument(
        "--concurrency", type=_count, nargs="+", default=[1, 16, 64], help="requests in flight (default 1 16 64)"
    )
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write everything measured there, too")
    options = parser.parse_args(arguments)
    options.concurrency = sorted(set(options.concurrency))
    return options


def _count(text: str) -> int:
    if not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: takes a number from 1 to 1000")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0.1 <= seconds <= 600):
        raise argparse.ArgumentTypeError(f"{text}: takes a number from 0.1 to 600")
    return seconds


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a file in a folder that exists")
    return path


def _interrupt(_: int, __: types.FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
