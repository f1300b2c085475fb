"""The load generator's process: jobs in, samples out."""

import ctypes
import multiprocessing
import signal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, Self, cast

from benchmarks.load import DRAIN_S, WARM_UP_S, Job, Sample, measure
from benchmarks.processes import ServerFailed

__all__ = ["LoadGenerator"]

_SLACK_S: Final = 30.0
"""What a cell may take beyond its own limits before the process counts as hung."""
_PR_SET_PDEATHSIG: Final = 1


class LoadGenerator:
    """A process that measures, so that nothing of ours runs in the same interpreter."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), name="load-generator", daemon=True)
        self._process.start()
        theirs.close()

    def measure(self, job: Job) -> Sample:
        """Runs one cell.

        Raises:
            ServerFailed: the process ended or hangs; why, it says on standard error.
        """
        try:
            self._ours.send(job)
            if self._ours.poll(WARM_UP_S + job.seconds + DRAIN_S + _SLACK_S):
                return cast(Sample, self._ours.recv())
        except (EOFError, OSError) as error:
            raise ServerFailed("the load generator ended") from error
        raise ServerFailed("the load generator hangs")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()


def _work(jobs: "Connection[Sample, Job]") -> None:
    # It must not outlive a killed benchmark, and Ctrl-C is for the benchmark, which ends this process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            job = jobs.recv()
        except EOFError:
            return
        jobs.send(measure(job))
