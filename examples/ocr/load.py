"""Requests a second of a running server: one caller alone, then several at once; and the batches that Triton made of them.

orchestrator serve service:Ocr --working-dir examples/ocr
python examples/ocr/load.py http://127.0.0.1:3000
"""

import argparse
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import httpx2
from page import PAGE, draw

import orchestrator

MODELS: Final = ("detector", "classifier", "recognizer")
_SIZE: Final = re.compile(r'^orchestrator_model_batch_size_(sum|count)\{model="Ocr\.(\w+)"[^}]*\} (\S+)', re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the service's throughput.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:3000")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--requests", type=int, default=16, help="of a round")
    parser.add_argument(
        "--rounds", type=int, default=5, help="alone and at once take turns, so that both see the same machine"
    )
    arguments = parser.parse_args()
    run(arguments.url, 1, 2)  # warm
    measures = {callers: Measure() for callers in (1, arguments.callers)}
    for _ in range(arguments.rounds):
        for callers, measure in measures.items():
            before = batches(arguments.url)
            measure.rates.append(run(arguments.url, callers, arguments.requests))
            after = batches(arguments.url)
            for model in MODELS:
                measure.counts[model].update({what: after[model][what] - before[model][what] for what in after[model]})
    print(f"{'callers':>7}  {'requests/s':>10}  rows a batch: {', '.join(MODELS)}")
    for callers, measure in measures.items():
        sizes = [f"{measure.counts[model]['sum'] / measure.counts[model]['count']:.1f}" for model in MODELS]
        print(f"{callers:>7}  {median(measure.rates):>10.2f}  {', '.join(sizes)}")


@dataclass
class Measure:
    """What so many callers got.

    Attributes:
        rates: requests a second, of each round.
        counts: model -> rows (`sum`) and batches (`count`).
    """

    rates: list[float] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {model: Counter() for model in MODELS})


def run(url: str, callers: int, requests: int) -> float:
    """Reads the README's page so many times; gives requests a second.

    Raises:
        SystemExit: an answer was wrong.
    """
    page, texts = draw(PAGE), [line.text for line in PAGE]
    with orchestrator.SyncHTTPClient(url, timeout=120) as client, ThreadPoolExecutor(callers) as pool:
        start = time.perf_counter()
        answers = list(pool.map(lambda _: client.read(image=page), range(requests)))
        seconds = time.perf_counter() - start
    for answer in answers:
        if [line["text"] for line in answer] != texts:
            raise SystemExit(f"it read {answer}")
    return requests / seconds


def batches(url: str) -> dict[str, dict[str, int]]:
    """Model -> rows (`sum`) and batches (`count`) until now."""
    found: dict[str, dict[str, int]] = {}
    for what, model, value in _SIZE.findall(httpx2.get(f"{url}/metrics", timeout=30).text):
        found.setdefault(model, {})[what] = int(float(value))
    return found


if __name__ == "__main__":
    main()
