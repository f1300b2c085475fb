"""Where Tritons are: `host:port`, one or several with commas; a name may stand for several machines."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from orchestrator.errors import SettingsError

__all__ = ["parse_addresses", "resolved"]


def parse_addresses(text: str) -> tuple[str, ...]:
    """Reads `grpc://host:8001`, or several with commas.

    Returns:
        `host:port` each, an IPv6 address in brackets.

    Raises:
        SettingsError: one is no such address.
    """
    found = []
    for each in text.split(","):
        parts = urlsplit(each.strip() if "//" in each else f"grpc://{each.strip()}")
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != "grpc" or not parts.hostname or not port:
            raise SettingsError(
                f"{each.strip()!r} is not the gRPC address of a Triton",
                hint="write grpc://host:8001; several with commas",
            )
        found.append(f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}")
    return tuple(dict.fromkeys(found))


async def resolved(addresses: Sequence[str]) -> tuple[str, ...]:
    """The machines behind addresses now, each once and in order; a name that stands for none is left out."""
    found: dict[str, None] = {}
    for address in addresses:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        for machine in await _machines(host):
            found[f"[{machine}]:{port}" if ":" in machine else f"{machine}:{port}"] = None
    return tuple(found)


async def _machines(host: str) -> list[str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    machines = sorted({str(answer[4][0]) for answer in answers})
    # Where it has both, the same machine would count twice.
    return [machine for machine in machines if ":" not in machine] or machines
