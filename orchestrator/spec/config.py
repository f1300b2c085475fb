"""How a service is run, as data: every key that `@service`, a config file, the environment and `--set` may give.

The keys are BentoML's. A key is the dotted path of a field, such as `traffic.timeout`; where our field's name has a
unit (`timeout_s`) its `Takes` has the key's own word. `layers.py` reads and merges them; docs/configuration.md lists
them.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from orchestrator.spec.call import Priority
from orchestrator.spec.frozen import Frozen

__all__ = [
    "WITHOUT_EFFECT",
    "AccessLog",
    "Auth",
    "Cors",
    "Duration",
    "Endpoints",
    "EnvVar",
    "Http",
    "Jwt",
    "Logging",
    "Metrics",
    "Rate",
    "Resources",
    "ServiceConfig",
    "Ssl",
    "Takes",
    "Traffic",
    "environment_of",
]

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "image": "container images are not built from here",
    "resources.cpu": "a hint for schedulers; nothing is limited on this machine",
    "resources.memory": "a hint for schedulers; resources.memory_limit is a limit",
    "resources.gpu_type": "a hint for schedulers",
    "resources.tpu_type": "Triton runs on no TPU",
    "http.response": "answers carry X-Request-ID, and X-Trace-ID where they are traced",
    "logging.access.format": "lines carry the request's id and the trace's in hexadecimal digits",
    "runner_probe": "there are no runner processes; /readyz asks Triton",
    "runner_connection": "there are no runner processes",
    "max_runner_connections": "there are no runner processes",
    "replicate_process": "`workers` says how many processes there are",
    "extra_ports": "a service has one port",
    "monitoring": "nothing records calls",
    "tracing": "the standard variables of OpenTelemetry say it: OTEL_EXPORTER_OTLP_ENDPOINT turns traces on",
    "grpc": "Triton's own gRPC is there instead",
}
"""Key, or section, that BentoML knows and that changes nothing here -> why. Taken from everywhere, and said so."""

_BYTES: Final = {
    "": 1,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip
_MOST_BUCKETS: Final = 200
_DEFAULT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TLS_PROTOCOLS: Final = (2, 17)
"""`ssl.PROTOCOL_TLS` and `ssl.PROTOCOL_TLS_SERVER`."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What a key takes; stands in the annotation of its field.

    Attributes:
        words: for a person, after "takes".
        read: a person's form -> the stored one; may raise `ValueError` or `TypeError`.
        key: the key's last word, where the field's name is another.
        entries: the value is entries by name, each of which a later source may replace alone: a person's form -> them.
        secret: the value is never shown.
    """

    words: str
    read: Callable[[Any], Any] | None = None
    key: str | None = None
    entries: Callable[[Any], Mapping[str, Any]] | None = None
    secret: bool = False


def _cores(value: Any) -> float | None:
    text = str(value).strip()
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _size(value: Any) -> int:
    """Bytes; a bare number means GiB, as BentoML's users know it."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT]?i?)[bB]?\s*", str(value))
    if not match or (unit := match[2].lower()) not in _BYTES:
        raise ValueError
    if isinstance(value, (int, float)):
        unit = "gi"
    return int(float(match[1]) * _BYTES[unit])


def _gpus(value: float) -> float:
    if value > 1 and not value.is_integer():
        raise ValueError("above 1 only whole GPUs can be asked for")
    return value


def _processes(value: Any) -> Any:
    return len(os.sched_getaffinity(0)) if value == "cpu_count" else value


def _words(value: Any) -> Any:
    """One or several."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _prefix(value: str) -> str:
    if not isinstance(value, str) or set(value) & set("?#{} ") or not value.startswith(("/", "")):
        raise ValueError
    prefix = value.rstrip("/")
    if prefix and (not prefix.startswith("/") or "//" in prefix):
        raise ValueError
    return prefix


def _route(path: str | None) -> str | None:
    if path is not None and (not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path):
        raise ValueError
    return path


def _growing(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or not all(a < b < math.inf for a, b in zip((0.0, *values), values, strict=False)):
        raise ValueError
    return values


def _by_name(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return {str(key): content for key, content in value.items()}


def _variables(value: Any) -> Mapping[str, Any]:
    """`[{name: N, value: V, stage: S}]`, or `{N: V}`."""
    if isinstance(value, Mapping):
        return {
            str(name): {"name": str(name), **content} if isinstance(content, Mapping) else _variable(str(name), content)
            for name, content in value.items()
        }
    if not isinstance(value, (list, tuple)):
        raise TypeError
    items = [item.model_dump() if isinstance(item, EnvVar) else item for item in value]
    return {str(item["name"]): dict(item) for item in items}


def _variable(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "value": str(value).lower() if isinstance(value, bool) else value}


class Resources(Frozen):
    """What one worker asks for.

    Attributes:
        cpu: cores; None where not said.
        memory_bytes: bytes of RAM.
        memory_limit_bytes: bytes of RAM that it gets beyond which an allocation fails; None for no limit.
        gpu: GPUs; a fraction is a share of one.
        gpu_type: name of the kind of GPU, for schedulers.
        tpu_type: likewise.
    """

    cpu: Annotated[
        float | None, Field(ge=0, allow_inf_nan=False), Takes("cores from 0 up, such as 2 or '500m'", _cores)
    ] = None
    memory_bytes: Annotated[
        int | None, Field(ge=0), Takes("a size such as '512Mi', or a number of GiB", _size, key="memory")
    ] = None
    memory_limit_bytes: Annotated[
        int | None, Field(gt=0), Takes("a size such as '512Mi', or a number of GiB", _size, key="memory_limit")
    ] = None
    gpu: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        AfterValidator(_gpus),
        Takes("a number from 0 up; above 1 only whole GPUs can be asked for"),
    ] = 0
    gpu_type: Annotated[str | None, Takes("a name such as 'nvidia-a100-80gb'")] = None
    tpu_type: Annotated[str | None, Takes("a name")] = None


class Traffic(Frozen):
    """Limits on calls.

    Attributes:
        timeout_s: a call that takes longer is answered with a time-out.
        max_concurrency: calls that run, and wait, in the whole service; None for no limit.
        concurrency: how many calls at once the service is meant for: with `external_queue` no more run.
        external_queue: `concurrency` is a limit.
        max_queue: calls that wait for those that run; None for `max_concurrency`'s rest, or else 1000.
        queue_timeout_s: longest wait in the queue; None for as long as the call's deadline allows.
        priority: of a call that does not say.
        shutdown_timeout_s: how long calls in flight have to end once the service shall stop.
        hang_timeout_s: a worker that makes no progress for that long is replaced; None for twice `timeout_s`.
    """

    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0", key="timeout")] = 60.0
    max_concurrency: Annotated[int | None, Field(ge=1), Takes("a whole number from 1 up")] = None
    concurrency: Annotated[int | None, Field(ge=1), Takes("a whole number from 1 up")] = None
    external_queue: Annotated[bool, Takes("true or false")] = False
    max_queue: Annotated[int | None, Field(ge=0), Takes("a whole number from 0 up")] = None
    queue_timeout_s: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0", key="queue_timeout")
    ] = None
    priority: Annotated[Priority, Takes("high, normal or low")] = Priority.NORMAL
    shutdown_timeout_s: Annotated[
        float, Field(ge=0, allow_inf_nan=False), Takes("seconds from 0 up", key="shutdown_timeout")
    ] = 60.0
    hang_timeout_s: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0", key="hang_timeout")
    ] = None

    @property
    def hangs_after_s(self) -> float:
        """Without progress, a worker hangs."""
        return 2 * self.timeout_s if self.hang_timeout_s is None else self.hang_timeout_s


class Cors(Frozen):
    """Which pages of other origins a browser lets call the service.

    Attributes:
        access_control_allow_origins: origins such as `https://example.com`, or `*` alone.
        access_control_allow_origin_regex: the whole origin must match it.
        max_age_s: how long a browser may remember the answer to a preflight.
    """

    enabled: Annotated[bool, Takes("true or false")] = False
    access_control_allow_origins: Annotated[tuple[str, ...], Takes("an origin or a list of them", _words)] = ()
    access_control_allow_credentials: Annotated[bool, Takes("true or false")] = False
    access_control_allow_methods: Annotated[tuple[str, ...], Takes("a method or a list of them", _words)] = (
        "GET", "HEAD", "OPTIONS", "POST", "PUT",
    )  # fmt: skip
    access_control_allow_headers: Annotated[tuple[str, ...], Takes("a header or a list of them", _words)] = ()
    access_control_allow_origin_regex: Annotated[str | None, Takes("a regular expression")] = None
    max_age_s: Annotated[int, Field(ge=0), Takes("seconds from 0 up", key="access_control_max_age")] = 600
    access_control_expose_headers: Annotated[tuple[str, ...], Takes("a header or a list of them", _words)] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.access_control_allow_origin_regex is not None:
            try:
                re.compile(self.access_control_allow_origin_regex)
            except re.error as error:
                raise ValueError(f"access_control_allow_origin_regex is no regular expression: {error}") from None
        if self.enabled and not (self.access_control_allow_origins or self.access_control_allow_origin_regex):
            raise ValueError("enabled needs access_control_allow_origins or access_control_allow_origin_regex")
        if self.enabled and self.access_control_allow_credentials and "*" in self.access_control_allow_origins:
            raise ValueError("access_control_allow_credentials needs origins by name, not '*'")
        return self


class Http(Frozen):
    """Where the front-end listens, and what one connection may cost. The default answers this machine only.

    Attributes:
        proxy_port: where the process of a service with `cmd` listens, unless its command names `$PORT`.
        max_connections: open ones of one front-end process; None for as many as it may have files.
        max_headers: lines of a request's head.
        max_header_bytes: of a request's head: its address, and the names and values of its headers.
        header_timeout_s: how long a client may take for a head, from the connection or the head's first byte on.
        body_timeout_s: how long it may take for a body, and a second more for each KiB; None for as long as it likes.
        keep_alive_timeout_s: how long a connection may wait for its next request.
    """

    host: Annotated[str, Field(min_length=1), Takes("an address such as 127.0.0.1 or 0.0.0.0")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535), Takes("a number from 0 to 65535 (0: any free one)")] = 3000
    proxy_port: Annotated[int, Field(ge=1, le=65535), Takes("a number from 1 to 65535")] = 8000
    max_connections: Annotated[int | None, Field(ge=1), Takes("a whole number from 1 up")] = None
    max_headers: Annotated[int, Field(ge=1), Takes("a whole number from 1 up")] = 100
    max_header_bytes: Annotated[int, Field(ge=1024), Takes("a number of bytes from 1024 up")] = 32 * 2**10
    header_timeout_s: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0", key="header_timeout")
    ] = 20.0
    body_timeout_s: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0", key="body_timeout")
    ] = 30.0
    keep_alive_timeout_s: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0", key="keep_alive_timeout")
    ] = 5.0
    cors: Cors = Cors()


class Jwt(Frozen):
    """Tokens that somebody else signs: with a secret that we share, or with a key whose public half we read.

    Attributes:
        secret_file: holds the secret, 32 bytes at least (HS256).
        jwks_file: a JSON Web Key Set of public keys (RS256, PS256, ES256, EdDSA).
        jwks_url: where such a set is fetched.
        issuer: what `iss` must be; None for any.
        audience: one of them must be in `aud`; empty where tokens have none.
        leeway_s: by how much clocks may differ.
        scope_claim: where a token lists its scopes: words in a text, or a list.
    """

    secret_file: Annotated[str | None, Takes("a path")] = None
    jwks_file: Annotated[str | None, Takes("a path")] = None
    jwks_url: Annotated[
        str | None, AfterValidator(lambda given: given if given is None else _http_url(given)), Takes("an https URL")
    ] = None
    issuer: Annotated[str | None, Takes("text")] = None
    audience: Annotated[tuple[str, ...], Takes("a text or a list of them", _words)] = ()
    leeway_s: Annotated[float, Field(ge=0, le=600), Takes("seconds from 0 to 600", key="leeway")] = 10.0
    scope_claim: Annotated[str, Field(min_length=1), Takes("the name of a claim")] = "scope"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(source is not None for source in (self.secret_file, self.jwks_file, self.jwks_url)) > 1:
            raise ValueError("takes one of secret_file, jwks_file and jwks_url")
        return self

    @property
    def enabled(self) -> bool:
        """Whether tokens are taken."""
        return not (self.secret_file is self.jwks_file is self.jwks_url is None)


def _http_url(given: str) -> str:
    if not given.startswith(("https://", "http://")) or not given.isascii() or not given.isprintable() or " " in given:
        raise ValueError
    return given


class Rate(Frozen):
    """How many requests one client may send.

    Attributes:
        per_second: in the long run; None for no limit.
        burst: at once, after a pause; None for those of one second.
    """

    per_second: Annotated[float | None, Field(gt=0, allow_inf_nan=False), Takes("a number above 0")] = None
    burst: Annotated[int | None, Field(ge=1), Takes("a whole number from 1 up")] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.burst is not None and self.per_second is None:
            raise ValueError("burst needs per_second")
        return self

    @property
    def at_once(self) -> int:
        """Requests that a client who has paused may send without a pause."""
        return self.burst or max(1, math.ceil(self.per_second or 1))


class Auth(Frozen):
    """Who may call. Without keys and tokens everybody may.

    Attributes:
        keys_file: one line a key, as `orchestrator keys new` writes them.
        free: pages that need no credential.
    """

    keys_file: Annotated[str | None, Takes("a path")] = None
    jwt: Jwt = Jwt()
    free: Annotated[
        tuple[Literal["docs", "metrics", "status"], ...], Takes("one or several of docs, metrics and status", _words)
    ] = ()
    rate: Rate = Rate()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.enabled and (self.free or self.rate.per_second is not None):
            raise ValueError("needs keys_file, or one of jwt.secret_file, jwt.jwks_file and jwt.jwks_url")
        return self

    @property
    def enabled(self) -> bool:
        """Whether callers need a credential."""
        return self.keys_file is not None or self.jwt.enabled


class Duration(Frozen):
    """Buckets of the duration histogram, in seconds: `buckets`, or `min`, `max` and the `factor` that they grow by."""

    buckets: Annotated[
        tuple[float, ...] | None,
        AfterValidator(lambda given: given if given is None else _growing(given)),
        Takes("growing seconds above 0"),
    ] = None
    min: Annotated[float | None, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0")] = None
    max: Annotated[float | None, Field(gt=0, allow_inf_nan=False), Takes("seconds above 0")] = None
    factor: Annotated[float | None, Field(gt=1, allow_inf_nan=False), Takes("a number above 1")] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        span = (self.min, self.max, self.factor)
        if self.buckets is not None and any(part is not None for part in span):
            raise ValueError("takes buckets, or min, max and factor, not both")
        if any(part is not None for part in span):
            if self.min is None or self.max is None or self.factor is None:
                raise ValueError("needs min, max and factor together")
            if self.min >= self.max:
                raise ValueError("min must be below max")
            if math.log(self.max / self.min, self.factor) > _MOST_BUCKETS:
                raise ValueError(f"min, max and factor make more than {_MOST_BUCKETS} buckets")
        return self

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of the buckets, in seconds, without infinity."""
        if self.buckets is not None:
            return self.buckets
        if self.min is None or self.max is None or self.factor is None:
            return _DEFAULT_BUCKETS
        bounds = [self.min]
        while (bound := bounds[-1] * self.factor) < self.max:
            bounds.append(bound)
        return (*bounds, self.max)


class Metrics(Frozen):
    """The page `/metrics`.

    Attributes:
        namespace: first part of the names of our own counters.
    """

    enabled: Annotated[bool, Takes("true or false")] = True
    namespace: Annotated[
        str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$"), Takes("letters, digits and '_', no digit in front")
    ] = "orchestrator"
    duration: Duration = Duration()


class AccessLog(Frozen):
    """One line a request, on standard error.

    Attributes:
        skip_paths: requests to them get no line.
    """

    enabled: Annotated[bool, Takes("true or false")] = False
    skip_paths: Annotated[tuple[str, ...], Takes("a path or a list of them", _words)] = (
        "/livez", "/readyz", "/healthz", "/metrics",
    )  # fmt: skip
    request_content_length: Annotated[bool, Takes("true or false")] = True
    request_content_type: Annotated[bool, Takes("true or false")] = True
    response_content_length: Annotated[bool, Takes("true or false")] = True
    response_content_type: Annotated[bool, Takes("true or false")] = True


class Logging(Frozen):
    """What is written down.

    Attributes:
        format: of what the front-end, the workers, the command and Triton write on standard error.
    """

    format: Annotated[Literal["text", "json"], Takes("text or json")] = "text"
    access: AccessLog = AccessLog()


class Ssl(Frozen):
    """TLS of the front-end.

    Attributes:
        keyfile_password: never in a document: it is for the process that was given it.
        version: number in Python's `ssl`: 17 is `PROTOCOL_TLS_SERVER`.
        cert_reqs: whether callers need a certificate: 0 no, 1 may have one, 2 yes.
        ciphers: in OpenSSL's words; None for Python's own choice.
    """

    enabled: Annotated[bool, Takes("true or false")] = False
    certfile: Annotated[str | None, Takes("a path")] = None
    keyfile: Annotated[str | None, Takes("a path")] = None
    keyfile_password: Annotated[str | None, Takes("text", secret=True)] = Field(None, exclude=True, repr=False)
    ca_certs: Annotated[str | None, Takes("a path")] = None
    version: Annotated[int, AfterValidator(lambda number: _one_of(number, _TLS_PROTOCOLS)), Takes("17 or 2")] = 17
    cert_reqs: Annotated[int, Field(ge=0, le=2), Takes("0 (none), 1 (optional) or 2 (required)")] = 0
    ciphers: Annotated[str | None, Takes("OpenSSL's words for a list of ciphers")] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.enabled and not self.certfile:
            raise ValueError("enabled needs certfile")
        if self.enabled and self.cert_reqs and not self.ca_certs:
            raise ValueError("cert_reqs needs ca_certs")
        return self


def _one_of(number: int, allowed: tuple[int, ...]) -> int:
    if number not in allowed:
        raise ValueError
    return number


class Endpoints(Frozen):
    """Health routes of the process of a service with `cmd`; our own `/livez` and `/readyz` ask them."""

    livez: Annotated[str | None, AfterValidator(_route), Takes("a path such as '/health'")] = None
    readyz: Annotated[str | None, AfterValidator(_route), Takes("a path such as '/health'")] = None


class EnvVar(Frozen):
    """One variable of the workers' environment.

    Attributes:
        value: None for one that is only declared: whoever starts the service sets it.
        stage: when it is set; one of `build` is not there while the service runs.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str | None = None
    stage: Literal["all", "build", "runtime"] = "all"


class ServiceConfig(Frozen):
    """All that can be said about how a service is run.

    Attributes:
        workers: processes that each hold one instance of the class.
        threads: calls of sync methods that one worker runs at once.
        backlog: connections that wait to be accepted.
        path_prefix: in front of every route, without a slash at the end; empty for none.
        envs: set for the workers, and before the user's module is imported where they are known by then.
        labels: for people and schedulers.
        cmd: the service is a process of its own, started with this command.
        description: of the service in OpenAPI, in place of the class's docstring.
    """

    workers: Annotated[int, Field(ge=1), Takes("a whole number from 1 up, or 'cpu_count'", _processes)] = 1
    threads: Annotated[int, Field(ge=1), Takes("a whole number from 1 up")] = 1
    resources: Resources = Resources()
    traffic: Traffic = Traffic()
    backlog: Annotated[int, Field(ge=64), Takes("a whole number from 64 up")] = 2048
    http: Http = Http()
    path_prefix: Annotated[str, Takes("a path such as '/v1'", _prefix)] = ""
    metrics: Metrics = Metrics()
    logging: Logging = Logging()
    ssl: Ssl = Ssl()
    auth: Auth = Auth()
    endpoints: Endpoints = Endpoints()
    envs: Annotated[
        tuple[EnvVar, ...],
        Takes("a list of {name, value, stage}, the stage all, build or runtime", entries=_variables, secret=True),
    ] = ()
    labels: Annotated[dict[str, str], Takes("texts by name", entries=_by_name)] = {}
    cmd: Annotated[tuple[str, ...] | None, Field(min_length=1), Takes("a list of words")] = None
    description: Annotated[str | None, Takes("text")] = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables to set while the service runs."""
        return environment_of(self.envs)


def environment_of(variables: Iterable[EnvVar]) -> dict[str, str]:
    """Those to set while a service runs, by name."""
    return {each.name: each.value for each in variables if each.value is not None and each.stage != "build"}
