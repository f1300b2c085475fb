"""Whether the services that are known by their URL alone can answer."""

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

import httpx2

__all__ = ["ServedElsewhere"]

_TIMEOUT_S: Final = 1.0
_KNOWN_S: Final = 1.0
"""How long an answer counts: probes come often, and from several sides."""


class ServedElsewhere:
    """One service at a URL.

    Args:
        url: as `depends(url=...)` has it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._asked_at = -_KNOWN_S
        self._ready = False
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """For people: without what may be secret in it."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"

    async def ready(self) -> bool:
        """Whether its `/readyz` says so, at most a second ago."""
        async with self._lock:
            if time.monotonic() - self._asked_at >= _KNOWN_S:
                self._ready = await self._ask()
                self._asked_at = time.monotonic()
        return self._ready

    async def _ask(self) -> bool:
        try:
            async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
                response = await client.get(f"{self._url.rstrip('/')}/readyz")
        except (httpx2.HTTPError, OSError):
            return False
        return response.status_code < 400
