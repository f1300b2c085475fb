"""What a method asks of its response, as headers."""

import pytest

from orchestrator.errors import OutputMismatch
from orchestrator.server.effects import asked_of
from orchestrator.spec import Cookie, ResponseEffects


def test_nothing_asked_is_200() -> None:
    for effects in (None, ResponseEffects(), ResponseEffects(hint="x")):
        asked = asked_of(effects)
        assert (asked.status, asked.media_type, asked.headers) == (200, None, ())


def test_headers_are_added_in_order_but_for_the_servers_own() -> None:
    asked = asked_of(
        ResponseEffects(
            status=201,
            headers=(
                ("x-a", "1"), ("x-a", "2"), ("content-type", "text/html"), ("content-length", "5"),
                ("transfer-encoding", "chunked"), ("x-request-id", "mine"),
            ),
        )
    )  # fmt: skip
    assert (asked.status, asked.media_type, asked.headers) == (201, "text/html", (("x-a", "1"), ("x-a", "2")))


@pytest.mark.parametrize(
    ("cookie", "header"),
    [
        (Cookie(key="a", value="1"), "a=1; Path=/; SameSite=lax"),
        (Cookie(key="a", value="", path=None, samesite=None), 'a=""'),
        (
            Cookie(
                key="a",
                value="b c;d",
                max_age=0,
                path="/x",
                domain="example.com",
                secure=True,
                httponly=True,
                samesite="None",
            ),
            'a="b c\\073d"; Domain=example.com; HttpOnly; Max-Age=0; Path=/x; SameSite=none; Secure',
        ),
        (
            Cookie(key="a", value="1", expires="Wed, 21 Oct 2026 07:28:00 GMT", path=None, samesite="Strict"),
            "a=1; expires=Wed, 21 Oct 2026 07:28:00 GMT; SameSite=strict",
        ),
    ],
)
def test_a_cookie(cookie: Cookie, header: str) -> None:
    assert asked_of(ResponseEffects(cookies=(cookie,))).headers == (("set-cookie", header),)


def test_a_cookie_that_expires_in_seconds_has_a_date() -> None:
    ((_, header),) = asked_of(ResponseEffects(cookies=(Cookie(key="a", value="1", expires=0, path=None),))).headers
    assert header.startswith("a=1; expires=")
    assert "GMT" in header


@pytest.mark.parametrize(
    "effects",
    [
        ResponseEffects(status=100), ResponseEffects(status=600), ResponseEffects(status=-1),
        ResponseEffects(headers=(("x y", "1"),)), ResponseEffects(headers=(("", "1"),)), ResponseEffects(headers=(("x:", "1"),)),
        ResponseEffects(headers=(("x", "1\r\nset-cookie: a=1"),)), ResponseEffects(headers=(("x", "\x00"),)),
        ResponseEffects(cookies=(Cookie(key="a b", value="1"),)), ResponseEffects(cookies=(Cookie(key="", value="1"),)),
        ResponseEffects(cookies=(Cookie(key="a", value="1", path="/;x"),)),
        ResponseEffects(cookies=(Cookie(key="a", value="1", domain="a\r\nb"),)),
        ResponseEffects(cookies=(Cookie(key="a", value="1", samesite="perhaps"),)),
        ResponseEffects(cookies=(Cookie(key="a", value="1", expires="x\n"),)),
    ],
)  # fmt: skip
def test_what_http_does_not_have_is_the_services_fault(effects: ResponseEffects) -> None:
    with pytest.raises(OutputMismatch, match="the method asked for"):
        asked_of(effects)


def test_a_line_break_in_a_cookies_value_does_not_end_the_header() -> None:
    ((_, header),) = asked_of(ResponseEffects(cookies=(Cookie(key="a", value="1\r\nx: y"),))).headers
    assert "\r" not in header
    assert "\n" not in header
