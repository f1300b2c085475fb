"""The queue before the backend: by priority; within one, clients in turn; of one client, first in first out."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.spec import Priority

__all__ = ["Place", "WaitingRoom"]

T = TypeVar("T")
_ORDER = tuple(Priority)


@dataclass(frozen=True, slots=True, eq=False)
class Place(Generic[T]):
    """What waits.

    Attributes:
        size: in units; see `capacity.py`.
        client: who takes turns with others.
        call: whatever it stands for.
    """

    size: int
    priority: Priority
    client: str
    call: T


class _Line(Generic[T]):
    """The places of one priority.

    Attributes:
        clients: whose turn it is comes first; none is without a place.
    """

    def __init__(self) -> None:
        self.clients: OrderedDict[str, OrderedDict[Place[T], None]] = OrderedDict()
        self.count = 0
        self.units = 0


class WaitingRoom(Generic[T]):
    """Places that wait. Nothing in here takes longer where more wait, but for finding out whom a full queue loses."""

    def __init__(self) -> None:
        self._lines = {priority: _Line[T]() for priority in _ORDER}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Place[T]]:
        for line in self._lines.values():
            for places in line.clients.values():
                yield from places

    def add(self, place: Place[T]) -> None:
        """Puts a place at the end of its client's."""
        line = self._lines[place.priority]
        line.clients.setdefault(place.client, OrderedDict())[place] = None
        self._counted(line, place, 1)

    def next(self) -> Place[T]:
        """Takes out the place whose turn it is.

        Raises:
            LookupError: nothing waits.
        """
        line = next(line for line in self._lines.values() if line.count) if self._count else None
        if line is None:
            raise LookupError("nothing waits")
        client, places = next(iter(line.clients.items()))
        place, _ = places.popitem(last=False)
        if places:
            line.clients.move_to_end(client)
        else:
            del line.clients[client]
        self._counted(line, place, -1)
        return place

    def remove(self, place: Place[T]) -> bool:
        """Takes a place out of turn.

        Returns:
            Whether it was there.
        """
        line = self._lines[place.priority]
        places = line.clients.get(place.client)
        if places is None or place not in places:
            return False
        del places[place]
        if not places:
            del line.clients[place.client]
        self._counted(line, place, -1)
        return True

    def ahead(self, priority: Priority, client: str) -> tuple[int, float]:
        """What would go before a new place, at the most: calls and units."""
        calls, units = 0, 0.0
        for each in _ORDER[: _ORDER.index(priority)]:
            calls += self._lines[each].count
            units += self._lines[each].units
        line = self._lines[priority]
        if line.count:
            own = len(line.clients.get(client, ()))
            before = min(line.count, (len(line.clients) - bool(own)) * (own + 1) + own)
            calls += before
            units += line.units * before / line.count
        return calls, units

    def loser(self, priority: Priority, client: str) -> Place[T] | None:
        """The place that a full queue gives up for a new one; None where the new one has no better right.

        It is the newest of a lower priority, or of a client who has more in the queue than the new one's would.
        """
        line = next((self._lines[each] for each in reversed(_ORDER) if self._lines[each].count), None)
        if line is None:
            return None
        places = max(line.clients.values(), key=len)
        candidate = next(reversed(places))
        if candidate.priority == priority:
            return candidate if len(places) > len(line.clients.get(client, ())) + 1 else None
        return candidate if _ORDER.index(candidate.priority) > _ORDER.index(priority) else None

    def _counted(self, line: _Line[T], place: Place[T], by: int) -> None:
        line.count += by
        line.units += by * place.size
        self._count += by
