"""Keys, values and the merge of several sources: `spec/config.py` and `spec/layers.py`."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SettingsError
from orchestrator.spec import Configuration, Layer, ServiceConfig, environment_in, merge, read_assignment, read_layer
from orchestrator.spec.config import WITHOUT_EFFECT

EVERYTHING: dict[str, Any] = {
    "workers": 2,
    "threads": 4,
    "resources": {
        "cpu": "500m",
        "memory": "512Mi",
        "memory_limit": 1,
        "gpu": 0.5,
        "gpu_type": "nvidia-l4",
        "tpu_type": "v5e",
    },
    "traffic": {
        "timeout": 10,
        "max_concurrency": 8,
        "concurrency": 4,
        "external_queue": True,
        "max_queue": 0,
        "queue_timeout": 0.5,
        "priority": "low",
        "shutdown_timeout": 0,
        "hang_timeout": 5,
    },
    "backlog": 64,
    "http": {
        "host": "0.0.0.0",
        "port": 8080,
        "proxy_port": 9000,
        "max_connections": 10_000,
        "max_headers": 50,
        "max_header_bytes": 16384,
        "header_timeout": 5,
        "body_timeout": 0.5,
        "keep_alive_timeout": 60,
        "cors": {
            "enabled": True,
            "access_control_allow_origins": "https://a.example",
            "access_control_allow_credentials": True,
            "access_control_allow_methods": ["GET"],
            "access_control_allow_headers": ["X-Token"],
            "access_control_allow_origin_regex": r"https://.*\.example",
            "access_control_max_age": 10,
            "access_control_expose_headers": "X-Request-ID, Retry-After",
        },
    },
    "path_prefix": "/v1/",
    "metrics": {"enabled": False, "namespace": "shop", "duration": {"min": 0.1, "max": 1, "factor": 2}},
    "logging": {
        "format": "json",
        "access": {
            "enabled": True,
            "skip_paths": "/livez",
            "request_content_length": False,
            "request_content_type": False,
            "response_content_length": False,
            "response_content_type": False,
        },
    },
    "ssl": {
        "enabled": True,
        "certfile": "cert.pem",
        "keyfile": "key.pem",
        "keyfile_password": "hush",
        "ca_certs": "ca.pem",
        "version": 2,
        "cert_reqs": 2,
        "ciphers": "ECDHE",
    },
    "auth": {
        "keys_file": "keys.txt",
        "jwt": {
            "jwks_url": "https://login.example/keys",
            "issuer": "https://login.example",
            "audience": "shop",
            "leeway": 0,
            "scope_claim": "scp",
        },
        "free": "docs, metrics",
        "rate": {"per_second": 10, "burst": 20},
    },
    "endpoints": {"livez": "/alive", "readyz": "/ready"},
    "envs": [{"name": "MODE", "value": "fast", "stage": "runtime"}, {"name": "TOKEN"}],
    "labels": {"team": "vision", "tier": 1},
    "description": "Sells flowers.",
}


def configured(*layers: Layer) -> Configuration:
    return merge("Shop", layers)


def config_of(given: dict[str, Any]) -> ServiceConfig:
    return configured(read_layer(given, "@service")).config


def test_every_key_is_taken_and_survives_the_document_but_for_the_password() -> None:
    config = config_of(EVERYTHING)
    settings = {each.key: each for each in configured(read_layer(EVERYTHING, "@service")).settings()}
    exempt = {"cmd", "metrics.duration.buckets", "auth.jwt.secret_file", "auth.jwt.jwks_file"}
    assert {key for key, setting in settings.items() if setting.source is None} == exempt
    document = config.document()
    assert b"hush" not in document
    assert b"hush" not in repr(config).encode()
    secret = config.ssl.keyfile_password
    again = ServiceConfig.parse(document)
    assert secret == "hush"
    assert again == config.model_copy(update={"ssl": config.ssl.model_copy(update={"keyfile_password": None})})


def test_values_are_stored_in_our_units() -> None:
    config = config_of(EVERYTHING)
    assert config.resources.memory_bytes == 2**29
    assert config.resources.cpu == 0.5
    assert config.traffic.timeout_s == 10.0
    assert config.path_prefix == "/v1"
    assert config.http.cors.access_control_allow_origins == ("https://a.example",)
    assert config.http.cors.access_control_expose_headers == ("X-Request-ID", "Retry-After")
    assert config.labels == {"team": "vision", "tier": "1"}
    assert config.metrics.duration.bounds == (0.1, 0.2, 0.4, 0.8, 1)
    assert config.environment == {"MODE": "fast"}


def test_a_document_holds_what_is_not_the_default() -> None:
    assert ServiceConfig().document() == b"{}\n"
    said = config_of({"workers": 1, "traffic": {"timeout": 60}, "http": {"port": 3001}})
    assert json.loads(said.document()) == {"http": {"port": 3001}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trafic": {"timeout": 1}}, "@service: unknown key 'trafic.timeout' (did you mean 'traffic.timeout'?)"),
        ({"timeout": 1}, "@service: unknown key 'timeout' (did you mean 'traffic.timeout'?)"),
        ({"http": {"prot": 1}}, "@service: unknown key 'http.prot' (did you mean 'http.port'?)"),
        (
            {"http": {"cors": {"allow_origins": "*"}}},
            "@service: unknown key 'http.cors.allow_origins' (did you mean 'http.cors.access_control_allow_origins'?)",
        ),
        ({"monitorring": {}}, "@service: unknown key 'monitorring' (did you mean 'monitoring'?)"),
        ({"backlog": 63}, "@service: backlog=63: takes a whole number from 64 up"),
        ({"threads": True}, "@service: threads=True: takes a whole number from 1 up"),
        ({"http": {"port": 65536}}, "@service: http.port=65536: takes a number from 0 to 65535 (0: any free one)"),
        (
            {"http": "x"},
            "@service: http='x': is a section with the keys http.host, http.port, http.proxy_port, http.max_connections, "
            "http.max_headers, http.max_header_bytes, http.header_timeout, http.body_timeout, http.keep_alive_timeout, "
            "http.cors",
        ),
        ({"path_prefix": "v1"}, "@service: path_prefix='v1': takes a path such as '/v1'"),
        ({"path_prefix": "/a//b"}, "@service: path_prefix='/a//b': takes a path such as '/v1'"),
        ({"path_prefix": "/{a}"}, "@service: path_prefix='/{a}': takes a path such as '/v1'"),
        (
            {"metrics": {"namespace": "1st"}},
            "@service: metrics.namespace='1st': takes letters, digits and '_', no digit in front",
        ),
        (
            {"metrics": {"duration": {"buckets": [1, 1]}}},
            "@service: metrics.duration.buckets=[1, 1]: takes growing seconds above 0",
        ),
        (
            {"metrics": {"duration": {"buckets": [1, float("inf")]}}},
            "@service: metrics.duration.buckets=[1, inf]: takes growing seconds above 0",
        ),
        ({"ssl": {"version": 3}}, "@service: ssl.version=3: takes 17 or 2"),
        (
            {"auth": {"free": "docs,health"}},
            "@service: auth.free='docs,health': takes one or several of docs, metrics and status",
        ),
        (
            {"auth": {"jwt": {"jwks_url": "login.example"}}},
            "@service: auth.jwt.jwks_url='login.example': takes an https URL",
        ),
        (
            {"auth": {"rate": 5}},
            "@service: auth.rate=5: is a section with the keys auth.rate.per_second, auth.rate.burst",
        ),
        ({"http": {"body_timeout": 0}}, "@service: http.body_timeout=0: takes seconds above 0"),
        ({"ssl": {"keyfile_password": ["hush"]}}, "@service: ssl.keyfile_password: takes text"),
        (
            {"envs": [{"nmae": "A"}]},
            "@service: envs: takes a list of {name, value, stage}, the stage all, build or runtime",
        ),
        (
            {"envs": [{"name": "A", "stage": "later"}]},
            "@service: envs: takes a list of {name, value, stage}, the stage all, build or runtime",
        ),
        ({"labels": ["a"]}, "@service: labels=['a']: takes texts by name"),
        ({"labels": {"a": [1]}}, "@service: labels={'a': [1]}: takes texts by name"),
        ({"cmd": "python x.py"}, "@service: cmd='python x.py': takes a list of words"),
        ({"cmd": []}, "@service: cmd=[]: takes a list of words"),
        ({"endpoints": {"livez": "x"}}, "@service: endpoints.livez='x': takes a path such as '/health'"),
        ({"http": {"proxy_port": 0}}, "@service: http.proxy_port=0: takes a number from 1 to 65535"),
        ({"logging": {"access": {"enabled": 3}}}, "@service: logging.access.enabled=3: takes true or false"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_the_source(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_layer(given, "@service")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"http": {"cors": {"enabled": True}}}, "http.cors: enabled needs access_control_allow_origins or"),
        (
            {
                "http": {
                    "cors": {
                        "enabled": True,
                        "access_control_allow_origins": "*",
                        "access_control_allow_credentials": True,
                    }
                }
            },
            "http.cors: access_control_allow_credentials needs origins by name, not '*'",
        ),
        ({"http": {"cors": {"access_control_allow_origin_regex": "("}}}, "http.cors: .* is no regular expression"),
        ({"ssl": {"enabled": True}}, "ssl: enabled needs certfile"),
        ({"auth": {"keys_file": "k", "rate": {"burst": 5}}}, "auth.rate: burst needs per_second"),
        (
            {"auth": {"rate": {"per_second": 5}}},
            "auth: needs keys_file, or one of jwt.secret_file, jwt.jwks_file and jwt.jwks_url",
        ),
        (
            {"auth": {"jwt": {"secret_file": "s", "jwks_file": "k"}}},
            "auth.jwt: takes one of secret_file, jwks_file and jwks_url",
        ),
        ({"ssl": {"enabled": True, "certfile": "c", "cert_reqs": 2}}, "ssl: cert_reqs needs ca_certs"),
        ({"metrics": {"duration": {"min": 1, "max": 2}}}, "metrics.duration: needs min, max and factor together"),
        ({"metrics": {"duration": {"min": 2, "max": 1, "factor": 2}}}, "metrics.duration: min must be below max"),
        (
            {"metrics": {"duration": {"min": 1e-9, "max": 1e9, "factor": 1.001}}},
            "metrics.duration: min, max and factor make more than 200 buckets",
        ),
        (
            {"metrics": {"duration": {"buckets": [1], "min": 1}}},
            "metrics.duration: takes buckets, or min, max and factor, not both",
        ),
    ],
)
def test_values_that_contradict_each_other_name_their_sources(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^shop.yaml: {message}"):
        configured(read_layer(given, "shop.yaml"))


def test_a_contradiction_names_every_source_in_it_and_no_other() -> None:
    with pytest.raises(SettingsError) as caught:
        configured(
            read_layer({"ssl": {"enabled": True}, "workers": 2}, "@service"),
            read_assignment("http.port=1", "--port"),
            read_assignment("ssl.keyfile=key.pem", "--set"),
        )
    assert str(caught.value) == "@service, --set: ssl: enabled needs certfile (given are ssl.enabled, ssl.keyfile)"


def test_the_later_source_wins_key_by_key_and_every_value_knows_its_own() -> None:
    found = configured(
        read_layer({"workers": 2, "traffic": {"timeout": 5, "max_concurrency": 9}}, "@service"),
        read_layer({"traffic": {"timeout": 6}}, "shop.yaml"),
        read_assignment("traffic.max_concurrency=null", "ORCHESTRATOR_OPTIONS"),
    )
    assert found.config == ServiceConfig.model_validate({"workers": 2, "traffic": {"timeout_s": 6}})
    said = {each.key: (each.value, each.source) for each in found.settings() if each.source}
    assert said == {
        "workers": (2, "@service"),
        "traffic.timeout": (6.0, "shop.yaml"),
        "traffic.max_concurrency": (None, "ORCHESTRATOR_OPTIONS"),
    }


def test_variables_and_labels_are_merged_one_by_one() -> None:
    found = configured(
        read_layer({"envs": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}, "@service"),
        read_layer({"labels": {"a.b/c": "1"}}, "@service"),
        read_layer({"envs": {"B": "2", "C": {"value": "3", "stage": "build"}}}, "shop.yaml"),
        read_assignment("envs.D=4", "--set"),
        read_assignment("labels.a.b/c=2", "--set"),
    )
    assert [(each.name, each.value) for each in found.config.envs] == [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]
    assert found.config.environment == {"A": "1", "B": "2", "D": "4"}
    assert found.config.labels == {"a.b/c": "2"}
    shown = {each.key: (each.value, each.source) for each in found.settings() if each.source}
    assert shown["envs.B"] == ("***", "shop.yaml")
    assert shown["labels.a.b/c"] == ("2", "--set")


def test_the_environment_is_known_before_the_rest_is_merged() -> None:
    layers = [
        read_layer({"envs": {"A": "1", "B": None}, "ssl": {"enabled": True}}, "shop.yaml"),
        read_layer({"envs": {"A": "2"}}, "shop.yaml", service="Other"),
    ]
    assert environment_in("Shop", layers) == {"A": "1"}
    assert environment_in("Other", layers) == {"A": "2"}


def test_what_is_about_another_service_is_left_out() -> None:
    layers = [
        read_layer({"workers": 2}, "shop.yaml", service="Shop"),
        read_layer({"workers": 3}, "shop.yaml", service="Other"),
        read_assignment("services.Other.threads=3", "--set"),
        read_assignment("services.Shop.traffic.timeout=3", "--set"),
        read_assignment("services.defaults.backlog=128", "--set"),
    ]
    assert merge("Shop", layers).config.workers == 2
    assert merge("Shop", layers).config.traffic.timeout_s == 3
    assert merge("Other", layers).config == ServiceConfig(workers=3, threads=3, backlog=128)


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_taken_and_named(key: str) -> None:
    value: Any = {"anything": 1} if key in {"tracing", "grpc", "monitoring", "runner_probe"} else 1
    for word in reversed(key.split(".")):
        value = {word: value}
    if key in {"resources.gpu_type", "resources.tpu_type"}:
        value = {"resources": {key.partition(".")[2]: "x"}}
    found = configured(read_layer(value, "@service"))
    (setting,) = [each for each in found.settings() if each.source]
    assert setting.without_effect == WITHOUT_EFFECT[key]
    assert setting.key.startswith(key)
    if not setting.kept:
        assert found.config == ServiceConfig()


def test_nothing_in_a_file_means_what_it_was() -> None:
    # BentoML's own default file has `~` for most keys.
    assert config_of({"traffic": None, "workers": None, "ssl": {"certfile": None, "version": None}}) == ServiceConfig()


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("workers=2", "workers", 2),
        ("traffic.timeout=1.5", "traffic.timeout", 1.5),
        ("ssl.ciphers=true", "ssl.ciphers", "true"),
        ("ssl.keyfile=017", "ssl.keyfile", "017"),
        ("ssl.keyfile=null", "ssl.keyfile", None),
        ("logging.access.enabled=true", "logging.access.enabled", True),
        ("logging.access.skip_paths=/a,/b", "logging.access.skip_paths", ["/a", "/b"]),
        ('logging.access.skip_paths=["/a"]', "logging.access.skip_paths", ["/a"]),
        ("metrics.duration.buckets=[0.1, 1]", "metrics.duration.buckets", [0.1, 1.0]),
        ("resources.memory=2", "resources.memory", 2 * 2**30),
        ("resources.memory=512Mi", "resources.memory", 2**29),
        ("description=a=b", "description", "a=b"),
    ],
)
def test_a_value_in_text_is_read_as_its_key_needs_it(assignment: str, key: str, value: Any) -> None:
    found = configured(read_assignment(assignment, "--set"))
    assert {each.key: each.value for each in found.settings() if each.source} == {key: value}


@pytest.mark.parametrize("wrong", ["workers", "=2", "traffic..timeout=2", ".workers=1", ""])
def test_an_assignment_has_a_key_and_a_value(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"^--set: .* is not key=value \(write it as traffic.timeout=10\)$"):
        read_assignment(wrong, "--set")


TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*EVERYTHING, *EVERYTHING["http"], "timeout", "name", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EVERYTHING, *WITHOUT_EFFECT]), TREES, max_size=4))
@settings(max_examples=300)
def test_whatever_is_given_is_read_or_refused_in_our_words(given: dict[str, Any]) -> None:
    try:
        found = configured(read_layer(given, "@service"))
    except SettingsError as error:
        said = str(error)
    else:
        assert ServiceConfig.parse(found.config.document()).document() == found.config.document()
        said = "@service: " * bool(list(found.settings()))
    assert said.startswith("@service: ")


def test_the_documentation_has_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    keys = [each.key for each in configured().settings()]
    for key in [*keys, *WITHOUT_EFFECT]:
        section, _, word = key.rpartition(".")
        assert f"`{key}`" in page or (f"`.{word}`" in page and f"`{section}." in page), key
