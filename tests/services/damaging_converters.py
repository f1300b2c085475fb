"""Converters of a third party that damage what a real one has made; a test registers them as a package would."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from converters.onnx_onnx import OnnxToOnnx
from converters.sklearn_onnx import SklearnToOnnx
from orchestrator.formats import read_signature
from orchestrator.spec import Converted, ModelFormat


class RelabelsOpset(OnnxToOnnx):
    """Says that the model is of opset 13, and leaves it as it was in opset 12."""

    source = "opset12"

    def convert(self, model: Any, folder: Path, *, sample: Any = None, options: Mapping[str, Any] = {}) -> Converted:
        converted = super().convert(model, folder, sample=sample, options=options)
        proto = onnx.load(folder / converted.file)
        for opset in proto.opset_import:
            opset.version = 13
        onnx.save(proto, folder / converted.file)
        return converted


class SwapsOutputs(OnnxToOnnx):
    """Gives each output the other's name."""

    source = "swapped"

    def convert(self, model: Any, folder: Path, *, sample: Any = None, options: Mapping[str, Any] = {}) -> Converted:
        converted = super().convert(model, folder, sample=sample, options=options)
        _swap(folder / converted.file)
        return replace(converted, signature=read_signature(folder / converted.file, ModelFormat.ONNX))


class SwapsClassifier(SklearnToOnnx):
    """Calls the label of a classifier its probabilities, and the other way round."""

    source = "swapped-sklearn"

    def convert(self, model: Any, folder: Path, *, sample: Any = None, options: Mapping[str, Any] = {}) -> Converted:
        converted = super().convert(model, folder, sample=sample, options=options)
        _swap(folder / converted.file)
        return replace(converted, signature=read_signature(folder / converted.file, ModelFormat.ONNX))


class TransposesWeights(SklearnToOnnx):
    """Mixes up the classes of a linear model, as a wrong reading of its coefficients would."""

    source = "mixed-sklearn"

    def convert(self, model: Any, folder: Path, *, sample: Any = None, options: Mapping[str, Any] = {}) -> Converted:
        converted = super().convert(model, folder, sample=sample, options=options)
        proto = onnx.load(folder / converted.file)
        for node in proto.graph.node:
            for attribute in node.attribute:
                if attribute.name == "coefficients":
                    attribute.floats[:] = list(reversed(attribute.floats))
        onnx.save(proto, folder / converted.file)
        return converted


def _swap(file: Path) -> None:
    proto = onnx.load(file)
    one, other = (output.name for output in proto.graph.output)
    names = {one: other, other: one}
    for node in proto.graph.node:
        for fields in (node.input, node.output):
            fields[:] = [names.get(name, name) for name in fields]
    kept = {output.name: output.type.SerializeToString() for output in proto.graph.output}
    for output in proto.graph.output:
        output.type.ParseFromString(kept[names[output.name]])
    onnx.save(proto, file)
