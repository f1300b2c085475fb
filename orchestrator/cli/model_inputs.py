"""What `models save` and `convert` take from files and flags: samples, labels, metadata, options, tolerances."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer

from orchestrator.errors import SettingsError
from orchestrator.spec.conversion import Tolerance

__all__ = [
    "Aliases",
    "Labels",
    "Metadata",
    "MetadataFile",
    "Options",
    "SampleFile",
    "ToleranceText",
    "read_labels",
    "read_metadata",
    "read_options",
    "read_sample",
    "read_tolerance",
]

SampleFile = Annotated[
    Path | None,
    typer.Option("--sample", metavar="FILE", help="Inputs that the model takes: .npz by name, .npy, or .csv."),
]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be given again.")]
Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="JSON, or else text; may be given again; never changes."),
]
MetadataFile = Annotated[
    Path | None, typer.Option("--metadata-file", metavar="FILE", help="A JSON object; --metadata goes before it.")
]
Aliases = Annotated[list[str] | None, typer.Option("--alias", help="Points to the new version from now on.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of the converter; see `convert --list`.")
]
ToleranceText = Annotated[
    str | None,
    typer.Option(
        "--tolerance",
        metavar="RELATIVE[,ABSOLUTE[,DISAGREEMENT]]",
        help="How far the converted model may be: 1e-3,1e-4,0 unless the converter says otherwise. "
        "DISAGREEMENT is the share of rows with another answer.",
    ),
]


def read_sample(path: Path | None) -> Any:
    """The sample in a file: arrays by name, one array, or a data frame.

    Raises:
        SettingsError: there is no such file, or it is of another kind.
    """
    if path is None:
        return None
    try:
        match path.suffix:
            case ".npy":
                return np.load(path, allow_pickle=False)
            case ".npz":
                return _arrays(path)
            case ".csv":
                return _frame(path)
    except FileNotFoundError:
        raise SettingsError(f"--sample: there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"--sample {path}: {' '.join(str(error).split())}") from error
    raise SettingsError(f"--sample {path}: is neither .npz, .npy nor .csv")


def read_labels(given: Sequence[str] | None) -> dict[str, str]:
    """Labels from `key=value`.

    Raises:
        SettingsError: one is not of that form.
    """
    return dict(_pairs("--label", given))


def read_metadata(given: Sequence[str] | None, file: Path | None) -> dict[str, Any]:
    """Metadata from a file and from `key=value`, which goes before it; a value is JSON where it can be read as JSON.

    Raises:
        SettingsError: the file is no JSON object, or a text is not of that form.
    """
    found: Any = {}
    if file is not None:
        try:
            found = orjson.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError(f"--metadata-file {file}: {error}") from error
        if not isinstance(found, dict):
            raise SettingsError(f"--metadata-file {file}: is no JSON object")
    return {**found, **{key: _value(text) for key, text in _pairs("--metadata", given)}}


def read_options(given: Sequence[str] | None) -> dict[str, Any]:
    """A converter's options from `key=value`.

    Raises:
        SettingsError: one is not of that form.
    """
    return {key: _value(text) for key, text in _pairs("--option", given)}


def read_tolerance(text: str | None) -> Tolerance | None:
    """A tolerance from one to three numbers.

    Raises:
        SettingsError: it is none.
    """
    if text is None:
        return None
    names = ("relative", "absolute", "disagreement")
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
        if len(numbers) > len(names) or any(number < 0 for number in numbers):
            raise ValueError(text)
    except ValueError:
        raise SettingsError(f"--tolerance {text!r}: takes RELATIVE[,ABSOLUTE[,DISAGREEMENT]], numbers from 0") from None
    return Tolerance(**dict(zip(names, numbers, strict=False)))


def _arrays(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as file:
        # A `sample.npz` of ours has outputs, too.
        found = {name.removeprefix("input."): file[name] for name in file.files if not name.startswith("output.")}
    return found["arr_0"] if list(found) == ["arr_0"] else found


def _frame(path: Path) -> Any:
    try:
        import pandas
    except ImportError as error:
        raise SettingsError(
            f"--sample {path}: pandas reads .csv", hint="pip install 'triton-orchestrator[tables]', or give an .npy"
        ) from error
    return pandas.read_csv(path)


def _pairs(flag: str, given: Sequence[str] | None) -> list[tuple[str, str]]:
    found = []
    for text in given or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise SettingsError(f"{flag} {text!r}: takes KEY=VALUE")
        found.append((key, value))
    return found


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text
