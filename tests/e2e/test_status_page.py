"""The status page in a real browser, over the real Triton."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.browser import open_page, running_browser
from tests.e2e.serving import Serving, eventually
from tests.e2e.versions import done, orchestrator, save_number, write_code

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def shown(browser: Browser) -> Iterator[Serving]:
    with Serving("shown:Shown") as server:
        yield server


def card(page: Page, route: str) -> Locator:
    """The card of an API, open."""
    found = page.locator(f'[data-route="{route}"]')
    found.locator("> summary").click()
    return found


def field(card: Locator, name: str) -> Locator:
    return card.locator(f'[data-field="{name}"]')


def send(card: Locator) -> None:
    card.get_by_role("button", name="Send").click()


def answered(card: Locator) -> Any:
    """The JSON that it shows."""
    card.get_by_role("button", name="Text").click()
    return httpx2.Response(200, text=card.locator(".answer pre").inner_text()).json()


def test_an_api_is_called_with_what_its_form_has(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        describe = card(watched.page, "/describe")
        field(describe, "text").locator("textarea").fill("two words")
        send(describe)
        expect(describe.locator(".answer-line")).to_contain_text("200 OK")
        assert answered(describe) == {
            "text": "two words", "times": 2, "style": "plain", "reverse": False, "box": None, "number": None, "words": 2
        }  # fmt: skip
        field(describe, "times").locator("input").fill("5")
        field(describe, "style").locator("select").select_option(label="loud")
        field(describe, "reverse").locator("input").check()
        field(describe, "box").locator("textarea").fill('{"width": 3}')
        field(describe, "number").locator("input").fill("9007199254740993")
        send(describe)
        expect(describe.locator(".tree")).to_contain_text("loud")
        assert answered(describe)["box"] == {"left": 0, "width": 3}
        # JSON.parse would have made ...992 of it: numbers go as they are typed.
        describe.locator(".curl summary").click()
        expect(describe.locator(".curl code")).to_contain_text('"number": 9007199254740993')
        curl = describe.locator(".curl code").inner_text()
        assert f"curl '{shown.url}/describe'" in curl
        answer_id = describe.locator(".answer-line").inner_text().rpartition("request ")[2]
        assert len(answer_id) == 32


def test_a_problem_stands_at_its_fields(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        describe = card(watched.page, "/describe")
        field(describe, "times").locator("input").fill("9")
        field(describe, "box").locator("textarea").fill('{"width": 0}')
        send(describe)
        expect(describe.locator(".answer-line")).to_contain_text("400 Bad Request")
        expect(field(describe, "times").locator(".field-error")).to_contain_text("less than or equal to 5")
        expect(field(describe, "box").locator(".field-error")).to_contain_text("width: Input should be greater")
        expect(field(describe, "times").locator("input")).to_be_focused()
        assert watched.failures == ["/describe"]
        # What is no JSON is not sent at all.
        field(describe, "box").locator("textarea").fill('{"width": ')
        send(describe)
        expect(field(describe, "box").locator(".field-error")).to_contain_text("not JSON")
        assert watched.failures == ["/describe"]
        field(describe, "times").locator("input").fill("")
        field(describe, "box").locator("textarea").fill("")
        send(describe)
        expect(describe.locator(".answer-line")).to_contain_text("200 OK")
        expect(describe.locator(".field-error:not(:empty)")).to_have_count(0)


def test_an_image_goes_up_and_comes_back(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        mirror = card(watched.page, "/mirror")
        picture: FilePayload = {"name": "it's.png", "mimeType": "image/png", "buffer": png(40, 20)}
        field(mirror, "image").locator("input").set_input_files(picture)
        expect(mirror.get_by_alt_text("Preview of it's.png")).to_be_visible()
        assert size_of(mirror.locator(".previews img")) == [40, 20]
        field(mirror, "turn").locator("input").check()
        send(mirror)
        expect(mirror.locator(".answer .picture")).to_be_visible()
        assert size_of(mirror.locator(".answer .picture")) == [20, 40]
        mirror.locator(".curl summary").click()
        expect(mirror.locator(".curl code")).to_contain_text(r"-F 'image=@it'\''s.png;type=image/png'")
        with watched.page.expect_download() as download:
            mirror.get_by_role("link", name="Download").click()
        assert Image.open(download.value.path()).size == (20, 40)


def test_several_files_go_up_and_records_are_a_table(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        sizes = card(watched.page, "/sizes")
        files: list[FilePayload] = [
            {"name": f"{n}.bin", "mimeType": "application/x-any", "buffer": b"x" * n} for n in (3, 5)
        ]
        field(sizes, "files").locator("input").set_input_files(files)
        field(sizes, "note").locator("textarea").fill('"quoted"')
        send(sizes)
        expect(sizes.locator(".answer-line")).to_contain_text("200 OK")
        assert answered(sizes) == ['"quoted"', 3, 5]
        rows = card(watched.page, "/rows")
        send(rows)
        expect(rows.locator("td")).to_have_text(["row 0", "0", "row 1", "1.5", "row 2", "3"])


@pytest.mark.parametrize("media_type", ["text/event-stream", "text/plain"])
def test_a_stream_is_shown_while_it_comes(browser: Browser, shown: Serving, media_type: str) -> None:
    with open_page(browser, shown.url) as watched:
        story = card(watched.page, "/story")
        story.get_by_label("Answer as").select_option(media_type)
        send(story)
        # The rest is not made before it is asked for, so this has come by itself.
        expect(story.locator(".answer pre")).to_have_text("Once upon ")
        expect(story.locator(".answer-line")).to_contain_text("1 chunk, ")
        expect(story.locator(".answer-line")).to_contain_text("open")
        httpx2.post(f"{shown.url}/go_on").raise_for_status()
        expect(story.locator(".answer pre")).to_have_text("Once upon a time.")
        expect(story.locator(".answer-line")).to_contain_text("ended")
        story.get_by_role("button", name="Chunks").click()
        expect(story.locator(".chunk")).to_have_text(["Once upon ", "a time."])


def test_a_stream_is_stopped(browser: Browser, shown: Serving) -> None:
    before = httpx2.post(f"{shown.url}/were_left").json()
    with open_page(browser, shown.url) as watched:
        numbers = card(watched.page, "/numbers")
        numbers.get_by_label("Answer as").select_option("application/x-ndjson")
        send(numbers)
        expect(numbers.locator(".chunk").nth(5)).to_have_text('{"number":5}')
        numbers.get_by_role("button", name="Stop").click()
        expect(numbers.locator(".answer-line")).to_contain_text("stopped")
        assert eventually(lambda: httpx2.post(f"{shown.url}/were_left").json() == before + 1, within_s=10)
        count = numbers.locator(".chunk").count()
        send(numbers)
        expect(numbers.locator(".chunk").nth(1)).to_be_visible()
        numbers.get_by_role("button", name="Stop").click()
        assert count >= 6


def test_no_text_becomes_markup(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        for route in ("/trick", "/fail"):
            opened = card(watched.page, route)
            send(opened)
            expect(opened.locator(".answer")).to_contain_text("<script>")
        expect(watched.page.locator("#doc")).to_contain_text("<script>window.tricked=true</script>")
        expect(watched.page.locator("#services")).to_contain_text("<script>")
        assert watched.page.evaluate("() => window.tricked") is None
        assert watched.failures == ["/fail"]
        policy = httpx2.get(shown.url).headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy


def test_services_and_numbers_are_those_of_the_server(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        page = watched.page
        expect(page.locator("#health")).to_have_text("serving")
        expect(page.locator(".node-title")).to_have_text(["Shown", "Counter"])
        expect(page.locator(".node-words")).to_have_text(["on the front-end", "in Triton"])
        expect(page.locator("#services li").first).to_contain_text("calls Counter")
        expect(page.locator('[data-model="Counter"] .serving')).to_have_text("v1")
        charts = page.locator(".chart")
        expect(charts.nth(0).locator(".value")).to_contain_text("/s")
        until = time.monotonic() + 4
        with httpx2.Client(base_url=shown.url) as client:
            while time.monotonic() < until:
                client.post("/describe", json={"text": "a b"})
                client.post("/fail")
        expect(page.locator('[data-route="/describe"] .rate')).to_contain_text("p99")
        for chart in (0, 1, 2, 5):
            expect(charts.nth(chart).locator(".value")).not_to_have_text("–")
            assert charts.nth(chart).locator(".line").first.get_attribute("d")
        expect(charts.nth(5).locator(".value")).to_have_text("1 row")
        for link in page.locator("nav a").all():
            assert httpx2.get(str(link.get_attribute("href"))).status_code == 200


def test_quantiles_are_those_of_prometheus(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        asked = """async ([share, buckets, bounds]) => {
            const { quantile } = await import("/docs/status/rates.js");
            return quantile(share, buckets, bounds);
        }"""
        bounds = [0.1, 0.2, 0.4, None]
        for share, buckets, expected in [
            (0.5, [0, 10, 10, 10], 0.15),
            (0.5, [10, 10, 10, 10], 0.05),
            (0.99, [0, 0, 100, 100], 0.398),
            (0.99, [0, 0, 0, 5], 0.4),
            (0.5, [0, 0, 0, 0], None),
        ]:
            found = watched.page.evaluate(asked, [share, buckets, bounds])
            assert found == (None if expected is None else pytest.approx(expected)), (share, buckets)


def test_the_keyboard_is_enough(browser: Browser, shown: Serving) -> None:
    with open_page(browser, shown.url) as watched:
        page = watched.page
        page.locator('[data-route="/rows"] > summary').wait_for()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="To the APIs")).to_be_focused()
        page.keyboard.press("Enter")
        while page.evaluate("() => document.activeElement.parentElement.dataset.route") != "/rows":
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        rows = page.locator('[data-route="/rows"]')
        while page.evaluate("() => document.activeElement.tagName") != "INPUT":
            page.keyboard.press("Tab")
        page.keyboard.press("Control+A")
        page.keyboard.type("1")
        page.keyboard.press("Enter")
        expect(rows.locator("td")).to_have_text(["row 0", "0"])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("wide", [360, 800, 1280])
def test_it_fits_every_window(browser: Browser, shown: Serving, wide: int, dark: bool, tmp_path: Path) -> None:
    with open_page(browser, f"{shown.url}/docs/status", dark=dark, wide=wide) as watched:
        mirror = card(watched.page, "/mirror")
        field(mirror, "image").locator("input").set_input_files(
            {"name": "a.png", "mimeType": "image/png", "buffer": png(900, 300)}
        )
        send(mirror)
        expect(mirror.locator(".answer .picture")).to_be_visible()
        assert watched.page.evaluate("() => document.documentElement.scrollWidth") <= wide
        red, green, blue = Image.open(io.BytesIO(watched.page.screenshot())).convert("RGB").getpixel((3, 700))  # type: ignore[misc]
        assert (max(red, green, blue) < 60) is dark


def test_versions_change_before_the_readers_eyes(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    code = tmp_path / "code"
    write_code(code, "a")
    save_number(tmp_path / "home", 1)
    with Serving("service:Teller", working_dir=code) as server, open_page(browser, server.url) as watched:
        page = watched.page
        number = page.locator('[data-model="number"] .serving')
        expect(number).to_have_text("v1")
        expect(page.locator("#version")).to_have_text("v1")
        page.evaluate("() => { window.same = true; }")
        save_number(tmp_path / "home", 2)
        done("models", "deploy", "number:2", "--server", server.url)
        expect(number).to_have_text("v2")
        expect(page.locator("#news")).to_have_text("number now serves version 2")
        write_code(code, "b")
        done("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url)
        expect(page.locator('[data-model="Teller"] .serving')).to_have_text("v2")
        expect(page.locator("#version")).to_have_text("v2")
        done("models", "rollback", "number", "--server", server.url)
        expect(number).to_have_text("v1")
        assert page.evaluate("() => window.same"), "it was not loaded anew"


def test_a_key_is_asked_for_and_goes_with_every_call(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    made = orchestrator("keys", "new", "reader", "--scope", "Shown", "--file", str(keys))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    options = ("--set", f"auth.keys_file={keys}")
    with Serving("shown:Shown", *options) as server, open_page(browser, server.url) as watched:
        page = watched.page
        expect(page.locator("#notice")).to_contain_text("wants a key or a token")
        page.get_by_label("Key or token").fill(key)
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#notice")).to_be_hidden()
        rows = card(page, "/rows")
        send(rows)
        expect(rows.locator(".answer-line")).to_contain_text("200 OK")
        rows.locator(".curl summary").click()
        expect(rows.locator(".curl code")).to_contain_text('-H "Authorization: Bearer $TOKEN"')
        assert key not in page.content()
        assert set(watched.failures) == {"/status.json"}
        assert page.evaluate("() => localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_a_page_outlives_its_server(browser: Browser) -> None:
    with Serving("shown:Shown") as server, open_page(browser, server.url) as watched:
        expect(watched.page.locator("#health")).to_have_text("serving")
        server.stop()
        expect(watched.page.locator("#notice")).to_contain_text("cannot be reached")
        expect(watched.page.locator("#health")).to_have_text("unknown")


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (10, 200, 120)).save(file, "PNG")
    return file.getvalue()


def size_of(image: Locator) -> Any:
    return image.evaluate(
        "async (image) => { await image.decode(); return [image.naturalWidth, image.naturalHeight]; }"
    )
