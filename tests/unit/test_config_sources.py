"""Config files, the environment and flags, and which of them wins: `settings.py` and `cli/overrides.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli.overrides import read_overrides
from orchestrator.errors import DefinitionError, SettingsError
from orchestrator.sdk import read_service
from orchestrator.settings import ConfigFile, Settings
from orchestrator.spec import Configuration, merge, read_assignment, read_layer
from orchestrator.worker.instance import load_definition


def configured(
    working_dir: Path,
    environment: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
    service: str = "Shop",
) -> Configuration:
    settings = Settings.load(environment or {})
    layers = read_overrides(settings, working_dir, config=config, assignments=assignments, flags=flags)
    return merge(service, [read_layer({"workers": 7, "threads": 7}, "@service"), *layers])


def written(folder: Path, text: str, name: str = "orchestrator.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_every_source_wins_over_the_ones_before_it(tmp_path: Path) -> None:
    file = written(tmp_path, "version: 1\nservices:\n  Shop: {backlog: 103}\n  defaults: {backlog: 102}\n", "a.yaml")
    bentoml = written(tmp_path, "version: 2\nservices:\n  Shop: {backlog: 101}\n", "b.yaml")
    environment = {
        "BENTOML_CONFIG": str(bentoml),
        "ORCHESTRATOR_CONFIG": str(file),
        "BENTOML_CONFIG_OPTIONS": "backlog=104",
        "ORCHESTRATOR_OPTIONS": "backlog=105",
        "ORCHESTRATOR_HTTP__PORT": "106",
    }
    known: dict[str, str] = {}
    expected = [
        ("BENTOML_CONFIG", 101, f"{bentoml} (services.Shop)"),
        ("ORCHESTRATOR_CONFIG", 103, f"{file} (services.Shop)"),
        ("BENTOML_CONFIG_OPTIONS", 104, "BENTOML_CONFIG_OPTIONS"),
        ("ORCHESTRATOR_OPTIONS", 105, "ORCHESTRATOR_OPTIONS"),
    ]
    for variable, backlog, source in expected:
        known[variable] = environment[variable]
        found = configured(tmp_path, known)
        assert (found.config.backlog, found.sources["backlog",]) == (backlog, source)
    found = configured(
        tmp_path, environment, assignments=["backlog=106", "http.port=107"], flags={"--port": "http.port=108"}
    )
    assert (found.config.backlog, found.sources["backlog",]) == (106, "--set")
    assert (found.config.http.port, found.sources["http", "port"]) == (108, "--port")
    assert (found.config.workers, found.sources["workers",]) == (7, "@service")


def test_a_variable_of_one_key_wins_over_the_options(tmp_path: Path) -> None:
    environment = {
        "ORCHESTRATOR_OPTIONS": "traffic.timeout=1 labels.team='two words'",
        "ORCHESTRATOR_TRAFFIC__TIMEOUT": "2",
        "ORCHESTRATOR_HTTP__CORS__ACCESS_CONTROL_ALLOW_ORIGINS": "https://a.example,https://b.example",
        "ORCHESTRATOR_ENVS__HF_TOKEN": "hush",
        "ORCHESTRATOR_ENVS__A__B": "1",
        "ORCHESTRATOR_PORT": "81",
        "ORCHESTRATOR_HOST": "0.0.0.0",
        "ORCHESTRATOR_MAX_BODY_MB": "1",
        "TRAFFIC__TIMEOUT": "3",
        "ORCHESTRATOR_SERVER": "not a key",
    }
    config = configured(tmp_path, environment).config
    assert config.traffic.timeout_s == 2
    assert config.labels == {"team": "two words"}
    assert config.http.cors.access_control_allow_origins == ("https://a.example", "https://b.example")
    assert config.environment == {"HF_TOKEN": "hush", "A__B": "1"}
    assert (config.http.host, config.http.port) == ("0.0.0.0", 81)


def test_the_working_directory_s_file_is_read_where_no_other_is_named(tmp_path: Path) -> None:
    written(tmp_path, "services: {Shop: {workers: 2}}")
    assert configured(tmp_path).config.workers == 2
    other = written(tmp_path, "services: {Shop: {threads: 2}}", "other.yaml")
    assert configured(tmp_path, config=other).config.workers == 7
    assert configured(tmp_path, {"ORCHESTRATOR_CONFIG": str(other)}).config.threads == 2
    assert (
        configured(tmp_path, {"ORCHESTRATOR_CONFIG": str(other)}, config=tmp_path / "orchestrator.yaml").config.threads
        == 7
    )


def test_toml_says_the_same_as_yaml(tmp_path: Path) -> None:
    toml = written(
        tmp_path, 'version = 1\n[services.Shop.traffic]\ntimeout = 3\n[services.Shop.labels]\n"a.b" = "c"\n', "c.toml"
    )
    config = configured(tmp_path, config=toml).config
    assert config.traffic.timeout_s == 3
    assert config.labels == {"a.b": "c"}


@pytest.mark.parametrize(
    "text", ["", "version: 1\n", "services:\n", "services: {defaults: , Shop: }", "services: {Other: {workers: 2}}"]
)
def test_a_file_may_say_nothing_about_a_service(tmp_path: Path, text: str) -> None:
    written(tmp_path, text)
    assert configured(tmp_path).config.workers == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "{file}: takes a mapping with the keys version and services, not list"),
        ("services: [", "{file}:1: no YAML: "),
        ("a: b: c", "{file}:1: no YAML: mapping values are not allowed here"),
        ("version: 2", "{file}: version=2: takes 1 (a file of BentoML's goes into BENTOML_CONFIG)"),
        ("version: x", "{file}: version='x': takes 1"),
        ("sevices: {}", "{file}: unknown key 'sevices' (services.defaults holds what is for every service"),
        ("services: 3", "{file}: services=3: takes a mapping"),
        ("services: {Shop: 3}", "{file}: services.Shop=3: takes a mapping"),
        (
            "services: {defaults: {trafic: {timeout: 3}}}",
            "{file} (services.defaults): unknown key 'trafic.timeout' (did you mean 'traffic.timeout'?)",
        ),
        ("services: {Other: {workers: 0}}", "{file} (services.Other): workers=0: takes a whole number from 1 up"),
        ("services: {Shop: {ssl: {enabled: true}}}", "{file} (services.Shop): ssl: enabled needs certfile"),
        ("services: !!python/object:os.system {}", "{file}:1: no YAML: could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_named_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        configured(tmp_path)
    assert str(caught.value).startswith(message.format(file=file))


def test_a_wrong_toml_file_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, "version = ", "c.toml")
    with pytest.raises(SettingsError, match=f"^{file}: no TOML: "):
        configured(tmp_path, config=file)


@pytest.mark.parametrize("flag", [True, False])
def test_a_file_that_is_named_must_be_there(tmp_path: Path, flag: bool) -> None:
    missing = tmp_path / "missing.yaml"
    named_by = "--config" if flag else "ORCHESTRATOR_CONFIG"
    environment = {} if flag else {"ORCHESTRATOR_CONFIG": str(missing)}
    with pytest.raises(SettingsError) as caught:
        configured(tmp_path, environment, config=missing if flag else None)
    assert str(caught.value) == f"{named_by}: the config file {missing} cannot be read: No such file or directory"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read: it is not UTF-8 text"):
        configured(tmp_path)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ORCHESTRATOR_TRAFIC__TIMEOUT": "3"}, "ORCHESTRATOR_TRAFIC__TIMEOUT: unknown key 'trafic.timeout' (did you"),
        (
            {"ORCHESTRATOR_TRAFFIC__TIMEOUT": "x"},
            "ORCHESTRATOR_TRAFFIC__TIMEOUT: traffic.timeout='x': takes seconds above 0",
        ),
        ({"ORCHESTRATOR_PORT": "x"}, "ORCHESTRATOR_PORT: http.port='x': takes a number from 0 to 65535"),
        ({"ORCHESTRATOR_OPTIONS": "workers"}, "ORCHESTRATOR_OPTIONS: 'workers' is not key=value"),
        ({"ORCHESTRATOR_OPTIONS": "workers='1"}, "ORCHESTRATOR_OPTIONS: no closing quotation"),
        ({"BENTOML_CONFIG_OPTIONS": "workers=0"}, "BENTOML_CONFIG_OPTIONS: workers='0': takes a whole number"),
        ({"ORCHESTRATOR_MAX_BODY_MB": "x"}, "ORCHESTRATOR_MAX_BODY_MB='x': takes a whole number"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        configured(tmp_path, environment)
    assert str(caught.value).startswith(message)


def test_a_variable_that_is_empty_says_nothing() -> None:
    empty = {"ORCHESTRATOR_PORT": "", "ORCHESTRATOR_CONFIG": "", "ORCHESTRATOR_MAX_BODY_MB": ""}
    assert Settings.load(empty) == Settings.load({})
    assert Settings.load({"BENTOML_CONFIG": "x"}).bentoml_config == ConfigFile("BENTOML_CONFIG", "x")
    assert not Settings.load({"NO_COLOR": ""}).color


@orchestrator.service(name="Shop", ssl={"enabled": True}, cmd=None)
class Unfinished:
    """Says less than it needs: a file has the rest."""

    @orchestrator.api
    def run(self) -> int:
        return 1


def test_what_is_missing_in_the_code_may_come_from_elsewhere() -> None:
    with pytest.raises(DefinitionError, match=f"^{__file__}.*@service: ssl: enabled needs certfile"):
        read_service(Unfinished, "m:Unfinished")
    with pytest.raises(SettingsError, match=r"^@service: ssl: enabled needs certfile"):
        read_service(Unfinished, "m:Unfinished", [read_assignment("workers=2", "--set")])
    whole = read_service(Unfinished, "m:Unfinished", [read_assignment("ssl.certfile=c.pem", "--set")])
    assert whole.spec.ssl.certfile == "c.pem"
    assert whole.configuration is not None
    assert whole.configuration.config.ssl == whole.spec.ssl


def test_a_worker_goes_by_the_exported_configuration() -> None:
    whole = read_service(Unfinished, f"{__name__}:Unfinished", [read_assignment("ssl.certfile=c.pem", "--set")])
    assert load_definition(whole.spec, Path(__file__).parents[2]).spec == whole.spec
