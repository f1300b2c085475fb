"""API keys: made here, kept as their hashes in a file, one line a key.

`sha256:<64 hex digits> <name> <scope> ...`; `#` begins a comment. A key has 256 random bits, so that its hash tells nothing
of it, and needs neither salt nor a slow function.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import SettingsError
from orchestrator.server.auth_client import Client
from orchestrator.server.auth_files import Watched

__all__ = ["KeyFile", "NewKey", "read_keys"]

_PREFIX: Final = "ork_"
"""So that people, and programs that look for leaked keys, know one when they see it."""
_HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SCOPE: Final = re.compile(r"\*|[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made.

    Attributes:
        key: the secret; this is the only place where it is in clear.
        line: of the file of keys, with an end.
    """

    key: str
    line: str

    @classmethod
    def make(cls, name: str, scopes: Iterable[str]) -> "NewKey":
        """Makes a key.

        Raises:
            SettingsError: the name, or a scope, is none.
        """
        scopes = tuple(scopes)
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name of a key", hint="letters, digits and . _ @ -, 64 at most")
        for scope in scopes:
            if not _SCOPE.fullmatch(scope):
                raise SettingsError(f"{scope!r} is no scope", hint="a service, service.api, metrics, or *")
        key = _PREFIX + secrets.token_urlsafe(32)
        return cls(key, " ".join((f"sha256:{_hash(key.encode()).hex()}", name, *scopes)) + "\n")


def read_keys(content: bytes) -> Mapping[bytes, Client]:
    """The clients of a file of keys, by hash.

    Raises:
        ValueError: a line is none, or two have one name.
    """
    clients: dict[bytes, Client] = {}
    for number, text in enumerate(content.decode().splitlines(), 1):
        words = text.partition("#")[0].split()
        if not words:
            continue
        hashed = _HASHED.fullmatch(words[0])
        if not hashed:  # not shown: it may be a key in clear
            raise ValueError(f"line {number} does not begin with sha256: and 64 hex digits")
        if len(words) < 2 or not _NAME.fullmatch(words[1]):
            raise ValueError(f"line {number} has no name of a key")
        for scope in words[2:]:
            if not _SCOPE.fullmatch(scope):
                raise ValueError(f"line {number}: {scope!r} is no scope")
        if any(client.name == words[1] for client in clients.values()):
            raise ValueError(f"line {number}: there is another key of the name {words[1]!r}")
        clients[bytes.fromhex(hashed[1])] = Client(words[1], frozenset(words[2:]))
    return clients


class KeyFile:
    """The keys that a service takes.

    Args:
        path: of the file of keys.

    Raises:
        SettingsError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._clients = Watched("auth.keys_file", path, read_keys)

    def find(self, key: bytes) -> Client | None:
        """Whose key it is; a key that has just been added is known at once.

        How long it takes tells nothing of the keys: what is looked up and compared is not the key but its hash, of which
        nobody can choose a part.
        """
        hashed = _hash(key)
        return self._clients.fresh().get(hashed) or self._clients.fresh(now=True).get(hashed)


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
