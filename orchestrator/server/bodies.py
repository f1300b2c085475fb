"""Reading a request: its body, never more of it than allowed, and what a method may know of it."""

from starlette.requests import ClientDisconnect, Request

from orchestrator.errors import CallCancelled, PayloadTooLarge
from orchestrator.spec import CallInfo

__all__ = ["call_info_of", "read_body"]

_DRAINED = 4
"""How many times the limit is read and thrown away, so that a client that sends first and reads later gets the answer."""


async def read_body(request: Request, most: int) -> bytes:
    """The whole body.

    Args:
        most: bytes allowed.

    Raises:
        PayloadTooLarge: it is longer.
        CallCancelled: the caller went away before its end.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                chunks.append(chunk)
            else:
                chunks.clear()
                if size > most * _DRAINED:
                    break
    except ClientDisconnect:
        raise CallCancelled("the caller went away before the end of the body") from None
    if size > most:
        raise PayloadTooLarge(f"the body is over the limit of {most} bytes", hint="--max-body-mb raises it")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def call_info_of(request: Request, request_id: str) -> CallInfo:
    """The request without its body."""
    client = request.client
    return CallInfo(
        method=request.method,
        url=str(request.url),
        headers=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw),
        client=(client.host, client.port) if client else None,
        request_id=request_id,
    )
