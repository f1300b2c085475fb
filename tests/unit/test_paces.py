import time

import pytest

from orchestrator.worker.paces import Paces


def timed(paces: Paces, seconds: float) -> None:
    with paces.timed("m"):
        time.sleep(seconds)


def test_a_model_is_quick_once_that_has_been_seen() -> None:
    paces = Paces()
    assert not paces.is_quick("m", 60)
    timed(paces, 0)
    assert paces.is_quick("m", 60)
    assert not paces.is_quick("m", 1)  # who has so little time is let go when it is over
    assert not paces.is_quick("another", 60)


def test_one_slow_call_is_enough_to_be_careful_and_many_quick_ones_to_trust_again() -> None:
    paces = Paces()
    timed(paces, 0)
    timed(paces, 0.2)
    assert not paces.is_quick("m", 60)
    for _ in range(30):
        timed(paces, 0)
    assert paces.is_quick("m", 60)


def test_calls_that_fail_count_as_well() -> None:
    paces = Paces()
    with pytest.raises(RuntimeError), paces.timed("m"):
        raise RuntimeError
    assert paces.is_quick("m", 60)
