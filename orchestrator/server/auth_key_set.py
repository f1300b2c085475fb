"""What tokens are verified with: a secret, or the public keys of a JSON Web Key Set, from a file or fetched."""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import httpx2
import jwt

from orchestrator.errors import BackendUnavailable
from orchestrator.server.auth_files import Watched

__all__ = ["FetchedKeySet", "KeySetFile", "SecretFile", "VerifyingKey", "VerifyingKeys"]

_SHORTEST_SECRET: Final = 32
"""Bytes; RFC 7518, 3.2."""
_KINDS: Final = ("RSA", "EC", "OKP")
"""Public keys. A secret in a set (`oct`) is none, and would make what everybody can read the proof."""
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_STALE_S: Final = 300.0
_PAUSE_S: Final = 10.0
"""Between two fetches that callers bring about by naming a key that is not there."""
_PAUSE_AFTER_FAILURE_S: Final = 2.0
_FETCH_S: Final = 5.0
_MOST_BYTES: Final = 2**20
logger = logging.getLogger("orchestrator.server")
VerifyingKey = tuple[str | None, str, "jwt.PyJWK | bytes"]
"""Id, the one algorithm that it is for, and the key."""


class VerifyingKeys(Protocol):
    """Where keys come from."""

    async def candidates(self, key_id: str | None) -> Sequence[VerifyingKey]:
        """The keys that may have signed a token.

        Args:
            key_id: that the token names.

        Raises:
            BackendUnavailable: they cannot be had now.
        """


class SecretFile:
    """One shared secret.

    Raises:
        SettingsError: the file cannot be read, or the secret is too short.
    """

    def __init__(self, path: str | Path) -> None:
        self._keys = Watched("auth.jwt.secret_file", path, _secret)

    async def candidates(self, _: str | None) -> Sequence[VerifyingKey]:
        return self._keys.fresh()


class KeySetFile:
    """A key set in a file.

    Raises:
        SettingsError: the file cannot be read, or is no key set.
    """

    def __init__(self, path: str | Path) -> None:
        self._keys = Watched("auth.jwt.jwks_file", path, _key_set)

    async def candidates(self, key_id: str | None) -> Sequence[VerifyingKey]:
        return _named(self._keys.fresh(), key_id) or _named(self._keys.fresh(now=True), key_id)


class FetchedKeySet:
    """A key set that its owner publishes. Calls wait for it once; after that it is fetched again behind their back.

    Args:
        url: of the set.
        stale_s: after so many seconds it is fetched again.
        pause_s: between two fetches for ids that are not in the set.
    """

    def __init__(self, url: str, *, stale_s: float = _STALE_S, pause_s: float = _PAUSE_S) -> None:
        self._url = url
        self._stale_s = stale_s
        self._pause_s = pause_s
        self._keys: Sequence[VerifyingKey] | None = None
        self._stale_at = self._not_before = 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def candidates(self, key_id: str | None) -> Sequence[VerifyingKey]:
        found = None if self._keys is None else _named(self._keys, key_id)
        now = time.monotonic()
        if not found and now >= self._not_before:
            await asyncio.shield(self._fetch())  # others wait for the same one
            found = None if self._keys is None else _named(self._keys, key_id)
        elif found and now >= self._stale_at and now >= self._not_before:
            self._fetch()
        if self._keys is None:
            raise BackendUnavailable(
                "the keys that tokens are signed with cannot be fetched now", retry_after_s=_PAUSE_AFTER_FAILURE_S
            )
        return found or ()

    def _fetch(self) -> "asyncio.Task[None]":
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_now())
        return self._fetching

    async def _fetch_now(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_S):
                self._keys = _key_set(await _document(self._url))
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
            # Its address may have a password.
            logger.error(
                "auth.jwt.jwks_url cannot be fetched: %s: %s", type(error).__name__, _without(error, self._url)
            )
            self._not_before = time.monotonic() + _PAUSE_AFTER_FAILURE_S
        else:
            self._not_before = time.monotonic() + self._pause_s
            self._stale_at = time.monotonic() + self._stale_s


async def _document(url: str) -> bytes:
    content = b""
    async with httpx2.AsyncClient(timeout=_FETCH_S) as http, http.stream("GET", url) as response:
        if response.status_code != 200:
            raise ValueError(f"the answer is {response.status_code}")
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > _MOST_BYTES:
                raise ValueError(f"it is longer than {_MOST_BYTES} bytes")
    return content


def _without(error: Exception, url: str) -> str:
    return str(error).replace(url, "the URL")


def _secret(content: bytes) -> Sequence[VerifyingKey]:
    secret = content.rstrip(b"\r\n")
    if len(secret) < _SHORTEST_SECRET:
        raise ValueError(f"the secret has {len(secret)} bytes, fewer than {_SHORTEST_SECRET}")
    return ((None, "HS256", secret),)


def _key_set(content: bytes) -> Sequence[VerifyingKey]:
    try:
        listed = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError):
        raise ValueError("it is no JSON Web Key Set") from None
    keys: list[VerifyingKey] = []
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict) or each.get("kty") not in _KINDS or each.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(each)
        except jwt.PyJWTError:  # of a kind that we do not know, beside others
            continue
        if key.algorithm_name in _ALGORITHMS:
            keys.append((key.key_id, key.algorithm_name, key))
    if not keys:
        raise ValueError(f"it has no public key for {', '.join(_ALGORITHMS)}")
    return keys


def _named(keys: Sequence[VerifyingKey], key_id: str | None) -> Sequence[VerifyingKey]:
    """Those of the id; all where the token names none."""
    return keys if key_id is None else [key for key in keys if key[0] == key_id]
