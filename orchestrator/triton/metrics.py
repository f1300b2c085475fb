"""Triton's Prometheus page."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final

import httpx2

from orchestrator.triton.addresses import resolved

__all__ = ["joined_pages", "read_all_metrics", "read_metrics"]

_LABEL: Final = "triton"
_SAMPLE: Final = re.compile(rb"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S.*)$")

_TIMEOUT_S = 2.0


async def read_metrics(url: str) -> bytes:
    """The page as it is.

    Args:
        url: such as `http://127.0.0.1:8002/metrics`.

    Raises:
        OSError: nothing answers there.
    """
    try:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
            return (await http.get(url)).raise_for_status().content
    except httpx2.HTTPError as error:
        raise OSError(str(error) or type(error).__name__) from error


async def read_all_metrics(addresses: Sequence[str]) -> bytes:
    """The pages of several Tritons as one, each sample with a label that says whose it is.

    Args:
        addresses: of their gRPC, `host:port`; their pages are at the port above.

    Raises:
        OSError: none of them answers.
    """
    machines = await resolved(addresses)
    urls = {machine: _url_of(machine) for machine in machines}
    pages = await asyncio.gather(*(read_metrics(url) for url in urls.values()), return_exceptions=True)
    found = {machine: page for machine, page in zip(urls, pages, strict=True) if isinstance(page, bytes)}
    if not found:
        raise OSError(f"no Triton at {', '.join(addresses)} has a page of metrics")
    return joined_pages(found)


def joined_pages(pages: Mapping[str, bytes]) -> bytes:
    """Pages of the same metrics as one: the lines of a metric must stand together.

    Args:
        pages: by what the label says.
    """
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for name, page in pages.items():
        family = b""
        for line in page.splitlines():
            if line.startswith((b"# HELP ", b"# TYPE ")):
                family = line.split(b" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
            elif match := _SAMPLE.match(line):
                metric, labels, rest = match.groups()
                label = f'{_LABEL}="{name}"'.encode()
                own = b",".join(filter(None, (labels, label)))
                samples.setdefault(family or metric, []).append(b"%s{%s} %s" % (metric, own, rest))
    lines = [line for family in {**heads, **samples} for line in (*heads.get(family, ()), *samples.get(family, ()))]
    return b"\n".join(lines) + b"\n"


def _url_of(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"http://{host}:{int(port) + 1}/metrics"
