"""Conversions that need TensorFlow: prints what came of them as JSON; run by `tests/integration`."""

import json
import tempfile
from pathlib import Path
from typing import Any

import keras  # type: ignore[import-not-found]
import numpy as np

from orchestrator.conversion import convert, converter_for, find_converter
from orchestrator.errors import ConversionError
from tests.services.conversion_summary import summary


def digits_network() -> tuple[Any, Any]:
    """A small convolutional network, trained on scikit-learn's digits for two epochs."""
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(0)
    pixels, numbers = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, numbers, epochs=2, verbose=0)
    return model, images


def two_of_each() -> Any:
    """Two inputs, one of token ids of any length; two outputs."""
    first, second = keras.Input((4,), name="numbers"), keras.Input((None,), dtype="int32", name="tokens")
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 3)(second))
    joined = keras.layers.Concatenate()([first, mean])
    outputs = {"price": keras.layers.Dense(1)(joined), "kind": keras.layers.Dense(3, activation="softmax")(joined)}
    return keras.Model([first, second], outputs)


def main() -> None:
    """The last line that it prints is the result."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {"numpy": np.__version__}
    with tempfile.TemporaryDirectory(prefix="orchestrator-test-") as place:
        folder = Path(place)
        model, images = digits_network()
        converter = converter_for(model, "onnx")
        found["network"] = summary(convert(model, converter, folder / "network", sample=images))
        found["without a sample"] = summary(convert(model, converter, folder / "network2"))
        model.save(folder / "digits.keras")
        again = find_converter("keras", "onnx").load(folder / "digits.keras")
        found["file"] = summary(convert(again, converter, folder / "file", sample=images[:50]))
        both = two_of_each()
        sample = {"tokens": rng.integers(0, 10, (6, 8)), "numbers": rng.standard_normal((6, 4))}
        found["two of each"] = summary(convert(both, converter, folder / "two", sample=sample))
        model.export(folder / "saved", verbose=False)
        saved = find_converter("tensorflow", "onnx")
        loaded = saved.load(folder / "saved")
        found["matches"] = [saved.matches(loaded), converter.matches(loaded), converter.matches(model)]
        found["saved model"] = summary(convert(loaded, saved, folder / "from-saved", sample=images[:50]))
        for name, load in (("no keras", converter.load), ("no saved model", saved.load)):
            try:
                load(folder)
            except ConversionError as error:
                found[name] = str(error)
        try:
            convert(loaded, saved, folder / "other", options={"signature": "train"})
        except ConversionError as error:
            found["no signature"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
