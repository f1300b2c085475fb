"""A Hugging Face folder to ONNX: an encoder, or a classifier on top of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from converters.onnx_file import opset_from
from converters.packages import framework_of, need
from converters.text_encoder import (
    check_folder,
    input_names,
    module_of,
    pretrained,
    provide_tokenizer,
    token_axes,
    tokens_of,
)
from converters.torch_export import converted_module
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["HuggingFaceToOnnx"]


class HuggingFaceToOnnx:
    """Inputs are int64 `input_ids`, `attention_mask` and, where the model reads it, `token_type_ids`: (rows, tokens)."""

    source = "huggingface"
    target = "onnx"
    description = "a folder with config.json and model.safetensors (transformers)"
    options: Mapping[str, str] = {"opset": "ONNX opset, 17 unless given"}

    def matches(self, model: object) -> bool:
        return framework_of(model) == "transformers" and hasattr(model, "forward")

    def load(self, path: Path) -> object:
        return check_folder(path)

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        source = model if isinstance(model, Path) else None
        missing: set[str] = set()
        if source is not None:
            model, missing = pretrained(source, headless=False)
        note = provide_tokenizer(source or model, folder)
        names = input_names(model)
        without = _untrained(missing)
        tensor = need("torch").Tensor

        def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            # The caches of a model that generates are no tensors.
            cache = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
            answer = model(**inputs, **cache, return_dict=True)
            return {name: value for name, value in answer.items() if isinstance(value, tensor) and name not in without}

        return converted_module(
            module_of(names, run, [model]),
            tokens_of(names, sample, folder, model.config.vocab_size),
            folder,
            free=token_axes(names),
            opset=opset_from(options),
            notes=[note, *(f"{name}: the folder has no weights for it, left out" for name in sorted(without))],
        )


def _untrained(missing: set[str]) -> set[str]:
    """Outputs whose weights would be random.

    Raises:
        ConversionError: that is more than the pooler, which many folders leave out.
    """
    others = sorted(name for name in missing if "pooler." not in name)
    if others:
        raise ConversionError(
            f"the folder has no weights for {others[0]!r} and {len(others) - 1} more, which would be random",
            hint="config.json and the weights are not of the same model",
        )
    return {"pooler_output"} if missing else set()
