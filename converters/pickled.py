"""Models that their users keep as pickles."""

from pathlib import Path
from typing import Final

from converters.packages import need
from orchestrator.errors import ConversionError

__all__ = ["load_pickled"]

_ENDINGS: Final = (".joblib", ".pkl", ".pickle")


def load_pickled(path: Path, framework: str) -> object:
    """Reads a pickle or a joblib file. That runs code of whoever wrote it, so it is only ever the file that the user names.

    Raises:
        ConversionError: it is not there, or not readable with the packages that are installed.
    """
    if not path.is_file():
        raise ConversionError(f"there is no file {path}")
    if path.suffix not in _ENDINGS:
        raise ConversionError(f"{path} is no {framework} model", hint=f"a file that ends in {', '.join(_ENDINGS)}")
    joblib = need("joblib")
    need(framework)
    try:
        model: object = joblib.load(path)
    except Exception as error:  # a pickle runs anybody's code
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise ConversionError(
            f"{path} cannot be read: {reason}", hint=f"with the version of {framework} that wrote it it can"
        ) from error
    return model
