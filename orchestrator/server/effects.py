"""What a method asked of its HTTP response -> status, media type and headers of an answer."""

import logging
import re
from dataclasses import dataclass
from email.utils import formatdate
from http.cookies import CookieError, SimpleCookie
from time import time
from typing import Final

from orchestrator.errors import OutputMismatch
from orchestrator.server.reply import Pairs
from orchestrator.spec import Cookie, ResponseEffects

__all__ = ["BODILESS", "Asked", "asked_of"]

BODILESS: Final = frozenset({204, 205, 304})
"""Statuses whose answers have no body."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SERVERS_OWN: Final = frozenset(
    {
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "trailer",
        "te",
        "date",
        "x-request-id",
    }
)
_SAME_SITE: Final = frozenset({"lax", "strict", "none"})
logger = logging.getLogger("orchestrator.server")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Attributes:
        media_type: instead of the result's own; None to leave that.
        headers: to be added, cookies included.
    """

    status: int = 200
    media_type: str | None = None
    headers: Pairs = ()


_NOTHING: Final = Asked()


def asked_of(effects: ResponseEffects | None) -> Asked:
    """Reads the effects of one call.

    Raises:
        OutputMismatch: a status, a header or a cookie that HTTP does not have.
    """
    if effects is None or not (effects.status or effects.headers or effects.cookies):
        return _NOTHING
    status = 200 if effects.status is None else effects.status
    if not 200 <= status <= 599:
        raise OutputMismatch(f"the method asked for the status {status}; an answer has one from 200 to 599")
    media_type: str | None = None
    headers: list[tuple[str, str]] = []
    for name, value in effects.headers:
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise OutputMismatch(f"the method asked for the header {name!r}, which HTTP cannot carry")
        if name.lower() == "content-type":
            media_type = value
        elif name.lower() in _SERVERS_OWN:
            logger.warning("the header %s that a method asked for is the server's own and was left out", name)
        else:
            headers.append((name, value.strip()))
    headers += [("set-cookie", _cookie(cookie)) for cookie in effects.cookies]
    return Asked(status, media_type, tuple(headers))


def _cookie(cookie: Cookie) -> str:
    """The value of a Set-Cookie header (RFC 6265)."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar[cookie.key] = cookie.value
    except CookieError as error:
        raise OutputMismatch(f"the method asked for a cookie that HTTP cannot carry: {error}") from error
    morsel = jar[cookie.key]
    expires = cookie.expires
    attributes = {
        "max-age": cookie.max_age,
        "expires": formatdate(time() + expires, usegmt=True) if isinstance(expires, int) else expires,
        "path": cookie.path,
        "domain": cookie.domain,
        "samesite": cookie.samesite.lower() if cookie.samesite else None,
    }
    for name, value in attributes.items():
        if value is not None:
            if ";" in str(value) or _CONTROL.search(str(value)) or (name == "samesite" and value not in _SAME_SITE):
                raise OutputMismatch(f"the method asked for the cookie {cookie.key!r} with {name}={value!r}")
            morsel[name] = str(value)
    if cookie.secure:
        morsel["secure"] = True
    if cookie.httponly:
        morsel["httponly"] = True
    return morsel.OutputString()
