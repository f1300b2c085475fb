"""The health file, and what is read from it."""

from pathlib import Path

from orchestrator.engine.health import HEALTH_FILE, Health, HealthFile, Loss, ModelHealth, State

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
