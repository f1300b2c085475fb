"""What `import bentoml` gives with `--bentoml`: BentoML's names, on this product.

docs/from-bentoml.md says what is the same, what is better and what is not there.
"""

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import Field

from orchestrator import __version__ as _product_version
from orchestrator import models
from orchestrator.bentoml import exceptions, images, validators
from orchestrator.bentoml.absent import reason_of
from orchestrator.bentoml.descriptor import IODescriptor
from orchestrator.bentoml.frameworks import MODULES as _FRAMEWORKS
from orchestrator.bentoml.loading import Service, load
from orchestrator.bentoml.runners import depends, runner_service
from orchestrator.models import Model, Tag
from orchestrator.monitoring import monitor
from orchestrator.sdk.asgi import asgi_app
from orchestrator.sdk.asgi import asgi_app as mount_asgi_app
from orchestrator.sdk.context import Context, get_current_service, server_context
from orchestrator.sdk.decorators import api, service
from orchestrator.sdk.hooks import on_deployment, on_shutdown, on_startup
from orchestrator.sdk.importing import importing
from orchestrator.sdk.template import use_arguments
from orchestrator.spec import Cookie

if TYPE_CHECKING:
    from orchestrator.bentoml.clients import AsyncHTTPClient, SyncHTTPClient

__all__ = [
    "AsyncHTTPClient",
    "Context",
    "Cookie",
    "Field",
    "IODescriptor",
    "Model",
    "Service",
    "SyncHTTPClient",
    "Tag",
    "__version__",
    "api",
    "asgi_app",
    "depends",
    "exceptions",
    "get_current_service",
    "images",
    "importing",
    "keras",
    "lightgbm",
    "load",
    "models",
    "monitor",
    "mount_asgi_app",
    "on_deployment",
    "on_shutdown",
    "on_startup",
    "onnx",
    "picklable_model",
    "pytorch",
    "runner_service",
    "server_context",
    "service",
    "sklearn",
    "tensorflow",
    "torchscript",
    "transformers",
    "use_arguments",
    "validators",
    "xgboost",
]

keras = _FRAMEWORKS["keras"]
lightgbm = _FRAMEWORKS["lightgbm"]
onnx = _FRAMEWORKS["onnx"]
picklable_model = _FRAMEWORKS["picklable_model"]
pytorch = _FRAMEWORKS["pytorch"]
sklearn = _FRAMEWORKS["sklearn"]
tensorflow = _FRAMEWORKS["tensorflow"]
torchscript = _FRAMEWORKS["torchscript"]
transformers = _FRAMEWORKS["transformers"]
xgboost = _FRAMEWORKS["xgboost"]

__version__ = f"1.4.40+orchestrator.{_product_version}"
"""BentoML's version whose interface this is, and ours."""


def __getattr__(name: str) -> Any:
    if name in ("AsyncHTTPClient", "SyncHTTPClient"):
        from orchestrator.bentoml import clients

        return getattr(clients, name)
    if name.startswith("__"):
        raise AttributeError(name)
    near = difflib.get_close_matches(name, __all__, 1)
    hint = f"; did you mean bentoml.{near[0]}?" if near and reason_of(name).startswith("bentoml has no") else ""
    raise AttributeError(reason_of(name) + hint)
