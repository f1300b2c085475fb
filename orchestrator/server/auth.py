"""Access: who may send a request, and how many. Asked before anything of a body is read."""

from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from orchestrator.errors import CallError
from orchestrator.server.auth_client import CHECKED_CLIENT, Client, Denied
from orchestrator.server.auth_keys import KeyFile
from orchestrator.server.auth_rights import Rights
from orchestrator.server.auth_tokens import Tokens, keys_of
from orchestrator.server.paths import route_of
from orchestrator.server.rate import Rates
from orchestrator.spec.config import Auth

__all__ = ["Authenticator", "Guard", "Refusal"]

_POLICY_VIOLATION: Final = 1008
_BEARER: Final = b"bearer "
_DOTS_OF_A_TOKEN: Final = 2
Refusal = Callable[[Scope, Denied | CallError], ASGIApp]


class Authenticator:
    """Tells clients by their credentials.

    Raises:
        SettingsError: a file that the configuration names cannot be used.
    """

    def __init__(self, options: Auth) -> None:
        self._keys = None if options.keys_file is None else KeyFile(options.keys_file)
        keys = keys_of(options.jwt)
        self._tokens = None if keys is None else Tokens(options.jwt, keys)

    async def client(self, headers: Iterable[tuple[bytes, bytes]]) -> Client:
        """Who sends a request.

        Args:
            headers: as ASGI has them, names in lower case.

        Raises:
            Denied: there is no credential, or it does not hold.
            BackendUnavailable: that cannot be said now.
        """
        credential = _credential(headers)
        if not credential:
            raise Denied.missing()
        if self._tokens is not None and credential.count(b".") == _DOTS_OF_A_TOKEN:  # a key has none
            return await self._tokens.client(credential)
        if self._keys is not None and (client := self._keys.find(credential)) is not None:
            return client
        raise Denied.wrong("this is neither a key nor a token that counts here")


class Guard:
    """Lets a request in where its client has the scope that the route asks for, and has not sent too many.

    Args:
        app: what is behind.
        authenticator: tells clients.
        rights: of the routes.
        rates: of the clients.
        refusal: makes the answer to a request that is refused, and counts it.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, rights: Rights, rates: Rates, refusal: Refusal
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._rights = rights
        self._rates = rates
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # A request that came behind another one on its connection begins with what was set for that one.
        CHECKED_CLIENT.set("")
        scopes = self._rights.of(route_of(scope))
        if scopes is not None:
            try:
                client = await self._authenticator.client(scope["headers"])
                CHECKED_CLIENT.set(client.name)
                if scopes and scopes.isdisjoint(client.scopes):
                    raise Denied.too_far(client, scopes)
                self._rates.take(client.name)
            except (Denied, CallError) as error:
                if scope["type"] == "websocket":
                    await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
                else:
                    await self._refusal(scope, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _credential(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bearer's token, or else the API key; `Authorization` of another scheme is for somebody else."""
    key = b""
    for name, value in headers:
        if name == b"authorization":
            if value[: len(_BEARER)].lower() == _BEARER:
                return value[len(_BEARER) :].strip()
        elif name == b"x-api-key":
            key = value.strip()
    return key
