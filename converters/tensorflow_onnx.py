"""A TensorFlow SavedModel to ONNX, by tf2onnx."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from converters.onnx_file import opset_from
from converters.packages import need
from converters.samples import arrays_of
from converters.tensorflow_graph import converted_function, quiet_tensorflow
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["TensorFlowToOnnx"]

_SIGNATURE: Final = "serving_default"


class TensorFlowToOnnx:
    """Inputs and outputs are those of the signature that servers call."""

    source = "tensorflow"
    target = "onnx"
    description = "a TensorFlow SavedModel, a folder with saved_model.pb"
    options: Mapping[str, str] = {
        "opset": "ONNX opset, 17 unless given",
        "signature": f"of the SavedModel, {_SIGNATURE} unless given",
    }

    def matches(self, model: object) -> bool:
        return hasattr(model, "signatures") and type(model).__module__.partition(".")[0] == "tensorflow"

    def load(self, path: Path) -> object:
        if not (path / "saved_model.pb").is_file():
            raise ConversionError(
                f"there is no saved_model.pb in {path}", hint="a folder as tf.saved_model.save writes it"
            )
        quiet_tensorflow()
        tensorflow = need("tensorflow")
        try:
            model: object = tensorflow.saved_model.load(str(path))
        except (OSError, ValueError, tensorflow.errors.OpError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ConversionError(f"{path} cannot be read: {reason}") from error
        return model

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        opset, wanted = opset_from(options), str(options.get("signature", _SIGNATURE))
        if wanted not in model.signatures:
            there = ", ".join(model.signatures) or "none"
            raise ConversionError(f"the SavedModel has no signature {wanted!r}", hint=f"it has {there}")
        called = model.signatures[wanted]
        specs = list(called.structured_input_signature[1].values())
        names = [spec.name for spec in specs]

        def function(*tensors: Any) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = called(**dict(zip(names, tensors, strict=True)))
            return answer

        return converted_function(
            function, specs, None if sample is None else arrays_of(names, sample), folder, opset=opset
        )
