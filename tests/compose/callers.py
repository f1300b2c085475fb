"""Callers that go on, whatever dies: each repeats what has failed, at another front-end, until it is answered."""

import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from orchestrator.client import SyncHTTPClient
from orchestrator.errors import CallError
from tests.compose.stack import ROOT

__all__ = ["FLOWERS", "Attempt", "Callers"]

FLOWERS: Final[list[dict[str, Any]]] = json.loads((ROOT / "examples/iris/requests.json").read_text())
_PAUSE_S: Final = 0.02
_PATIENCE_S: Final = 60.0
_ONE_TRY_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one call.

    Attributes:
        url: of the front-end.
        began_s: on the monotonic clock; so is `ended_s`.
        failure: why it failed; empty where it was answered.
        retryable: whether the error says that a retry helps.
    """

    url: str
    began_s: float
    ended_s: float
    failure: str = ""
    retryable: bool = True


class Callers:
    """Some threads that call `classify` without a pause; they stop when the context is left.

    Args:
        urls: of the front-ends; the callers begin evenly spread.
    """

    def __init__(self, urls: Sequence[str], count: int = 8) -> None:
        self._urls = urls
        self._ending = threading.Event()
        self.count = count
        self.attempts: list[Attempt] = []
        self.wrong: list[str] = []
        self.unanswered: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for each in self._threads:
            each.join(_PATIENCE_S + 30)

    @property
    def failures(self) -> list[Attempt]:
        return [each for each in self.attempts if each.failure]

    def answered(self, since_s: float = 0.0, until_s: float = float("inf")) -> list[Attempt]:
        """The answered tries that ended in a span of time."""
        return [each for each in self.attempts if not each.failure and since_s <= each.ended_s < until_s]

    def outage_s(self) -> float:
        """The longest time without any answer."""
        ends = sorted(each.ended_s for each in self.answered())
        return max((later - earlier for earlier, later in itertools.pairwise(ends)), default=0.0)

    def told(self) -> str:
        """What happened, for a person."""
        kinds = Counter(each.failure for each in self.failures)
        spent_s = max(each.ended_s for each in self.attempts) - min(each.began_s for each in self.attempts)
        slowest_s = max(each.ended_s - each.began_s for each in self.attempts)
        failed = "".join(f"\n    {count} x {kind}" for kind, count in kinds.most_common())
        return (
            f"{len(self.answered())} answers ({len(self.answered()) / spent_s:.0f}/s), {len(self.failures)} failed tries, "
            f"longest time without an answer {self.outage_s():.2f} s, slowest try {slowest_s:.2f} s{failed}"
        )

    def _run(self, number: int) -> None:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(SyncHTTPClient(url, timeout=_ONE_TRY_S)) for url in self._urls]
            at = number % len(clients)
            for turn in itertools.count(number):
                if self._ending.is_set():
                    break
                flower = FLOWERS[turn % len(FLOWERS)]
                give_up_s = time.monotonic() + _PATIENCE_S
                while (failure := self._try(clients[at], self._urls[at], flower)) is not None:
                    if time.monotonic() > give_up_s:
                        self.unanswered.append(failure)
                        break
                    time.sleep(_PAUSE_S)
                    at = (at + 1) % len(clients)

    def _try(self, client: SyncHTTPClient, url: str, flower: dict[str, Any]) -> str | None:
        """Calls once; returns why that failed, None where it was answered."""
        began_s = time.monotonic()
        try:
            answer = client.call("classify", **flower["request"])
        except CallError as error:
            failure = f"{type(error).__name__}: {error}"
            self.attempts.append(Attempt(url, began_s, time.monotonic(), failure, error.retryable))
            return failure
        self.attempts.append(Attempt(url, began_s, time.monotonic()))
        if list(answer) != flower["answer"]:
            self.wrong.append(f"{flower['request']} -> {answer}")
        return None
