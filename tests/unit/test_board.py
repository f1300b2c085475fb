"""The cancel board: what the front-end writes, as workers and successors see it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.engine.board import BoardReader, CallBoard, create_board


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_board(tmp_path / "calls")
    return tmp_path / "calls"


def test_a_call_is_there_until_it_leaves(path: Path) -> None:
    with CallBoard(path) as board:
        reader = BoardReader(path)
        first, second = board.enter(), board.enter()
        assert not reader.left(first)
        assert not reader.left(second)
        board.leave(first)
        assert reader.left(first)
        assert not reader.left(second)


def test_a_slot_that_is_used_again_is_another_call(path: Path) -> None:
    with CallBoard(path) as board:
        reader = BoardReader(path)
        seen = set()
        for _ in range(1000):
            number = board.enter()
            assert number not in seen
            assert not reader.left(number)
            board.leave(number)
            seen.add(number)
        assert all(reader.left(number) for number in seen)
        assert all(0 < number < 2**63 for number in seen)  # Triton's parameters are signed


def test_a_full_board_says_so_and_goes_on(path: Path) -> None:
    with CallBoard(path) as board:
        numbers = [board.enter() for _ in range(2**14)]
        assert numbers[-1] == 0
        assert all(numbers[:-1])
        board.leave(0)
        assert board.enter() == 0
        board.leave(numbers[0])
        assert board.enter() not in (0, numbers[0])


def test_two_front_ends_do_not_touch_each_others_calls(path: Path) -> None:
    reader = BoardReader(path)
    with CallBoard(path) as one, CallBoard(path) as other:
        ones, others = [one.enter() for _ in range(50)], [other.enter() for _ in range(50)]
        assert not set(ones) & set(others)
        for number in ones:
            one.leave(number)
        assert all(reader.left(number) for number in ones)
        assert not any(reader.left(number) for number in others)


def test_there_are_256_regions_and_a_closed_one_comes_back(path: Path) -> None:
    boards = [CallBoard(path) for _ in range(256)]
    with pytest.raises(OSError, match="regions"):
        CallBoard(path)
    boards[7].close()
    with CallBoard(path) as board:
        assert board.enter()
    for each in boards:
        each.close()
    assert path.stat().st_blocks * 512 < path.stat().st_size / 8  # what was not used takes nothing


def test_a_reader_sees_how_many_chunks_a_caller_has_taken(path: Path) -> None:
    with CallBoard(path) as board:
        reader = BoardReader(path)
        first, second = board.enter(), board.enter()
        assert (reader.consumed(first), reader.consumed(second)) == (0, 0)
        board.consumed(first, 3)
        board.consumed(second, 2**40)
        assert (reader.consumed(first), reader.consumed(second)) == (3, 2**40)
        board.leave(first)
        assert reader.consumed(first) is None
        board.consumed(0, 5)  # of a call that goes without the board
        assert not reader.left(second)


def test_a_call_in_a_used_slot_has_taken_no_chunks(path: Path) -> None:
    with CallBoard(path) as board:
        reader = BoardReader(path)
        first = board.enter()
        board.consumed(first, 7)
        board.leave(first)
        second = board.enter()
        assert second & 2**14 - 1 == first & 2**14 - 1
        assert reader.consumed(first) is None
        assert reader.consumed(second) == 0


def test_regions_do_not_touch_each_others_chunks(path: Path) -> None:
    reader = BoardReader(path)
    boards = [CallBoard(path) for _ in range(256)]
    numbers = [board.enter() for board in boards]
    for taken, (board, number) in enumerate(zip(boards, numbers, strict=True)):
        board.consumed(number, taken)
    assert [reader.consumed(number) for number in numbers] == list(range(256))
    for board in boards:
        board.close()
    assert [reader.consumed(number) for number in numbers] == [None] * 256


def test_numbers_of_successors_are_others(path: Path) -> None:
    seen = set()
    for _ in range(20):
        with CallBoard(path) as board:
            number = board.enter()
            assert number not in seen
            seen.add(number)


def test_a_file_of_another_size_is_no_board(path: Path) -> None:
    os.truncate(path, 2**23)
    with pytest.raises(OSError, match="another release"):
        CallBoard(path)
    with pytest.raises(OSError, match="another release"):
        BoardReader(path)


def test_the_calls_of_a_killed_front_end_end_when_it_has_a_successor(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from orchestrator.engine.board import CallBoard\n"
        "board = CallBoard(Path(sys.argv[1])); print(board.enter(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        reader = BoardReader(path)
        assert not reader.left(number)
        assert reader.is_owned(number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not reader.is_owned(number)
    with CallBoard(path) as successor:
        assert reader.left(number)
        assert reader.is_owned(number)
        assert not reader.left(successor.enter())


def test_of_a_region_that_nobody_has_nothing_is_known(path: Path) -> None:
    # A worker must not refuse every call because its board is another one than its caller's.
    assert not BoardReader(path).left(12345)


def test_without_a_board_there_is_no_reader(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="calls"):
        BoardReader(tmp_path / "calls")


class Entries(RuleBasedStateMachine):
    """Against a set: a reader knows of every number that was ever given whether its call is there."""

    def __init__(self) -> None:
        super().__init__()
        # Small and quick: an anonymous file, gone with the machine.
        self.file = Path(f"/proc/self/fd/{os.memfd_create('board')}")
        os.truncate(self.file, 2**26)
        self.board, self.reader = CallBoard(self.file), BoardReader(self.file)
        self.there: list[int] = []
        self.gone: list[int] = []
        self.taken: dict[int, int] = {}

    @rule()
    def enter(self) -> None:
        self.there.append(self.board.enter())

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number = self.there.pop(data.draw(st.integers(0, len(self.there) - 1)))
        self.board.leave(number)
        self.gone.append(number)

    @precondition(lambda self: self.there)
    @rule(data=st.data(), chunks=st.integers(0, 2**62))
    def take(self, data: st.DataObject, chunks: int) -> None:
        number = data.draw(st.sampled_from(self.there))
        self.board.consumed(number, chunks)
        self.taken[number] = chunks

    @invariant()
    def the_reader_agrees(self) -> None:
        assert not any(self.reader.left(number) for number in self.there)
        assert all(self.reader.consumed(number) == self.taken.get(number, 0) for number in self.there)
        assert all(self.reader.consumed(number) is None for number in self.gone)
        assert all(self.reader.left(number) for number in self.gone)

    def teardown(self) -> None:
        self.board.close()
        os.close(int(self.file.name))


TestEntries = Entries.TestCase
TestEntries.settings = settings(max_examples=20, deadline=None)
