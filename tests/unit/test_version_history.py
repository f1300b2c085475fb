"""Which version a rollback leads to."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.deployment.history import KEPT, History, Served

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def served(version: int, **stored: str) -> Served:
    return Served(version=version, what=f"m:{version}", config=f"{version}", since=NOW, stored=stored)


def deployed(*versions: int) -> History:
    history = History()
    for version in versions:
        history = history.deployed(served(version))
    return history


def stack(history: History) -> list[int]:
    return [each.version for each in history.served]


def back(history: History) -> History:
    return history.back_to(len(history.served) - 2)


def test_rollbacks_go_back_and_back_and_a_deployment_goes_on_from_there() -> None:
    history = deployed(1, 2, 3)
    assert stack(back(history)) == [1, 2]
    assert stack(back(back(history))) == [1]
    again = back(back(history)).deployed(served(4))
    assert stack(again) == [1, 4]
    assert stack(back(again)) == [1]
    assert back(again).highest == 4


def test_the_same_versions_in_turn_are_steps_of_their_own() -> None:
    assert stack(back(back(deployed(1, 2, 1, 2)))) == [1, 2]


def test_only_the_last_five_versions_are_kept() -> None:
    history = deployed(*range(1, 9))
    assert stack(history) == [4, 5, 6, 7, 8]
    assert history.kept == {4, 5, 6, 7, 8}
    assert len(deployed(1, 2, 1, 2, 1, 2, 1, 2).served) == 8, "two versions in turn are two folders"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_what_serves_is_always_kept_and_never_more_than_five_folders(versions: list[int]) -> None:
    history = deployed(*versions)
    assert history.now.version == versions[-1]
    assert len(history.kept) <= KEPT
    assert stack(history) == versions[len(versions) - len(history.served) :]
    assert history.highest == max(versions)


def test_a_process_that_died_between_two_files_left_a_history_that_the_config_puts_right() -> None:
    ahead = deployed(1, 2, 3)
    assert stack(ahead.settled(served(2))) == [1, 2], "a deployment whose config was not written has not happened"
    behind = back(deployed(1, 2, 3))
    assert stack(behind.settled(served(3))) == [1, 2, 3], "a rollback whose config was not written has not happened"
    assert stack(History().settled(served(7))) == [7]


def test_a_stored_model_goes_back_to_where_it_was_another() -> None:
    history = History()
    for version, stored in enumerate([("a:1", "b:1"), ("a:2", "b:1"), ("a:2", "b:2")], 1):
        history = history.deployed(served(version, a=stored[0], b=stored[1]))
    assert history.position_before("a") == 0
    assert history.position_before("b") == 1
    assert history.back_to(0).position_before("a") is None
    assert history.position_before("c") is None
