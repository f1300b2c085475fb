"""A Triton that comes later: asked for again and again, with a line for each new reason, until it is there."""

import threading

import pytest

from orchestrator.cli import awaiting
from orchestrator.cli.awaiting import awaited
from orchestrator.errors import BackendUnavailable, ServerProcessError

REASONS = (
    BackendUnavailable("no Triton answers"),
    BackendUnavailable("no Triton answers"),
    ServerProcessError("it has no model 'Iris'"),
)


def test_each_new_reason_is_said_once_and_the_end_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(awaiting, "_AGAIN_S", 0.001)
    left, done = list(REASONS), threading.Event()

    async def check() -> None:
        if left:
            raise left.pop(0)
        done.set()

    with awaited(check, "Triton has Iris"):
        assert done.wait(10)
    assert capsys.readouterr().err.splitlines() == [
        "no Triton answers; waiting for it",
        "it has no model 'Iris'; waiting for it",
        "Triton has Iris",
    ]


def test_whoever_leaves_waits_no_longer() -> None:
    begun = threading.Event()

    async def check() -> None:
        begun.set()
        raise BackendUnavailable("no Triton answers")

    with awaited(check, "Triton has Iris"):
        assert begun.wait(10)
    assert not [each for each in threading.enumerate() if each.name == "orchestrator-await-triton"]
