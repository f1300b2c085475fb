"""Files by URL: from where they come, and from where they never do."""

import asyncio
import contextlib
import gzip
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.server.addresses import is_internal
from orchestrator.server.fetch import Fetcher, is_url
from orchestrator.spec import Blob


class Site(BaseHTTPRequestHandler):
    """Answers by path."""

    hosts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.hosts.append(self.headers["host"])
        path, _, rest = self.path[1:].partition("/")
        match path:
            case "file":
                self._answer(200, b"content", **{"Content-Type": "Text/Plain; charset=utf-8"})
            case "bare":
                self._answer(200, b"content")
            case "hops":
                left = int(rest)
                self._answer(302 if left else 200, b"there", **({"Location": f"/hops/{left - 1}"} if left else {}))
            case "to":
                self._answer(307, b"", Location=rest)
            case "long":
                self._answer(200, b"x" * int(rest))
            case "chunked":
                self.send_response(200)
                self.end_headers()  # no length: to the end of the connection
                for _ in range(int(rest)):
                    self.wfile.write(b"x" * 1000)
            case "gzip":
                self._answer(200, gzip.compress(b"x" * 1000), **{"Content-Encoding": "gzip"})
            case "slow":
                time.sleep(1)
                self._answer(200, b"late")
            case "drip":
                self.send_response(200)
                self.end_headers()
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            case "encoding":
                self._answer(200, self.headers.get("accept-encoding", "").encode())
            case _:
                self._answer(404, b"")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(wrap: Callable[[ThreadingHTTPServer], None] | None = None) -> Iterator[int]:
    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Site)
    if wrap:
        wrap(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def fetcher(*, most_bytes: int = 10_000, time_s: float = 5.0, refused: Sequence[str] = ()) -> Fetcher:
    return Fetcher(most_bytes=most_bytes, time_s=time_s, refuses=lambda address: address in refused)


def fetch(its: Fetcher, *urls: str) -> list[Blob]:
    return asyncio.run(its.fetch([(("field", place), url) for place, url in enumerate(urls)]))


def refusal(its: Fetcher, *urls: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        fetch(its, *urls)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "168.63.129.16",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:1::", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "3fff::1", "5f00::1", "localhost", "", "2130706433",
    ],
)  # fmt: skip
def test_an_address_that_is_no_public_hosts_is_internal(address: str) -> None:
    assert is_internal(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_a_public_address_is_not(address: str) -> None:
    assert not is_internal(address)


@pytest.mark.parametrize("url", ["http://a", "https://a/b?c=d#e", "HTTP://a", "http://[::1]:80/x", "http://127.0.0.1"])
def test_a_url(url: str) -> None:
    assert is_url(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http:/a",
        "ftp://a",
        "file:///etc/passwd",
        "httpx://a",
        "http://a b",
        "http://a\n",
        "x http://a",
        "http://" + "a" * 9000,
    ],
)
def test_no_url(text: str) -> None:
    assert not is_url(text)


def test_a_file_comes_with_its_type_and_its_name(port: int) -> None:
    blobs = fetch(fetcher(), f"http://127.0.0.1:{port}/file/a/caf%C3%A9.txt?x=1", f"http://127.0.0.1:{port}/bare")
    assert blobs == [Blob(b"content", "text/plain", "café.txt"), Blob(b"content", None, "bare")]


def test_by_default_nothing_internal_is_fetched(port: int) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0"):
        error = refusal(Fetcher(most_bytes=10), f"http://{host}:{port}/file")
        assert "not a public host" in error.message, host
        assert error.problems[0]["loc"] == ["field", 0]
        assert error.problems[0]["type"] == "url"


def test_one_internal_address_among_a_hosts_is_enough_to_refuse_it() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8", "10.0.0.1"]

    assert "files.example is not a public host" in str(
        refusal(Fetcher(most_bytes=10, resolve=resolve), "http://files.example/")
    )


def test_the_connection_goes_to_the_address_that_was_checked_under_the_hosts_name(port: int) -> None:
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, asked_port: int) -> Sequence[str]:
        asked.append((host, asked_port))
        return ["127.0.0.1"]

    its = Fetcher(most_bytes=100, resolve=resolve, refuses=lambda _: False)
    Site.hosts.clear()
    assert fetch(its, f"http://files.example:{port}/file/x")[0].content == b"content"
    assert asked == [("files.example", port)]  # once: a second answer could be another
    assert Site.hosts == [f"files.example:{port}"]


def test_another_address_is_tried_where_the_first_does_not_answer(port: int) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.3", "127.0.0.1"]

    assert fetch(Fetcher(most_bytes=100, resolve=resolve, refuses=lambda _: False), f"http://files.example:{port}/bare")


def test_redirects_are_followed_five_times(port: int) -> None:
    assert fetch(fetcher(), f"http://127.0.0.1:{port}/hops/5")[0].content == b"there"
    assert "redirected more than 5 times" in str(refusal(fetcher(), f"http://127.0.0.1:{port}/hops/6"))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://127.0.0.2:{port}/file", "127.0.0.2 is not a public host"),
        ("//127.0.0.2/file", "127.0.0.2 is not a public host"),
        ("file:///etc/passwd", "only http and https"),
        ("ftp://127.0.0.1/x", "only http and https"),
        ("http://me:secret@127.0.0.1:{port}/file", "a user name or a password"),
    ],
)
def test_a_redirect_is_checked_as_every_url_is(port: int, target: str, reason: str) -> None:
    its = fetcher(refused=["127.0.0.2"])
    assert reason in str(refusal(its, f"http://127.0.0.1:{port}/to/{target.format(port=port)}"))


@pytest.mark.parametrize("url", ["http://me@127.0.0.1/", "http://me:secret@127.0.0.1/"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    error = str(refusal(fetcher(), url))
    assert "a user name or a password" in error
    assert "secret" not in error


@pytest.mark.parametrize("path", ["long/1001", "chunked/2"])
def test_a_file_over_the_limit_is_not_read_to_its_end(port: int, path: str) -> None:
    assert "too long: a call takes 1000 bytes" in str(
        refusal(fetcher(most_bytes=1000), f"http://127.0.0.1:{port}/{path}")
    )


def test_the_limit_is_for_all_files_of_a_call(port: int) -> None:
    urls = [f"http://127.0.0.1:{port}/long/600"] * 2
    assert len(fetch(fetcher(most_bytes=1200), *urls)) == 2
    assert "too long" in str(refusal(fetcher(most_bytes=1100), *urls))


@pytest.mark.parametrize("path", ["slow", "drip"])
def test_the_time_is_for_all_of_a_file(port: int, path: str) -> None:
    started = time.perf_counter()
    assert "within 0.3 seconds" in str(refusal(fetcher(time_s=0.3), f"http://127.0.0.1:{port}/{path}"))
    assert time.perf_counter() - started < 0.9


def test_a_compressed_file_is_not_asked_for_and_not_taken(port: int) -> None:
    assert fetch(fetcher(), f"http://127.0.0.1:{port}/encoding")[0].content == b"identity"
    assert "compressed" in str(refusal(fetcher(), f"http://127.0.0.1:{port}/gzip"))


def test_what_cannot_be_fetched_names_the_place_and_the_reason(port: int) -> None:
    error = refusal(fetcher(), f"http://127.0.0.1:{port}/file", f"http://127.0.0.1:{port}/nowhere")
    assert error.problems[0]["loc"] == ["field", 1]
    assert "answered 404" in error.message
    assert "there is no host" in str(refusal(fetcher(), "http://no-such-host.invalid/"))
    with contextlib.closing(__import__("socket").create_server(("127.0.0.1", 0))) as taken:
        closed = taken.getsockname()[1]
    assert "cannot be fetched" in str(refusal(fetcher(), f"http://127.0.0.1:{closed}/"))
    for url in ("http://", "http://a..b/", "http://[::1", "http://a:99999/", "http://%00/"):
        assert "cannot be fetched" in str(refusal(fetcher(), url)), url


def test_tls_names_the_host_and_checks_its_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=files.example",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    named: list[str | None] = []

    def wrap(server: ThreadingHTTPServer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.sni_callback = lambda _, name, __: named.append(name)
        server.socket = context.wrap_socket(server.socket, server_side=True)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with serving(wrap) as port:
        error = refusal(
            Fetcher(most_bytes=10, resolve=resolve, refuses=lambda _: False), f"https://files.example:{port}/file"
        )
    assert named == ["files.example"]
    assert "certificate" in error.message.lower()
