"""How many requests one client may send: `server/rate.py`."""

import time

import pytest

from orchestrator.errors import Overloaded
from orchestrator.server import rate as rate_module
from orchestrator.server.rate import Rates
from orchestrator.spec.config import Rate


def passes(rates: Rates, client: str) -> bool:
    try:
        rates.take(client)
    except Overloaded:
        return False
    return True


def test_a_burst_passes_and_the_rest_waits() -> None:
    rates = Rates(Rate(per_second=0.5, burst=3))
    assert [passes(rates, "a") for _ in range(5)] == [True, True, True, False, False]
    assert passes(rates, "b")
    with pytest.raises(Overloaded, match="a sends too many requests") as caught:
        rates.take("a")
    assert 1.5 < caught.value.retry_after_s <= 2


def test_the_rate_is_kept_over_time() -> None:
    rates = Rates(Rate(per_second=200, burst=1))
    started = time.monotonic()
    passed = 0
    while time.monotonic() < started + 0.5:
        passed += passes(rates, "a")
    assert 50 <= passed <= 1 + 200 * (time.monotonic() - started)


def test_a_refused_request_costs_nothing() -> None:
    rates = Rates(Rate(per_second=50, burst=1))
    assert passes(rates, "a")
    for _ in range(100):
        passes(rates, "a")
    time.sleep(0.03)
    assert passes(rates, "a")


def test_processes_share_it() -> None:
    rates = Rates(Rate(per_second=0.1, burst=4), processes=2)
    assert [passes(rates, "a") for _ in range(3)] == [True, True, False]
    alone = Rates(Rate(per_second=0.1), processes=4)
    assert [passes(alone, "a") for _ in range(2)] == [True, False]


def test_without_a_rate_everything_passes() -> None:
    rates = Rates(Rate())
    assert all(passes(rates, "a") for _ in range(1000))


def test_only_so_many_clients_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_module, "_MOST_CLIENTS", 10)
    rates = Rates(Rate(per_second=0.1, burst=1))
    assert all(passes(rates, str(number)) for number in range(100))
    assert len(rates._buckets) == 10
    assert not passes(rates, "99")
    assert passes(rates, "0")
