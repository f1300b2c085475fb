"""Waiting before the next try."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.triton.backoff import Backoff


def test_first_try_is_at_once() -> None:
    assert Backoff().next(100.0) == 0


def test_failures_in_a_row_wait_twice_as_long_each_time_up_to_the_longest() -> None:
    backoff, now, waits = Backoff(), 0.0, []
    for _ in range(12):
        wait_s = backoff.next(now)
        waits.append(wait_s)
        now += wait_s + 0.1
    assert waits[:6] == [0, 0.25, 0.5, 1, 2, 4]
    assert waits[-1] == 30


def test_stable_time_forgets_the_failures() -> None:
    backoff = Backoff()
    for now in (0.0, 0.1, 0.5):
        backoff.next(now)
    backoff.done(2.0)
    assert backoff.next(4.0) > 0
    backoff.done(5.0)
    assert backoff.next(8.0) == 0


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=50))
def test_wait_is_never_negative_and_never_above_the_longest(pauses: list[float]) -> None:
    backoff, now = Backoff(), 0.0
    for pause in pauses:
        wait_s = backoff.next(now)
        assert 0 <= wait_s <= 30
        now += wait_s + pause
