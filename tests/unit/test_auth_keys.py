"""API keys: `server/auth_keys.py`, `server/auth_files.py`, and the scopes of routes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator
from orchestrator.errors import SettingsError
from orchestrator.sdk import read_service
from orchestrator.server.auth_client import readable
from orchestrator.server.auth_keys import KeyFile, NewKey, read_keys
from orchestrator.server.auth_rights import Rights


def file_of(folder: Path, *made: NewKey) -> Path:
    file = folder / "keys.txt"
    file.write_text("# of the shop\n\n" + "".join(key.line for key in made))
    return file


def test_a_key_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    key, other = NewKey.make("shop", ["Iris", "metrics"]), NewKey.make("other", ["*"])
    file = file_of(tmp_path, key, other)
    keys = KeyFile(file)
    client = keys.find(key.key.encode())
    assert client is not None
    assert (client.name, set(client.scopes)) == ("shop", {"Iris", "metrics"})
    assert key.key not in file.read_text()
    assert key.key != other.key
    assert len(key.key) >= 43
    for wrong in (b"", b"ork_", key.key[:-1].encode(), key.key.encode() + b" ", b"\xff\x00", key.line[7:71].encode()):
        assert keys.find(wrong) is None


def test_a_key_that_is_added_counts_at_once_and_one_that_is_deleted_soon_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = NewKey.make("first", []), NewKey.make("second", [])
    file = file_of(tmp_path, first)
    keys = KeyFile(file)
    assert keys.find(second.key.encode()) is None
    file_of(tmp_path, first, second)
    assert keys.find(second.key.encode()) is not None
    file_of(tmp_path, second)
    keys.find(b"unknown")  # which looks at the file
    assert keys.find(first.key.encode()) is None
    file.write_text("no key\n")
    for _ in range(3):
        assert keys.find(b"unknown") is None
        assert keys.find(second.key.encode()) is not None
    file.unlink()
    for _ in range(3):
        assert keys.find(b"unknown") is None
        assert keys.find(second.key.encode()) is not None
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "auth.keys_file cannot be used, what was read before holds: line 1 does not begin with sha256: and 64 hex digits",
        "auth.keys_file is not there; what was read before holds",
    ]
    file_of(tmp_path, first)
    assert keys.find(first.key.encode()) is not None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ork_secret shop Iris", "line 1 does not begin with sha256: and 64 hex digits"),
        (b"# one\nsha256:" + b"0" * 63 + b" shop", "line 2 does not begin with sha256:"),
        (b"sha256:" + b"0" * 64, "line 1 has no name of a key"),
        (b"sha256:" + b"0" * 64 + b" a/b", "line 1 has no name of a key"),
        (b"sha256:" + b"0" * 64 + b" a Iris,metrics", "line 1: 'Iris,metrics' is no scope"),
        (
            b"sha256:" + b"0" * 64 + b" a\nsha256:" + b"1" * 64 + b" a",
            "line 2: there is another key of the name 'a'",
        ),
        (b"\xff", "'utf-8' codec can't decode byte"),
    ],
)
def test_a_file_that_is_none_is_refused_and_shows_no_key(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        KeyFile(file)
    assert f"auth.keys_file={str(file)!r}: cannot be used: {reason}" in str(caught.value)
    assert "ork_secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be used: No such file or directory"):
        KeyFile(tmp_path / "keys.txt")
    with pytest.raises(SettingsError, match=r"cannot be used: Is a directory"):
        KeyFile(tmp_path)


@given(st.binary(max_size=300))
def test_any_file_is_read_or_refused(content: bytes) -> None:
    try:
        clients = read_keys(content)
    except ValueError:
        return
    assert all(len(hashed) == 32 for hashed in clients)


@pytest.mark.parametrize(("name", "scopes"), [("", []), ("a b", []), ("a\n", []), ("a", ["a b"]), ("a", ["Iris."])])
def test_what_would_break_a_line_makes_no_key(name: str, scopes: list[str]) -> None:
    with pytest.raises(SettingsError, match="is no"):
        NewKey.make(name, scopes)


@given(st.text(max_size=200), st.text(max_size=200))
def test_names_are_harmless_in_a_line_and_stay_different(one: str, other: str) -> None:
    assert readable(one).isascii()
    assert not set(readable(one)) & set(' \n\r\t"\\(),')
    assert len(readable(one)) <= 128
    assert (readable(one) == readable(other)) is (one == other)


# --- scopes ---


@pytest.fixture(name="rights")
def rights_of() -> Callable[..., Rights]:
    @orchestrator.service
    class Shop:
        @orchestrator.api
        def greet(self) -> str:
            return ""

        @orchestrator.api(route="/docs/static/greet")
        def odd(self) -> str:
            return ""

    def rights(**options: Any) -> Rights:
        return Rights(read_service(Shop, "shop:Shop").spec, **{"home": True, **options})

    return rights


def scopes(rights: Rights, route: str) -> set[str] | None:
    found = rights.of(route)
    return None if found is None else set(found)


def test_what_each_route_asks_for(rights: Callable[..., Rights]) -> None:
    ours = rights()
    for health in ("/livez", "/readyz", "/healthz"):
        assert ours.of(health) is None
    assert scopes(ours, "/greet") == {"Shop", "Shop.greet", "*"}
    assert scopes(ours, "/docs/static/greet") == {"Shop", "Shop.odd", "*"}
    assert scopes(ours, "/metrics") == {"metrics", "*"}
    for page in ("/docs", "/redoc", "/openapi.json", "/schema.json", "/docs/static/a.css", "/status.json"):
        assert ours.of(page) == frozenset(), page
    for page in ("/", "/docs/status", "/docs/status/main.js"):  # no data in them, and a browser sends no key for them
        assert ours.of(page) is None, page
    for own in ("/greet/", "//greet", "/docs/own", "/docs/", "/livez/", "/mounted", ""):
        assert scopes(ours, own) == {"Shop", "*"}, own
    assert scopes(rights(home=False), "/") == {"Shop", "*"}


def test_pages_can_be_free(rights: Callable[..., Rights]) -> None:
    free = rights(free=["docs", "metrics"])
    assert [free.of(page) for page in ("/", "/docs", "/docs/static/a.css", "/metrics")] == [None] * 4
    assert free.of("/status.json") == frozenset()
    assert rights(free=["status"]).of("/status.json") is None
    assert scopes(free, "/greet") == {"Shop", "Shop.greet", "*"}


def test_a_process_of_its_own_has_its_own_pages() -> None:
    @orchestrator.service(cmd=["x"])
    class Command:
        """Nothing."""

    rights = Rights(read_service(Command, "shop:Command").spec, home=False, free=["docs", "status"])
    for page in ("/docs", "/openapi.json", "/status.json", "/docs/static/x", "/"):
        assert scopes(rights, page) == {"Command", "*"}
    assert rights.of("/livez") is None


def test_without_a_metrics_page_its_path_is_a_path(rights: Callable[..., Rights]) -> None:
    @orchestrator.service(metrics={"enabled": False})
    class Quiet:
        @orchestrator.api
        def greet(self) -> str:
            return ""

    quiet = Rights(read_service(Quiet, "shop:Quiet").spec, home=True, free=["metrics"])
    assert scopes(quiet, "/metrics") == {"Quiet", "*"}


def test_a_file_can_be_replaced_in_one_step(tmp_path: Path) -> None:
    """As Kubernetes and editors do it: the same time and size, another file."""
    one, other = NewKey.make("one", []), NewKey.make("two", [])
    file = file_of(tmp_path, one)
    keys = KeyFile(file)
    times = os.stat(file)
    new = tmp_path / "new"
    new.write_text(file.read_text().replace(one.line, other.line))
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert new.stat().st_size == times.st_size
    new.replace(file)
    assert keys.find(other.key.encode()) is not None
