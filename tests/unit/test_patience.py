"""What a request says of its caller."""

import contextlib
import math
import time
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.server.auth_client import CHECKED_CLIENT
from orchestrator.server.patience import Caller
from orchestrator.spec import Priority


def headers(**given: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"x_request_timeout": "2.5"}, 2.5),
        ({"x_request_timeout": "1e-3"}, 0.001),
        ({"grpc_timeout": "2500m"}, 2.5),
        ({"grpc_timeout": "1H"}, 3600),
        ({"grpc_timeout": "90S"}, 90),
        ({"grpc_timeout": "5M"}, 300),
        ({"grpc_timeout": "100u"}, 1e-4),
        ({"grpc_timeout": "100n"}, 1e-7),
        ({"x_request_timeout": "9", "grpc_timeout": "2S"}, 2),
        ({}, math.inf),
    ],
)
def test_how_long_a_caller_waits(given: dict[str, str], seconds: float) -> None:
    before = time.monotonic()
    caller = Caller(headers(**given))
    assert caller.limit_s == pytest.approx(seconds)
    assert before + caller.limit_s <= caller.deadline <= time.monotonic() + caller.limit_s


@pytest.mark.parametrize("given", ["", "soon", "0", "-1", "nan", "inf", "1s", "1,5"])
def test_a_time_limit_that_is_none_is_the_callers_mistake(given: str) -> None:
    with pytest.raises(InvalidInput, match="x-request-timeout takes seconds above 0"):
        Caller(headers(x_request_timeout=given))


@pytest.mark.parametrize("given", ["", "5", "S", "123456789S", "1s", "1.5S", "-1S"])
def test_so_is_one_of_grpcs_that_is_none(given: str) -> None:
    with pytest.raises(InvalidInput, match="grpc-timeout takes"):
        Caller(headers(grpc_timeout=given))


@given(st.binary(max_size=12))
def test_any_bytes_are_a_limit_or_refused(given: bytes) -> None:
    for name in (b"x-request-timeout", b"grpc-timeout"):
        with contextlib.suppress(InvalidInput):
            assert Caller([(name, given)]).limit_s >= 0


def test_the_shorter_limit_wins() -> None:
    caller = Caller(headers(x_request_timeout="2"))
    own = caller.deadline
    caller.within(60)
    assert (caller.limit_s, caller.deadline) == (2, own)
    caller.within(0.5)
    assert caller.limit_s == 0.5
    assert caller.deadline < own


def test_how_urgent_a_call_is() -> None:
    assert Caller([]).priority is Priority.NORMAL
    assert Caller([], priority=Priority.LOW).priority is Priority.LOW
    assert Caller(headers(x_request_priority="High "), priority=Priority.LOW).priority is Priority.HIGH
    with pytest.raises(InvalidInput, match="x-request-priority takes high, normal, low, not 'urgent'"):
        Caller(headers(x_request_priority="urgent"))


def test_who_calls_is_known_by_key_or_by_address() -> None:
    assert Caller([], "10.0.0.1").client == "10.0.0.1"
    assert Caller(headers(x_api_key="k"), "10.0.0.1").client == "k"
    assert Caller(headers(x_api_key="k", authorization="Bearer t"), "10.0.0.1").client == "Bearer t"
    assert Caller(headers(x_api_key=""), "10.0.0.1").client == "10.0.0.1"


def test_a_checked_caller_is_known_by_name() -> None:
    def checked() -> str:
        CHECKED_CLIENT.set("shop")
        return Caller(headers(x_api_key="k"), "10.0.0.1").client

    assert copy_context().run(checked) == "shop"
    assert Caller(headers(x_api_key="k"), "10.0.0.1").client == "k"
