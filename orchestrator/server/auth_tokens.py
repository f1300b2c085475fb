"""JSON Web Tokens: whose they are, and what their bearers may do."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import jwt

from orchestrator.server.auth_client import Client, Denied, readable
from orchestrator.server.auth_key_set import FetchedKeySet, KeySetFile, SecretFile, VerifyingKeys
from orchestrator.spec.config import Jwt

__all__ = ["Tokens", "keys_of"]

_REMEMBERED: Final = 4096
"""Tokens; to verify a signature takes longer than all the rest of our work for a small call."""
_REMEMBERED_S: Final = 60.0
"""After that a key that is no longer in the set counts."""
_LONGEST: Final = 16 * 2**10
_NEEDED: Final = ["exp", "sub"]
_REASONS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.exceptions.InvalidSubjectError: "the sub of the token is no text",
    jwt.MissingRequiredClaimError: "the token has no exp, no sub, or not the iss or aud that it needs",
}
_UNSIGNED: Final = "the token is not signed with a key that counts here"


def keys_of(options: Jwt) -> VerifyingKeys | None:
    """What tokens are verified with; None where none are taken.

    Raises:
        SettingsError: a file cannot be read.
    """
    if options.secret_file is not None:
        return SecretFile(options.secret_file)
    if options.jwks_file is not None:
        return KeySetFile(options.jwks_file)
    return FetchedKeySet(options.jwks_url) if options.jwks_url is not None else None


class Tokens:
    """Verifies tokens.

    Args:
        options: what a token must say.
        keys: that tokens are signed with.
    """

    def __init__(self, options: Jwt, keys: VerifyingKeys) -> None:
        self._options = options
        self._keys = keys
        self._known: OrderedDict[bytes, tuple[Client, float]] = OrderedDict()

    async def client(self, token: bytes) -> Client:
        """Whose token it is.

        Raises:
            Denied: it does not hold.
            BackendUnavailable: that cannot be said now.
        """
        hashed = hashlib.sha256(token).digest()
        known = self._known.get(hashed)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        claims = await self._claims(token)
        client = Client(readable(str(claims["sub"])), _scopes(claims.get(self._options.scope_claim)))
        left_s = float(claims["exp"]) + self._options.leeway_s - time.time()
        self._known[hashed] = client, time.monotonic() + min(left_s, _REMEMBERED_S)
        self._known.move_to_end(hashed)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return client

    async def _claims(self, token: bytes) -> dict[str, Any]:
        if len(token) > _LONGEST:
            raise Denied.wrong("the token is too long")
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            raise Denied.wrong("this is neither a key nor a token that counts here") from None
        failure = _UNSIGNED
        for _, algorithm, key in await self._keys.candidates(key_id):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    issuer=self._options.issuer,
                    audience=self._options.audience or None,
                    leeway=self._options.leeway_s,
                    options={"require": _NEEDED},
                )
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                continue  # perhaps with the next one
            except jwt.PyJWTError as error:
                failure = next((_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), _UNSIGNED)
                break
        raise Denied.wrong(failure)


def _scopes(claim: object) -> frozenset[str]:
    """Words in a text, as RFC 8693 has them, or a list, as others do."""
    if isinstance(claim, str):
        return frozenset(claim.split())
    return frozenset(each for each in claim if isinstance(each, str)) if isinstance(claim, list) else frozenset()
