"""Tokens: `server/auth_tokens.py` and `server/auth_key_set.py`, with a real publisher of keys."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from orchestrator.errors import BackendUnavailable, SettingsError
from orchestrator.server import auth_tokens
from orchestrator.server.auth_client import Client, Denied
from orchestrator.server.auth_key_set import FetchedKeySet, VerifyingKeys
from orchestrator.server.auth_tokens import Tokens, keys_of
from orchestrator.spec.config import Jwt
from tests.signing import SigningKey, claims, key_server

SECRET = "a secret that is long enough for HS256"


def tokens(**options: Any) -> Tokens:
    jwt_options = Jwt(**options)
    keys = keys_of(jwt_options)
    assert keys is not None
    return Tokens(jwt_options, keys)


def with_secret(folder: Path, **options: Any) -> Tokens:
    file = folder / "secret"
    file.write_text(SECRET + "\n")
    return tokens(secret_file=str(file), **options)


def with_set(folder: Path, *keys: SigningKey, **options: Any) -> Tokens:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": [key.public for key in keys]}))
    return tokens(jwks_file=str(file), **options)


def client(of: Tokens, token: str) -> Client:
    return asyncio.run(of.client(token.encode()))


def refusal(of: Tokens, token: str) -> str:
    with pytest.raises(Denied) as caught:
        client(of, token)
    assert caught.value.status == 401
    assert caught.value.challenge["error"] == "invalid_token"
    return caught.value.detail


def signed(**more: Any) -> str:
    return jwt.encode(claims(**more), SECRET, algorithm="HS256")


def test_a_token_says_who_and_what(tmp_path: Path) -> None:
    of = with_secret(tmp_path)
    assert client(of, signed()) == Client("ada", frozenset({"Shop", "metrics"}))
    assert client(of, signed(scope=None)).scopes == frozenset()
    assert client(of, signed(scope=["a", 1, "b"])).scopes == {"a", "b"}
    assert client(of, signed(sub="Ada\nLovelace")).name == "Ada%0ALovelace"
    other = with_secret(tmp_path, scope_claim="scp")
    assert client(other, signed(scp=["Shop"])).scopes == {"Shop"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"exp": int(time.time()) - 60}, "the token has expired"),
        ({"exp": None}, "the token has no exp, no sub, or not the iss or aud that it needs"),
        ({"sub": None}, "the token has no exp, no sub, or not the iss or aud that it needs"),
        ({"sub": 5}, "the sub of the token is no text"),
        ({"nbf": int(time.time()) + 3600}, "the token is not valid yet"),
        ({"aud": "shop"}, "the token is for another audience"),
    ],
)
def test_a_token_that_does_not_hold_is_told_why(tmp_path: Path, said: dict[str, Any], reason: str) -> None:
    assert refusal(with_secret(tmp_path), signed(**said)) == reason


def test_issuer_and_audience_count_where_they_are_named(tmp_path: Path) -> None:
    of = with_secret(tmp_path, issuer="us", audience=("shop", "store"))
    assert client(of, signed(iss="us", aud=["x", "store"])).name == "ada"
    assert refusal(of, signed(iss="them", aud="shop")) == "the token is of another issuer"
    assert refusal(of, signed(iss="us", aud="x")) == "the token is for another audience"
    assert "not the iss or aud" in refusal(of, signed(iss="us"))
    assert "not the iss or aud" in refusal(of, signed(aud="shop"))


def test_clocks_may_differ_by_the_leeway(tmp_path: Path) -> None:
    now = int(time.time())
    assert client(with_secret(tmp_path), signed(exp=now - 3)).name == "ada"
    assert refusal(with_secret(tmp_path, leeway_s=0), signed(exp=now - 3)) == "the token has expired"


def unsigned_part(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_nobody_signs_but_who_has_the_key(tmp_path: Path) -> None:
    of = with_secret(tmp_path)
    unsigned = "the token is not signed with a key that counts here"
    forged = jwt.encode(claims(), "another secret that is long enough, too", algorithm="HS256")
    assert refusal(of, forged) == unsigned
    none = f"{unsigned_part({'alg': 'none', 'typ': 'JWT'})}.{unsigned_part(claims())}."
    assert refusal(of, none) == unsigned
    assert refusal(of, jwt.encode(claims(), SECRET * 2, algorithm="HS512")) == unsigned
    for text in ("a.b.c", "..", "é.é.é", "x" * 20_000):
        assert refusal(of, text) in ("this is neither a key nor a token that counts here", "the token is too long")


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """The old trick: a token signed with HS256, the secret being the public key that everybody can read."""
    key = SigningKey("one")
    of = with_set(tmp_path, key)
    assert client(of, key.sign()).name == "ada"
    head = unsigned_part({"alg": "HS256", "typ": "JWT", "kid": "one"}) + "." + unsigned_part(claims())
    for secret in (json.dumps(key.public).encode(), key.public["n"].encode()):
        signature = base64.urlsafe_b64encode(hmac.digest(secret, head.encode(), hashlib.sha256)).rstrip(b"=").decode()
        assert refusal(of, f"{head}.{signature}") == "the token is not signed with a key that counts here"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_public_keys_of_several_kinds(tmp_path: Path, algorithm: str) -> None:
    key, other = SigningKey("one", algorithm), SigningKey("one", algorithm)
    of = with_set(tmp_path, key, SigningKey("two", "RS256"))
    assert client(of, key.sign()).name == "ada"
    assert refusal(of, other.sign()) == "the token is not signed with a key that counts here"


def test_a_key_without_an_id_is_tried(tmp_path: Path) -> None:
    first, second = SigningKey("a"), SigningKey(None)
    assert client(with_set(tmp_path, first, second), second.sign()).name == "ada"


def test_a_set_is_read_again_once_it_has_changed(tmp_path: Path) -> None:
    old, new = SigningKey("old", "ES256"), SigningKey("new", "ES256")
    of = with_set(tmp_path, old)
    assert refusal(of, new.sign())
    with_set(tmp_path, old, new)
    assert client(of, new.sign()).name == "ada"


def test_what_was_verified_is_remembered_until_it_expires(tmp_path: Path) -> None:
    of = with_secret(tmp_path, leeway_s=0)
    token = signed(exp=int(time.time()) + 2)
    assert client(of, token) is client(of, token)
    time.sleep(2.1)
    assert refusal(of, token) == "the token has expired"


def test_only_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_tokens, "_REMEMBERED", 5)
    of = with_secret(tmp_path)
    for number in range(20):
        client(of, signed(sub=str(number)))
    assert len(of._known) == 5


@pytest.mark.parametrize(
    ("key", "content", "reason"),
    [
        ("secret_file", "short\n", "the secret has 5 bytes, fewer than 32"),
        ("jwks_file", "{}", "it is no JSON Web Key Set"),
        ("jwks_file", "x", "it is no JSON Web Key Set"),
        ("jwks_file", '{"keys": []}', "it has no public key for RS256"),
        ("jwks_file", '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA"}, 5]}', "it has no public key"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, key: str, content: str, reason: str) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    with pytest.raises(SettingsError, match=rf"auth\.jwt\.{key}=.*: cannot be used: {reason}"):
        tokens(**{key: str(file)})


# --- fetched ---


def fetched(keys: VerifyingKeys) -> Tokens:
    return Tokens(Jwt(), keys)


def test_keys_are_fetched_once_for_all_who_wait() -> None:
    key = SigningKey("one", "ES256")
    with key_server(key) as served:
        served.delay_s = 0.1
        of = fetched(FetchedKeySet(served.url))

        async def many() -> list[Client]:
            return await asyncio.gather(*(of.client(key.sign(sub=str(n)).encode()) for n in range(20)))

        assert {each.name for each in asyncio.run(many())} == {str(number) for number in range(20)}
        assert served.asked == 1


def test_an_id_that_is_not_there_has_them_fetched_again_but_not_for_everybody() -> None:
    old, new, never = (SigningKey(name, "ES256") for name in ("old", "new", "never"))
    with key_server(old) as served:
        of = fetched(FetchedKeySet(served.url, pause_s=0.3))

        async def rotate() -> None:
            await of.client(old.sign().encode())
            served.publish(old, new)
            for number in range(20):
                with pytest.raises(Denied):
                    await of.client(never.sign(sub=str(number)).encode())
            assert served.asked == 1
            await asyncio.sleep(0.35)
            assert (await of.client(new.sign().encode())).name == "ada"
            assert served.asked == 2

        asyncio.run(rotate())


def test_keys_that_are_old_are_fetched_behind_the_back_of_calls() -> None:
    key, new = SigningKey("one", "ES256"), SigningKey("one", "ES256")
    with key_server(key) as served:
        of = fetched(FetchedKeySet(served.url, stale_s=0, pause_s=0))

        async def calls() -> None:
            await of.client(key.sign().encode())
            served.delay_s = 0.3
            served.publish(new)
            started = time.monotonic()
            await of.client(key.sign(sub="b").encode())
            assert time.monotonic() - started < 0.3
            await asyncio.sleep(0.6)
            assert (await of.client(new.sign(sub="c").encode())).name == "c"
            await asyncio.sleep(0.6)  # for the fetch that this has begun

        asyncio.run(calls())


@pytest.mark.parametrize("answer", ["status", "body", "long"])
def test_where_they_cannot_be_fetched_a_later_try_may_pass(answer: str, caplog: pytest.LogCaptureFixture) -> None:
    key = SigningKey("one", "ES256")
    with key_server(key) as served:
        good = served.body
        if answer == "status":
            served.status = 500
        else:
            served.body = b"x" * (2 * 2**20 if answer == "long" else 1)
        keys = FetchedKeySet(served.url)
        of = fetched(keys)

        async def calls() -> None:
            for _ in range(5):
                with pytest.raises(BackendUnavailable, match="cannot be fetched now"):
                    await of.client(key.sign().encode())
            assert served.asked == 1
            served.status, served.body = 200, good
            await asyncio.sleep(2.1)
            assert (await of.client(key.sign().encode())).name == "ada"

        asyncio.run(calls())
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.getMessage().startswith("auth.jwt.jwks_url cannot be fetched: ValueError: ")


def test_nobody_there_is_told_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    of = fetched(FetchedKeySet("http://user:hush@127.0.0.1:1/keys"))
    with pytest.raises(BackendUnavailable):
        client(of, SigningKey("one", "ES256").sign())
    assert "hush" not in caplog.text
