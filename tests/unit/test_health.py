"""The health file, and what is read from it."""

import os
import struct
import time
import zlib
from pathlib import Path

import pytest

from orchestrator.engine.health import (
    HEALTH_FILE,
    Health,
    HealthFile,
    HealthReport,
    Loss,
    ModelHealth,
    State,
    joint_health,
)
from orchestrator.engine.heartbeat import beat_path

ILL = ModelHealth(state=State.DEGRADED, reason="a: 1 of 2 workers died")
DEAD = ModelHealth(state=State.DOWN, reason="b: 1 of 1 workers died", soon=False, retry_s=8)
LOSS = Loss(serial=1, model="b", pid=7, last=True, at_ns=5)


def test_a_server_without_a_supervisor_is_well(tmp_path: Path) -> None:
    assert HealthFile(tmp_path).read() == Health()
    assert Health().of("anything").answers
    assert HealthFile(tmp_path / "gone").read().of_all(["a", "b"]) == ModelHealth()


def test_what_is_written_is_read_again_and_changes_are_noticed(tmp_path: Path) -> None:
    file = HealthFile(tmp_path)
    for health in (Health(models={"a": ILL}), Health(models={"b": DEAD}, losses=(LOSS,), heals={"a": 1}), Health()):
        health.write(tmp_path)
        assert file.read() == health
    assert [path.name for path in tmp_path.iterdir()] == [HEALTH_FILE]


def test_a_damaged_file_leaves_what_was_known(tmp_path: Path) -> None:
    Health(models={"a": ILL}).write(tmp_path)
    file = HealthFile(tmp_path)
    assert file.read().of("a") == ILL
    (tmp_path / HEALTH_FILE).write_text("{")
    assert file.read().of("a") == ILL


def test_writing_to_a_folder_that_has_gone_is_no_error(tmp_path: Path) -> None:
    Health().write(tmp_path / "gone")


def test_the_worst_of_several_models_counts_and_all_reasons_are_told() -> None:
    health = Health(models={"a": ILL, "b": DEAD})
    assert health.of_all(["a"]) == ILL
    assert health.of_all(["c"]) == ModelHealth()
    both = health.of_all(["a", "b", "c"])
    assert (both.state, both.soon, both.retry_s) == (State.DOWN, False, 8)
    assert both.reason == f"{ILL.reason}; {DEAD.reason}"
    assert not both.answers


def test_where_the_server_is_down_every_model_is() -> None:
    down = ModelHealth(state=State.DOWN, reason="Triton ended")
    assert Health(whole=down, models={"a": ILL}).of("a") == down
    assert Health(whole=down).of_all(["a", "b"]).reason == "Triton ended"


def test_what_one_of_several_servers_can_do_can_be_done() -> None:
    well, ill = Health(deaths={"a": 1}), Health(models={"b": DEAD, "a": ILL}, deaths={"a": 2}, heals={"b": 1})
    joint = joint_health([well, ill])
    assert (joint.of("a").state, joint.of("b").state, joint.of("c").state) == (
        State.DEGRADED,
        State.DEGRADED,
        State.SERVING,
    )
    assert joint.of("b").reason == DEAD.reason
    assert (joint.deaths, joint.heals) == ({"a": 3}, {"b": 1})
    assert joint_health([ill, ill]).of("b") == DEAD
    stopped = Health(whole=DEAD)
    assert joint_health([well, stopped]).whole.answers
    assert joint_health([well, stopped]).of("a").answers
    assert joint_health([stopped]).of("a") == DEAD
    assert joint_health([]) == Health()


def test_a_report_says_the_same_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    server_id = f"orchestrator-{os.getpid()}-health"
    path = beat_path(server_id, 7)
    path.write_bytes(struct.pack("<QQII2I", 1, 0, 1, 0, zlib.crc32(b"begun"), 0).ljust(4096, b"\0"))
    try:
        here_ns = time.monotonic_ns()
        losses = tuple(
            Loss(serial=pid, model="m", pid=pid, last=True, at_ns=here_ns - ago_ns)
            for pid, ago_ns in ((7, 10**9), (8, 10**9), (9, 10**12))
        )
        report = HealthReport.of(Health(server_id=server_id, losses=losses))
    finally:
        path.unlink()
    there = HealthReport.parse(report.document())
    assert there == report
    monkeypatch.setattr(time, "monotonic_ns", lambda: here_ns + 5 * 10**15)  # another machine's clock
    ages = [here_ns + 5 * 10**15 - loss.at_ns for loss in there.here().losses]
    assert [round(age_ns / 1e9) for age_ns in ages] == [1, 1, 1000]
    beats = there.beats()
    assert list(beats) == [7], "of the others nothing is known"
    assert beats[7].has_begun("begun")
    assert not beats[7].has_begun("another")
