"""Who a request comes from, once that is checked."""

import contextlib
import hashlib
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from orchestrator.server.auth_rights import EVERYTHING
from orchestrator.server.problems import problem
from orchestrator.server.reply import Reply

__all__ = ["CHECKED_CLIENT", "Client", "Denied", "readable"]

CHECKED_CLIENT: Final[ContextVar[str]] = ContextVar("checked_client", default="")
"""Name of the client whose request this task answers; empty where nobody has asked for one."""
_LONGEST: Final = 128
_SAFE: Final = "@:/|+=~"


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody with a credential that holds.

    Attributes:
        name: for the log, and for what is shared out between clients; harmless in a line of text.
        scopes: what they may do.
    """

    name: str
    scopes: frozenset[str]


class Denied(Exception):
    """A request without the credential that it needs.

    Args:
        status: 401 where the credential is missing or does not hold, 403 where it does not reach so far.
        code: kind of error.
        detail: one sentence, without any of what was sent.
        challenge: parameters for `WWW-Authenticate: Bearer`.
    """

    def __init__(self, status: int, code: str, detail: str, **challenge: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.challenge = challenge

    @classmethod
    def missing(cls) -> "Denied":
        detail = "this needs a key or a token: send Authorization: Bearer ... or X-API-Key"
        return cls(401, "unauthenticated", detail)

    @classmethod
    def wrong(cls, detail: str) -> "Denied":
        """It was sent, and does not hold."""
        return cls(401, "unauthenticated", detail, error="invalid_token", error_description=detail)

    @classmethod
    def too_far(cls, client: Client, scopes: Iterable[str]) -> "Denied":
        """It holds, and has none of the scopes of which one is needed."""
        wanted = sorted(set(scopes) - {EVERYTHING})  # the service before its APIs
        detail = f"{client.name} has not the scope {' or '.join(wanted)}"
        return cls(403, "forbidden", detail, error="insufficient_scope", scope=wanted[0])

    def problem(self, realm: str, request_id: str) -> Reply:
        """The answer.

        Args:
            realm: what is guarded.
        """
        parameters = ", ".join(f'{name}="{value}"' for name, value in {"realm": realm, **self.challenge}.items())
        headers = {"WWW-Authenticate": f"Bearer {parameters}", "Cache-Control": "no-store"}
        return problem(self.status, self.code, self.detail, request_id, headers=headers)


def readable(name: str) -> str:
    """Any text as a short name on one line; different texts have different names."""
    with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair
        quoted = quote(name, safe=_SAFE)
        if len(quoted) <= _LONGEST:
            return quoted
    return "sha256:" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
