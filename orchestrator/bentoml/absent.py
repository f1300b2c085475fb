"""What BentoML has and this package has not: why, and what to use instead. Each is told where the user's code names it."""

from typing import Final

__all__ = ["ABSENT", "reason_of"]

_PACKAGING: Final = "packaging comes later; `orchestrator export` writes what Triton needs"
_CLOUD: Final = (
    "there is no cloud behind this; `orchestrator serve` or `orchestrator export` run the service on a machine of yours"
)
_LEGACY: Final = "it is BentoML 1.1's interface; put @bentoml.service above a class"
_RUNNER: Final = "there are no runners; Triton's instances of a service (`workers`) are what they were"
_FRAMEWORK: Final = "write its files with bentoml.models.create, and read them with its own library in __init__"
_INTERNAL: Final = "it is an inside of BentoML; use its public names"

ABSENT: Final[dict[str, str]] = {
    # comes later
    "task": "background tasks come later; until then use @bentoml.api and a longer traffic.timeout",
    "build": _PACKAGING,
    "bentos": _PACKAGING,
    "container": _PACKAGING,
    "Bento": _PACKAGING,
    "list": _PACKAGING,
    "get": _PACKAGING,
    "delete": _PACKAGING,
    "export_bento": _PACKAGING,
    "import_bento": _PACKAGING,
    "push": _PACKAGING,
    "pull": _PACKAGING,
    # there is another way
    "Dependency": "write bentoml.depends(Service); what that gives needs no annotation",
    "serve": "run `orchestrator serve module:Class`, or use orchestrator.testing.local_client in tests",
    "server": "run `orchestrator serve module:Class`",
    "serving": "run `orchestrator serve module:Class`",
    "start": "run `orchestrator serve module:Class`",
    "HTTPServer": "run `orchestrator serve module:Class`",
    "GrpcServer": "Triton's own gRPC is there for every service; `orchestrator serve` prints its address",
    "grpc": "Triton's own gRPC is there for every service; `orchestrator serve` prints its address",
    "testing": "use orchestrator.testing.local_client",
    "client": "use bentoml.SyncHTTPClient or bentoml.AsyncHTTPClient",
    "monitoring": "use bentoml.monitor",
    "metrics": "use prometheus_client, and give its page with a method __metrics__",
    "gradio": "mount the application yourself, with bentoml.asgi_app",
    "triton": "every service is a model of a Triton server already; its repository may hold others",
    "batch": "give the rows to an API with batchable=True",
    "load_config": "name a file with --config; BENTOML_CONFIG is read, too",
    "save_config": "`orchestrator config show` prints the configuration",
    "set_serialization_strategy": "nothing is pickled here",
    # BentoML 1.1
    "io": _LEGACY,
    "legacy": _LEGACY,
    "types": _LEGACY,
    "Runner": _RUNNER,
    "Runnable": _RUNNER,
    "Resource": _RUNNER,
    "Strategy": _RUNNER,
    # elsewhere
    "cloud": _CLOUD,
    "deployment": _CLOUD,
    "BentoCloudClient": _CLOUD,
    "api_token": _CLOUD,
    "ApiToken": _CLOUD,
    "ApiTokenAPI": _CLOUD,
    "YataiClient": _CLOUD,
    "ray": "services run on Triton, not on Ray",
    "catboost": _FRAMEWORK,
    "detectron": _FRAMEWORK,
    "diffusers": _FRAMEWORK,
    "diffusers_simple": _FRAMEWORK,
    "easyocr": _FRAMEWORK,
    "fastai": _FRAMEWORK,
    "flax": _FRAMEWORK,
    "mlflow": _FRAMEWORK,
    "pytorch_lightning": _FRAMEWORK,
    "unsloth": _FRAMEWORK,
    "_internal": _INTERNAL,
}
"""Name in `bentoml` -> one sentence."""


def reason_of(name: str) -> str:
    """Why `bentoml.<name>` is not there, in one line.

    Args:
        name: of a module or of anything else, without `bentoml.`.
    """
    reason = ABSENT.get(name.partition(".")[0])
    return f"bentoml.{name} is not there: {reason}" if reason else f"bentoml has no {name!r}"
