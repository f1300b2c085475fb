"""`--config`, `--set` and the environment as a user gives them to the commands; nothing here needs Triton."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[1] / "services"
COMMAND = Path(sys.executable).parent / "orchestrator"
TARGET = "configured:Configured"


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "BENTOML_"))}
    command = [str(COMMAND), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=ours | {"NO_COLOR": "1"} | environment, timeout=60, check=False
    )


def show(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run("config", "show", TARGET, "--working-dir", SERVICES, *arguments, **environment)


def rows(done: "subprocess.CompletedProcess[str]") -> dict[str, list[str]]:
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert lines[0] == ["KEY", "VALUE", "FROM"]
    return {key: rest for key, *rest in lines[1:]}


def test_what_is_set_is_shown_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("services: {defaults: {workers: 3}, Configured: {traffic: {timeout: 20}, ssl: {certfile: c.pem}}}")
    done = show("--config", file, "--set", "http.port=81", ORCHESTRATOR_BACKLOG="1", ORCHESTRATOR_SSL__KEYFILE="k.pem")
    assert rows(done) == {
        "workers": ["3", f"{file} (services.defaults)"],
        "traffic.timeout": ["20.0", f"{file} (services.Configured)"],
        "http.port": ["81", "--set"],
        "ssl.certfile": ["c.pem", f"{file} (services.Configured)"],
        "ssl.keyfile": ["k.pem", "ORCHESTRATOR_SSL__KEYFILE"],
        "envs.FROM_CODE": ["***", "@service"],
        "envs.ONLY_BUILT": ["***", "@service"],
        "labels.team": ["vision", "@service"],
        "monitoring": ['{"enabled":true}', "@service  (accepted, has no effect: nothing records calls)"],
    }


def test_all_shows_the_defaults_and_json_is_for_machines() -> None:
    done = show("--all", "--json", "--set", "ssl.keyfile_password=hush")
    assert "hush" not in done.stdout
    document = json.loads(done.stdout)
    assert document["service"] == "Configured"
    settings = {each["key"]: each for each in document["settings"]}
    assert settings["http.host"] == {
        "key": "http.host",
        "value": "127.0.0.1",
        "from": "default",
        "without_effect": None,
    }
    assert settings["ssl.keyfile_password"]["value"] == "***"
    assert settings["metrics.enabled"]["value"] is True
    assert settings["monitoring"]["without_effect"] == "nothing records calls"


def test_a_name_that_is_nearly_the_service_s_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("services: {Configurd: {workers: 3}, Other: {workers: 2}}")
    done = show("--config", file)
    assert done.returncode == 0
    assert done.stderr == "what is said about the service 'Configurd' is not for 'Configured'\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--set", "trafic.timeout=1"], {}, "--set: unknown key 'trafic.timeout' (did you mean 'traffic.timeout'?)"),
        (
            [],
            {"ORCHESTRATOR_OPTIONS": "workers=x"},
            "ORCHESTRATOR_OPTIONS: workers='x': takes a whole number from 1 up",
        ),
    ],
)
def test_a_wrong_source_is_one_sentence_and_exit_code_2(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    done = show(*arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_export_writes_what_the_sources_say_and_no_password(tmp_path: Path) -> None:
    wanted = ["--set", "workers=2", "--set", "ssl.keyfile_password=hush", "--set", "http.port=81"]
    options: list[str | Path] = ["export", TARGET, "--working-dir", SERVICES, "--repository", tmp_path, *wanted]
    assert run(*options).returncode == 0
    assert "count: 2" in (tmp_path / "Configured" / "config.pbtxt").read_text()
    text = (tmp_path / "Configured" / "1" / "service.json").read_text()
    document = json.loads(text)
    assert "hush" not in text
    assert document["workers"] == 2
    assert document["http"] == {"port": 81}
    assert document["traffic"] == {"timeout_s": 10.0}
    assert "metrics" not in document
    assert run(*options, "--check").returncode == 0
    assert run(*options, "--check", "--set", "workers=1").returncode == 1


def serve(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run("serve", TARGET, "--working-dir", SERVICES, *arguments, **environment)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port: http.port='70000': takes a number from 0 to 65535 (0: any free one)"),
        (
            ["--set", "ssl.enabled=true", "--set", f"ssl.certfile={__file__}"],
            f"ssl.certfile='{__file__}', ssl.keyfile=None: cannot be used: ",
        ),
    ],
)
def test_serve_says_what_is_wrong_before_it_starts_triton(arguments: list[str], message: str) -> None:
    done = serve(*arguments)
    assert done.returncode == 2
    assert (
        "@service: monitoring is accepted and has no effect: nothing records calls\n" in done.stderr
        or "--port" in message
    )
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert "Triton" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["export", "configured:Command"], 1, "Command has no Triton model: it is a process of its own"),
        (["serve", "configured:Command", "--reload"], 2, "--reload is not for Command"),
        (
            ["serve", TARGET, "--set", 'cmd=["true"]'],
            3,
            "service Configured has cmd, so it cannot have the API 'environment' (take cmd away, or the API 'environment')",
        ),
        (
            ["serve", "configured:Command", "--port", "0", "--set", 'cmd=["no-such-program", "$PORT"]'],
            4,
            "the command of Command cannot be started: there is no program 'no-such-program'",
        ),
    ],
)
def test_what_a_service_with_cmd_cannot_do(command: list[str], code: int, message: str) -> None:
    done = run(*command, "--working-dir", SERVICES)
    assert message in done.stderr
    assert done.returncode == code


def test_variables_from_outside_are_there_when_the_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / "needy.py").write_text(
        "import os, orchestrator\n"
        "@orchestrator.service(description=os.environ['MODE'] + os.environ.get('LATE', ''), envs={'LATE': 'x'})\n"
        "class Needy:\n    @orchestrator.api\n    def run(self) -> int: ...\n"
    )
    (tmp_path / "orchestrator.yaml").write_text("services: {Needy: {envs: {MODE: fast}}}")
    done = run("config", "show", "needy:Needy", "--working-dir", tmp_path)
    assert rows(done)["description"] == ["fast", "@service"]
