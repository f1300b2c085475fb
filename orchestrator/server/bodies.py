"""Reading a request's body, never more of it than allowed."""

from starlette.requests import Request

from orchestrator.errors import PayloadTooLarge

__all__ = ["read_body"]

_DRAINED = 4
"""How many times the limit is read and thrown away, so that a client that sends first and reads later gets the answer."""


async def read_body(request: Request, most: int) -> bytes:
    """The whole body.

    Args:
        most: bytes allowed.

    Raises:
        PayloadTooLarge: it is longer.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            chunks.append(chunk)
        else:
            chunks.clear()
            if size > most * _DRAINED:
                break
    if size > most:
        raise PayloadTooLarge(f"the body is over the limit of {most} bytes", hint="--max-body-mb raises it")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
