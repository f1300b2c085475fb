"""A real browser for tests: Debian's chromium, watched for what no page of ours may do."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

__all__ = ["Watched", "open_page", "running_browser"]

expect.set_options(timeout=20_000)  # a busy machine
_CUT = "ERR_NETWORK_CHANGED"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def _chromium() -> str:
    """Where it is. As root on Debian it is installed where it is missing, as `make setup` does; else the test is skipped."""
    found = _found()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        for command in (install, ["apt-get", "update", "-qq"], install):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, env=environment, capture_output=True, check=False, timeout=90)
            found = _found()
            if found:
                break
    if found is None:
        pytest.skip("there is no chromium, and it cannot be installed here")
    return found


def _found() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Watched:
    """A page, and what it did.

    Args:
        origin: scheme, host and port of the only server that it may ask.

    Attributes:
        wrong: errors on the console and in scripts, dialogs, requests to other hosts.
        failures: paths that answered 400 or above: browsers write those on the console by themselves.
        cut: an interface of this machine came or went, upon which chromium breaks off all that it has begun.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.failures: list[str] = []
        self._origin = origin
        self.cut = False
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        self.cut = self.cut or _CUT in message.text
        of_network = message.text.startswith("Failed to load resource") and self._is_ours(message.location["url"])
        if message.type in ("error", "warning") and not of_network:
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not self._is_ours(request.url):
            self.wrong.append(f"request: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.failures.append(urlsplit(response.url).path)

    def _is_ours(self, url: str) -> bool:
        return url.startswith((f"{self._origin}/", f"blob:{self._origin}/"))


@contextmanager
def running_browser() -> Iterator[Browser]:
    path = _chromium()
    # It writes crash reports and settings into the home directory, whatever its profile.
    with (
        tempfile.TemporaryDirectory(prefix="orchestrator-browser-", ignore_cleanup_errors=True) as home,
        sync_playwright() as playwright,
    ):
        folders = {"HOME": home, "XDG_CONFIG_HOME": f"{home}/config", "XDG_CACHE_HOME": f"{home}/cache"}
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"], env={**os.environ, **folders}
        )
        try:
            yield browser
        finally:
            browser.close()


def _load(watched: Watched, url: str) -> None:
    """Loads a page, once more where the machine's own network has changed meanwhile (containers come and go)."""
    for _ in range(5):
        watched.cut = False
        try:
            watched.page.goto(url)
        except Error as error:
            if _CUT not in error.message:
                raise
            watched.cut = True
        if not watched.cut:
            return
    raise AssertionError("this machine's network changes all the time")


@contextmanager
def open_page(browser: Browser, url: str, *, dark: bool = False, wide: int = 1280) -> Iterator[Watched]:
    """A page in a profile of its own. It must have done nothing wrong in the end."""
    context: BrowserContext = browser.new_context(
        color_scheme="dark" if dark else "light", viewport={"width": wide, "height": 900}
    )
    context.set_default_timeout(20_000)
    try:
        parts = urlsplit(url)
        watched = Watched(context.new_page(), f"{parts.scheme}://{parts.netloc}")
        _load(watched, url)
        yield watched
        assert watched.wrong == []
    finally:
        context.close()
