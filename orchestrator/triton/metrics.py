"""Triton's Prometheus page."""

import httpx2

__all__ = ["read_metrics"]

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
