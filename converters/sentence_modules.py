"""The modules of a sentence-transformers folder, read from its modules.json: no need of that package to convert a folder."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from converters.packages import need
from converters.text_encoder import check_folder, pretrained
from orchestrator.errors import ConversionError

__all__ = ["Sentences", "read_modules", "token_limit", "transformer_folder"]

_MODES: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Older folders have a flag each; several are concatenated in this order."""
_ACTIVATIONS: Final = ("Tanh", "Identity", "ReLU", "GELU", "Sigmoid")
_USE_THE_PACKAGE: Final = "convert the SentenceTransformer itself from Python, which has every module"

Step = Callable[[Any, Any], Any]
"""One module: (tokens or sentence so far, mask as floats of (rows, tokens, 1)) -> the same after it."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """A folder's modules.

    Attributes:
        encoder: the transformer.
        steps: what follows it.
        parts: torch modules with weights among the steps.
    """

    encoder: Any
    steps: tuple[Step, ...]
    parts: tuple[Any, ...]

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """Embeddings of shape (rows, dimensions), of tensors by input name."""
        found = self.encoder(**inputs, return_dict=True).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(found.dtype)
        for step in self.steps:
            found = step(found, mask)
        return found


def read_modules(folder: Path) -> Sentences:
    """Reads a folder.

    Raises:
        ConversionError: it is none, or has a module that is not known here.
    """
    encoder, missing = pretrained(transformer_folder(folder), headless=True)
    others = sorted(name for name in missing if "pooler." not in name)
    if others:
        raise ConversionError(f"the folder has no weights for {others[0]!r}, which would be random")
    steps: list[Step] = []
    parts: list[Any] = []
    for kind, path in _listed(folder)[1:]:
        match kind:
            case "Pooling":
                steps.append(_pooling(path))
            case "Normalize":
                steps.append(_normalize())
            case "Dense":
                dense = _dense(path)
                parts.append(dense)
                steps.append(lambda found, mask, dense=dense: dense(found))  # type: ignore[misc]
            case "Dropout":
                pass
            case _:
                raise ConversionError(f"{folder}/modules.json has a module {kind!r}", hint=_USE_THE_PACKAGE)
    return Sentences(encoder, tuple(steps), tuple(parts))


def transformer_folder(folder: Path) -> Path:
    """Where the first module has its config.json and weights.

    Raises:
        ConversionError: the first module is no transformer.
    """
    kind, path = _listed(folder)[0]
    if kind != "Transformer":
        raise ConversionError(f"{folder}/modules.json begins with {kind!r} and not with a transformer")
    return check_folder(path)


def token_limit(folder: Path) -> int | None:
    """Tokens after which sentence-transformers cuts a text; the graph itself does not."""
    config = transformer_folder(folder) / "sentence_bert_config.json"
    limit = json.loads(config.read_text()).get("max_seq_length") if config.is_file() else None
    return None if limit is None else int(limit)


def _listed(folder: Path) -> list[tuple[str, Path]]:
    try:
        found = json.loads((folder / "modules.json").read_text())
        # `sentence_transformers.models.Pooling`, or where later versions have it.
        return [(str(each["type"]).rpartition(".")[2], folder / each["path"]) for each in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConversionError(f"{folder}/modules.json cannot be read: {error}") from error


def _pooling(folder: Path) -> Step:
    config = json.loads((folder / "config.json").read_text())
    given = config.get("pooling_mode") or [mode for flag, mode in _MODES.items() if config.get(flag)] or "mean"
    modes = [given] if isinstance(given, str) else list(given)
    for mode in modes:
        if mode in ("weightedmean", "lasttoken"):
            raise ConversionError(f"{folder}: pooling by {mode} is not known here", hint=_USE_THE_PACKAGE)
    torch = need("torch")

    def one(mode: str, tokens: Any, mask: Any) -> Any:
        if mode == "cls":
            return tokens[:, 0]
        if mode == "max":
            return tokens.masked_fill(mask == 0, float("-inf")).max(dim=1).values
        count = mask.sum(dim=1).clamp(min=1e-9)
        return (tokens * mask).sum(dim=1) / (count if mode == "mean" else count.sqrt())

    return lambda tokens, mask: torch.cat([one(mode, tokens, mask) for mode in modes], dim=-1)


def _normalize() -> Step:
    normalize = need("torch").nn.functional.normalize
    return lambda sentences, mask: normalize(sentences, p=2, dim=1)


def _dense(folder: Path) -> Any:
    torch = need("torch")
    config = json.loads((folder / "config.json").read_text())
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise ConversionError(f"{folder}: the activation {activation!r} is not known here", hint=_USE_THE_PACKAGE)
    dense = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    file = folder / "model.safetensors"
    if file.is_file():
        weights = need("safetensors.torch").load_file(file)
    else:
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    dense.load_state_dict({name.removeprefix("linear."): weight for name, weight in weights.items()})
    return torch.nn.Sequential(dense, getattr(torch.nn, activation)())
