"""Keras to ONNX, by tf2onnx."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from converters.onnx_file import opset_from
from converters.packages import framework_of, need
from converters.samples import arrays_of
from converters.tensorflow_graph import converted_function, quiet_tensorflow
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["KerasToOnnx"]

_ENDINGS: Final = (".keras", ".h5", ".hdf5")


class KerasToOnnx:
    """Inputs are named as the model names them; the output is `output`, or of several each by its own name."""

    source = "keras"
    target = "onnx"
    description = "a Keras model (.keras, .h5) on the TensorFlow backend"
    options: Mapping[str, str] = {"opset": "ONNX opset, 17 unless given"}

    def matches(self, model: object) -> bool:
        return framework_of(model) == "keras" and hasattr(model, "predict")

    def load(self, path: Path) -> object:
        if not path.is_file() or path.suffix not in _ENDINGS:
            what = "is no Keras model" if path.exists() else "is not there"
            raise ConversionError(f"{path} {what}", hint=f"a file that ends in {', '.join(_ENDINGS)}")
        keras = _keras()
        try:
            model: object = keras.models.load_model(path, compile=False)
        except (ValueError, TypeError, OSError) as error:
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
        opset = opset_from(options)
        _keras()
        tensorflow = need("tensorflow")
        if not getattr(model, "built", False) or not model.inputs:
            raise ConversionError(
                f"{type(model).__name__} does not know its inputs yet", hint="call it once, or its build"
            )
        names = _input_names(model)
        specs = [
            tensorflow.TensorSpec(tensor.shape, tensor.dtype, name=name)
            for name, tensor in zip(names, model.inputs, strict=True)
        ]

        def function(*tensors: Any) -> Mapping[str, Any]:
            answer = model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
            if isinstance(answer, Mapping):
                return answer
            if not isinstance(answer, list | tuple):
                return {"output": answer}
            return dict(zip(model.output_names, answer, strict=True))

        arrays = None if sample is None else arrays_of(names, sample)
        return converted_function(function, specs, arrays, folder, opset=opset)


def _input_names(model: Any) -> list[str]:
    names = [tensor.name.partition(":")[0] for tensor in model.inputs]
    if any(name.startswith(("keras_tensor", "input_layer")) for name in names):
        # Keras numbers what nobody has named, by what the process made before.
        return ["input"] if len(names) == 1 else [f"input_{index}" for index in range(len(names))]
    return names


def _keras() -> Any:
    quiet_tensorflow()
    need("tensorflow")
    keras = need("keras")
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ConversionError(
            f"Keras runs on {backend} here, and tf2onnx reads TensorFlow", hint="KERAS_BACKEND=tensorflow"
        )
    return keras
