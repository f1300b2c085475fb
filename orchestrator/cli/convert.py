"""`orchestrator convert`: a trained model into a form that Triton runs, and the proof that it is the same model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import models
from orchestrator.cli.console import note, say
from orchestrator.cli.model_inputs import (
    Aliases,
    Labels,
    Metadata,
    MetadataFile,
    Options,
    SampleFile,
    ToleranceText,
    read_labels,
    read_metadata,
    read_options,
    read_sample,
    read_tolerance,
)
from orchestrator.cli.models import AsJson, document_of
from orchestrator.cli.tables import say_json, say_table
from orchestrator.conversion import ParityError, converters, describe, report_table
from orchestrator.errors import SettingsError, StoreError
from orchestrator.spec.conversion import ParityReport

__all__ = ["convert"]


def convert(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="sklearn, torch, onnx ...; see --list.")] = None,
    source: Annotated[str | None, typer.Argument(metavar="SRC", help="File, folder, or a stored model's tag.")] = None,
    to: Annotated[str, typer.Option(help="The target.")] = "onnx",
    name: Annotated[str | None, typer.Option(help="To save the model under: name, or name:version.")] = None,
    sample: SampleFile = None,
    option: Options = None,
    tolerance: ToleranceText = None,
    label: Labels = None,
    metadata: Metadata = None,
    metadata_file: MetadataFile = None,
    alias: Aliases = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the converters and their options.")] = False,
    as_json: AsJson = False,
) -> None:
    """Converts a model, compares it with the original, and saves both as a new version with the report.

    Where the converted model is not the original, nothing is saved, and the exit code is 1.

    Examples:

      orchestrator convert sklearn model.joblib --name iris --sample rows.npy

      orchestrator convert onnx text_det:latest --name text_det_half --option float16=true

      orchestrator convert --list
    """
    if list_all:
        _list(as_json)
        return
    for what, value in (("KIND", kind), ("SRC", source), ("--name", name)):
        if value is None:
            raise SettingsError(f"{what} is missing", hint="orchestrator convert KIND SRC --name NAME")
    assert kind is not None
    assert source is not None
    assert name is not None
    path, given = Path(source).expanduser(), read_sample(sample)
    if not path.exists():
        try:
            path = models.own_file(source, kind)
        except StoreError as error:
            raise StoreError(f"there is no file {source}; {error.message}", hint=error.hint) from error
        given = _stored_sample(source, kind) if given is None else given
    try:
        model = models.save_model(
            name,
            path,
            framework=kind,
            to=to,
            sample=given,
            options=read_options(option),
            tolerance=read_tolerance(tolerance),
            labels=read_labels(label),
            metadata=read_metadata(metadata, metadata_file),
            aliases=alias or (),
            progress=note,
        )
    except ParityError as error:
        if as_json:
            say_json({"tag": None, "parity": error.report.model_dump(mode="json"), "refused": error.message})
        else:
            _say_report(error.report)
        raise
    report = model.parity
    assert report is not None
    if as_json:
        say_json(document_of(model) | {"parity": report.model_dump(mode="json")})
    else:
        _say_report(report)
        say(f"saved {model.tag}")


def _stored_sample(tag: str, kind: str) -> Any:
    """The inputs that were saved with a model. torch's go by position: a script's have other names than a module's."""
    sample = models.get(tag).sample
    if sample is None:
        return None
    return list(sample.inputs.values()) if kind == "torch" else dict(sample.inputs)


def _say_report(report: ParityReport) -> None:
    headings, *rows = report_table(report)
    say_table(headings, rows)
    note(f"compared: {report.rows} rows: {', '.join(report.samples)}")
    note(f"allowed: {describe(report.tolerance)}")
    if report.passed:
        note(f"time of the original / time of the converted: {report.time_ratio:.2f}")
    for line in report.notes:
        note(line)


def _list(as_json: bool) -> None:
    found = converters()
    if as_json:
        say_json(
            [
                {
                    "source": each.source,
                    "target": each.target,
                    "description": each.description,
                    "options": dict(each.options),
                }
                for each in found
            ]
        )
        return
    rows: list[tuple[str, ...]] = []
    for each in found:
        first, *others = [f"{key}: {words}" for key, words in each.options.items()] or ["-"]
        rows.append((each.source, each.target, each.description, first))
        rows += [("", "", "", other) for other in others]
    say_table(("KIND", "TO", "WHAT", "OPTIONS"), rows)
