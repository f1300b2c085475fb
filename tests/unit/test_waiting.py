"""The queue before the backend: order, turns, and who loses their place in a full one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.server.waiting import Place, WaitingRoom
from orchestrator.spec import Priority

HIGH, NORMAL, LOW = Priority
PRIORITIES = list(Priority)


def room_of(*places: tuple[Priority, str, str]) -> WaitingRoom[str]:
    room: WaitingRoom[str] = WaitingRoom()
    for priority, client, call in places:
        room.add(Place(1, priority, client, call))
    return room


def order(room: WaitingRoom[str]) -> list[str]:
    return [room.next().call for _ in range(len(room))]


def test_first_in_first_out() -> None:
    assert order(room_of(*((NORMAL, "a", str(number)) for number in range(5)))) == list("01234")


def test_the_more_urgent_go_first() -> None:
    assert order(room_of((LOW, "a", "1"), (NORMAL, "a", "2"), (HIGH, "a", "3"), (NORMAL, "b", "4"))) == list("3241")


def test_clients_take_turns() -> None:
    hog = [(NORMAL, "hog", f"h{number}") for number in range(4)]
    others = [(NORMAL, "b", "b0"), (NORMAL, "c", "c0"), (NORMAL, "b", "b1")]
    assert order(room_of(*hog, *others)) == ["h0", "b0", "c0", "h1", "b1", "h2", "h3"]


def test_nothing_comes_out_of_an_empty_room() -> None:
    with pytest.raises(LookupError):
        room_of().next()


def test_a_full_queue_gives_up_the_newest_of_the_least_urgent() -> None:
    room = room_of((LOW, "a", "old"), (LOW, "b", "b0"), (LOW, "b", "b1"), (NORMAL, "a", "n"))
    for newcomer in (HIGH, NORMAL):
        loser = room.loser(newcomer, "c")
        assert loser is not None
        assert loser.call == "b1"


def test_a_full_queue_gives_up_the_newest_of_whoever_has_most() -> None:
    room = room_of((NORMAL, "hog", "h0"), (NORMAL, "hog", "h1"), (NORMAL, "hog", "h2"), (NORMAL, "b", "b0"))
    for client, loses in (("new", True), ("b", True), ("hog", False)):
        loser = room.loser(NORMAL, client)
        assert (loser is not None and loser.call == "h2") is loses
    assert room.loser(LOW, "new") is None


def test_a_full_queue_of_equals_keeps_them() -> None:
    room = room_of((NORMAL, "a", "a0"), (NORMAL, "b", "b0"))
    assert room.loser(NORMAL, "c") is None
    assert room.loser(NORMAL, "a") is None
    assert room_of().loser(HIGH, "c") is None


@given(
    st.lists(st.tuples(st.sampled_from(PRIORITIES), st.sampled_from("abcd"), st.integers(1, 9)), max_size=30),
    st.sampled_from(PRIORITIES),
    st.sampled_from("abcde"),
)
def test_what_is_ahead_is_never_less_than_what_goes_first(
    waiting: list[tuple[Priority, str, int]], priority: Priority, client: str
) -> None:
    room: WaitingRoom[int] = WaitingRoom()
    for number, (each, name, size) in enumerate(waiting):
        room.add(Place(size, each, name, number))
    calls, units = room.ahead(priority, client)
    assert units <= sum(size for _, _, size in waiting)
    room.add(Place(1, priority, client, -1))
    before = 0
    while room.next().call != -1:
        before += 1
    assert before <= calls <= len(waiting)


class Turns(RuleBasedStateMachine):
    """Against a plain list: whatever is done, nothing is lost, doubled, or out of its client's order."""

    def __init__(self) -> None:
        super().__init__()
        self.room: WaitingRoom[int] = WaitingRoom()
        self.waiting: list[Place[int]] = []
        self.number = 0

    @rule(priority=st.sampled_from(PRIORITIES), client=st.sampled_from("abc"), size=st.integers(0, 5))
    def add(self, priority: Priority, client: str, size: int) -> None:
        self.number += 1
        place = Place(size, priority, client, self.number)
        self.room.add(place)
        self.waiting.append(place)

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        place = self.room.next()
        urgent = min(self.waiting, key=lambda each: PRIORITIES.index(each.priority)).priority
        same = [each for each in self.waiting if (each.priority, each.client) == (urgent, place.client)]
        assert place is same[0]
        self.waiting.remove(place)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.waiting))
        assert self.room.remove(place)
        assert not self.room.remove(place)
        self.waiting.remove(place)

    @precondition(lambda self: self.waiting)
    @rule(priority=st.sampled_from(PRIORITIES), client=st.sampled_from("abcd"))
    def displace(self, priority: Priority, client: str) -> None:
        loser = self.room.loser(priority, client)
        if loser is None:
            return
        least = max(self.waiting, key=lambda each: PRIORITIES.index(each.priority)).priority
        assert loser.priority == least
        assert PRIORITIES.index(priority) <= PRIORITIES.index(least)
        assert self.room.remove(loser)
        self.waiting.remove(loser)

    @invariant()
    def the_same_wait(self) -> None:
        assert len(self.room) == len(self.waiting)
        assert sorted(place.call for place in self.room) == sorted(place.call for place in self.waiting)

    def teardown(self) -> None:
        """A client's turn comes at least every (clients) calls of its priority."""
        left = [self.room.next() for _ in range(len(self.room))]
        for priority in PRIORITIES:
            turns = [place.client for place in left if place.priority == priority]
            for position, client in enumerate(turns):
                rest = set(turns[position:])
                later = [number for number in range(position + 1, len(turns)) if turns[number] == client]
                if later:
                    assert later[0] - position <= len(rest)


TestTurns = Turns.TestCase
