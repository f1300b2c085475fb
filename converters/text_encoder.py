"""Language models in Hugging Face's layout: weights, tokens to try them with, and the tokenizer beside the graph."""

import contextlib
import inspect
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.packages import need
from converters.samples import arrays_of
from orchestrator.errors import ConversionError

__all__ = [
    "TOKENIZER",
    "check_folder",
    "input_names",
    "module_of",
    "pretrained",
    "provide_tokenizer",
    "token_axes",
    "tokens_of",
]

TOKENIZER: Final = "tokenizer.json"
_NAMES: Final = ("input_ids", "attention_mask", "token_type_ids")
_LONGEST: Final = 128
_TEXTS: Final = (
    "A short one.",
    "The quick brown fox jumps over the lazy dog.",
    "Triton serves models; this sentence is a little longer than those around it, so that the others are padded.",
    "Wie spät ist es?",
    "42",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer the slings and arrows.",
    "search query: cheap flights to Lisbon in May",
    "é à ü — naïve café 🙂",
)
"""Of several lengths: a mask that is not heeded shows."""


def check_folder(path: Path) -> Path:
    """A folder with a model.

    Raises:
        ConversionError: it has no config.json, or no weights.
    """
    if not (path / "config.json").is_file():
        raise ConversionError(f"there is no config.json in {path}", hint="a folder as `save_pretrained` writes it")
    if not any(path.glob("*.safetensors")) and not any(path.glob("pytorch_model*.bin")):
        raise ConversionError(f"there are no weights in {path}", hint="model.safetensors beside config.json")
    return path


def pretrained(folder: Path, *, headless: bool) -> tuple[Any, set[str]]:
    """The model of a folder, from this disk only, and the names of weights that it has but the folder has not.

    Args:
        headless: the bare encoder; else the architecture that config.json names, such as a classifier.

    Raises:
        ConversionError: transformers does not know it.
    """
    transformers = need("transformers")
    need("torch")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        known = [getattr(transformers, name, None) for name in config.architectures or ()]
        kind = transformers.AutoModel if headless or not known or known[0] is None else known[0]
        with _silent():
            model, info = kind.from_pretrained(
                folder,
                local_files_only=True,
                output_loading_info=True,
                # Its other implementations choose a path by the values that they see, and tracing keeps only one.
                attn_implementation="eager",
            )
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConversionError(f"transformers cannot read {folder}: {reason}") from error
    if getattr(config, "is_encoder_decoder", False):
        raise ConversionError(
            f"{type(model).__name__} generates text step by step, which is no single graph",
            hint="serve it from a service class",
        )
    return model, set(info["missing_keys"])


def input_names(model: Any) -> list[str]:
    """Which of input_ids, attention_mask and token_type_ids a model reads."""
    parameters = inspect.signature(model.forward).parameters
    types = getattr(model.config, "type_vocab_size", 0) or 0
    return [name for name in _NAMES if name in parameters and (name != "token_type_ids" or types > 1)]


def tokens_of(names: Sequence[str], sample: Any, folder: Path, vocabulary: int) -> dict[str, NDArray[np.int64]]:
    """A sample as token ids: as the user has them, or made of texts with the folder's tokenizer.

    Args:
        sample: arrays by name or position, texts, or None.
        folder: where tokenizer.json is, if there is one.
        vocabulary: ids below this are valid, where there is no tokenizer to ask.
    """
    texts = _texts(sample)
    if texts is None and sample is not None:
        return {name: array.astype(np.int64) for name, array in arrays_of(names, sample).items()}
    tokenizer = folder / TOKENIZER
    if tokenizer.is_file():
        return _tokenized(names, texts or list(_TEXTS), tokenizer)
    if texts is not None:
        raise ConversionError(
            f"there is no {TOKENIZER} to read the sample's texts with", hint="give token ids by input name"
        )
    random = np.random.default_rng(0)
    ids = random.integers(0, vocabulary, (8, 16), dtype=np.int64)
    lengths = random.integers(3, 17, (8, 1))
    made = {"input_ids": ids, "attention_mask": (np.arange(16) < lengths).astype(np.int64)}
    return {name: made.get(name, np.zeros_like(ids)) for name in names}


def token_axes(names: Sequence[str]) -> dict[str, dict[int, str]]:
    """Both axes of every input are free."""
    return {name: {0: "batch", 1: "sequence"} for name in names}


def provide_tokenizer(model: Any, folder: Path) -> str:
    """Puts tokenizer.json beside the model; returns a note of what was done.

    Args:
        model: a folder that has one, or an object with a `tokenizer` of the package transformers.
    """
    if isinstance(model, Path):
        if (model / TOKENIZER).is_file():
            shutil.copyfile(model / TOKENIZER, folder / TOKENIZER)
    else:
        fast = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
        if fast is not None:
            fast.save(str(folder / TOKENIZER))
    there = (folder / TOKENIZER).is_file()
    return f"{TOKENIZER} lies beside the model" if there else f"no {TOKENIZER}: callers need the model's tokenizer"


def _texts(sample: Any) -> list[str] | None:
    if isinstance(sample, np.ndarray) and sample.dtype.kind in "USO":
        return [each.decode() if isinstance(each, bytes) else str(each) for each in sample.reshape(-1)]
    if isinstance(sample, list | tuple) and sample and all(isinstance(each, str) for each in sample):
        return list(sample)
    return None


def _tokenized(names: Sequence[str], texts: list[str], file: Path) -> dict[str, NDArray[np.int64]]:
    tokenizer = need("tokenizers").Tokenizer.from_file(str(file))
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    else:
        tokenizer.enable_padding(**{**tokenizer.padding, "length": None})
    tokenizer.enable_truncation(_LONGEST)
    encoded = tokenizer.encode_batch(texts)
    found = {
        "input_ids": [each.ids for each in encoded],
        "attention_mask": [each.attention_mask for each in encoded],
        "token_type_ids": [each.type_ids for each in encoded],
    }
    return {name: np.array(found[name], dtype=np.int64) for name in names}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """transformers draws a bar of progress on standard error."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def module_of(names: Sequence[str], run: Any, parts: Sequence[Any]) -> Any:
    """A torch module whose `forward` takes the inputs by position.

    Args:
        run: arguments by name -> tensor, or tensors by name.
        parts: modules with the weights that `run` uses.
    """
    torch = need("torch")
    module: Any = torch.nn.Module

    class Encoder(module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(parts)

        def forward(self, *tensors: Any) -> Mapping[str, Any]:
            found: Mapping[str, Any] = run(dict(zip(names, tensors, strict=True)))
            return found

    return Encoder()
