"""A sentence-transformers model to ONNX: pooling and normalisation are inside the graph."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from converters.onnx_file import opset_from
from converters.packages import framework_of, need
from converters.sentence_modules import read_modules, token_limit, transformer_folder
from converters.text_encoder import input_names, module_of, provide_tokenizer, token_axes, tokens_of
from converters.torch_export import converted_module
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["SentenceTransformersToOnnx"]

_OUTPUT: Final = "sentence_embedding"


class SentenceTransformersToOnnx:
    """Inputs are int64 `input_ids`, `attention_mask` and, where the model reads it, `token_type_ids`: (rows, tokens).

    The output is `sentence_embedding`, float32 (rows, dimensions).
    """

    source = "sentence_transformers"
    target = "onnx"
    description = "a folder with modules.json and model.safetensors (sentence-transformers)"
    options: Mapping[str, str] = {"opset": "ONNX opset, 17 unless given"}

    def matches(self, model: object) -> bool:
        return framework_of(model) == "sentence_transformers" and hasattr(model, "encode")

    def load(self, path: Path) -> object:
        if not (path / "modules.json").is_file():
            raise ConversionError(
                f"there is no modules.json in {path}", hint="a plain transformer is of source huggingface"
            )
        transformer_folder(path)
        return path

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        need("torch")
        notes = [provide_tokenizer(transformer_folder(model) if isinstance(model, Path) else model, folder)]
        run: Callable[[Mapping[str, Any]], Any]
        if isinstance(model, Path):
            sentences = read_modules(model)
            encoder, run, parts = sentences.encoder, sentences.run, [sentences.encoder, *sentences.parts]
            limit = token_limit(model)
            if limit is not None:
                notes.append(f"sentence-transformers cuts texts after {limit} tokens; the graph does not")
        else:
            encoder, run, parts = model[0].auto_model, _of_object(model), [model]
        names = input_names(encoder)
        return converted_module(
            module_of(names, lambda inputs: {_OUTPUT: run(inputs)}, parts),
            tokens_of(names, sample, folder, encoder.config.vocab_size),
            folder,
            free=token_axes(names),
            opset=opset_from(options),
            notes=notes,
        )


def _of_object(model: Any) -> Callable[[Mapping[str, Any]], Any]:
    def run(inputs: Mapping[str, Any]) -> Any:
        found = dict(inputs)
        for module in model:
            found = module(found)
        return found[_OUTPUT]

    return run
