"""`orchestrator models`: what is in the store. Moving versions is in `model_exchange`, pointing at them in `model_versions`."""

import sys
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
from orchestrator.cli.tables import say_json, say_table, size_in_words, time_in_words
from orchestrator.errors import SettingsError
from orchestrator.spec import TensorSpec

__all__ = ["AsJson", "app", "document_of", "say_saved"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Tag = Annotated[str, typer.Argument(metavar="TAG", help="name, name:version or name:alias.")]

app = typer.Typer(no_args_is_help=True, help="Trained models: saved, versioned, moved.")


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of one model; default: of all.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="SELECTOR", help="Only versions with labels such as these.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Lists versions, the newest first.

    A selector is `key=value`, `key!=value`, `key In (a, b)`, `key NotIn (a, b)`, `key Exists`, `key DoesNotExist`, or
    several of them with commas.

    Examples:

      orchestrator models list

      orchestrator models list iris --labels "stage=production, team In (vision, text)"
    """
    found, aliases = models.list(name, selector=labels), models.aliases(name)
    pointing = {each.tag: _pointing(each, aliases) for each in found}
    if as_json:
        say_json([document_of(each) | {"aliases": pointing[each.tag]} for each in found])
        return
    rows = [
        (
            str(each.tag),
            ", ".join(pointing[each.tag]) or "-",
            each.record.framework or "-",
            str(each.record.format or "-"),
            size_in_words(each.record.size),
            time_in_words(each.creation_time),
            ", ".join(f"{key}={value}" for key, value in each.labels.items()) or "-",
        )
        for each in found
    ]
    say_table(("TAG", "ALIASES", "FRAMEWORK", "FORMAT", "SIZE", "SAVED", "LABELS"), rows)
    if not found:
        note(
            "there is no such version" if name or labels else "the store is empty: `orchestrator models save` fills it"
        )


@app.command()
def get(
    tag: Tag,
    path: Annotated[
        bool, typer.Option("--path", help="Print only the folder with its files; fetch them there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Shows one version: what it takes and gives, its files, and how its conversion was proved.

    Examples:

      orchestrator models get iris

      orchestrator models get iris:production --json

      ls $(orchestrator models get iris --path)
    """
    model = models.get(tag)
    if path:
        if as_json:
            say_json({"tag": str(model.tag), "path": model.path})
        else:
            say(model.path)
        return
    aliases = _pointing(model, models.aliases(model.tag))
    parity = model.parity
    if as_json:
        proof = None if parity is None else parity.model_dump(mode="json")
        say_json(document_of(model) | {"aliases": aliases, "parity": proof})
        return
    record = model.record
    signature = record.signature
    lines: list[tuple[str, str]] = [
        ("tag", str(model.tag)),
        ("number", str(record.number)),
        ("aliases", ", ".join(aliases) or "-"),
        ("saved", time_in_words(record.created_at)),
        ("origin", record.origin or "this store"),
        ("framework", record.framework or "-"),
        ("format", str(record.format or "-")),
        ("file", record.file or "-"),
        ("size", size_in_words(record.size)),
        *((f"label {key}", value) for key, value in record.labels.items()),
        *((f"metadata {key}", str(value)) for key, value in record.metadata.items()),
        *((f"version of {key}", value) for key, value in model.info.context.items()),
        *(("takes", _tensor(each)) for each in (signature.inputs if signature else ())),
        *(("gives", _tensor(each)) for each in (signature.outputs if signature else ())),
    ]
    if signature is not None:
        lines.append(("batched", "yes" if signature.batched else "no"))
    say_table(("WHAT", "VALUE"), lines)
    say("")
    say_table(("FILE", "SIZE", "SHA256"), [(each.path, size_in_words(each.size), each.sha256) for each in record.files])
    if parity is not None:
        from orchestrator.conversion import report_table

        say("")
        headings, *rows = report_table(parity)
        say_table(headings, rows)


@app.command()
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name, or name:version.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The model's file or folder.")],
    framework: Annotated[
        str | None, typer.Option(help="sklearn, xgboost, torch ...; default: what the file shows.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="onnx", help="Converts it, too, and proves the conversion.")] = None,
    sample: SampleFile = None,
    label: Labels = None,
    metadata: Metadata = None,
    metadata_file: MetadataFile = None,
    alias: Aliases = None,
    option: Options = None,
    tolerance: ToleranceText = None,
    as_json: AsJson = False,
) -> None:
    """Saves a model's file or folder as a new version. A pickle is read, which runs code that is in it.

    Examples:

      orchestrator models save iris model.joblib --to onnx --sample rows.npy --alias production

      orchestrator models save text_det det.onnx --label team=vision --metadata accuracy=0.97
    """
    model = models.save_model(
        name,
        path,
        framework=framework,
        to=to,
        sample=read_sample(sample),
        labels=read_labels(label),
        metadata=read_metadata(metadata, metadata_file),
        aliases=alias or (),
        options=read_options(option),
        tolerance=read_tolerance(tolerance),
        progress=note,
    )
    say_saved(model, as_json)


@app.command()
def delete(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="name:version or name:alias.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take the aliases that point to it away, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes one version. Its number is never used again.

    Examples:

      orchestrator models delete iris:20261121-6xbgwm

      orchestrator models delete iris:old --yes --force
    """
    if ":" not in tag:
        raise SettingsError(f"{tag!r} names no version", hint=f"{tag}:latest is the newest one")
    model = models.get(tag)
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError("nobody is there to be asked", hint="say --yes")
        typer.confirm(f"delete {model.tag} ({size_in_words(model.record.size)})?", abort=True, err=True)
    deleted = models.delete(model.tag, force=force)
    if as_json:
        say_json({"deleted": str(deleted.tag)})
    else:
        say(f"deleted {deleted.tag}")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Reads every byte in the store; exits with 1 where a file is missing or is not what was saved.

    Example:

      orchestrator models check
    """
    faults = models.check()
    if as_json:
        say_json({"faults": faults})
    else:
        for fault in faults:
            say(fault)
        note(f"{len(faults)} faults" if faults else "every file is what was saved")
    if faults:
        raise typer.Exit(1)


def say_saved(model: models.Model, as_json: bool, **more: Any) -> None:
    """A version that is new in the store."""
    if as_json:
        say_json(document_of(model) | more)
    else:
        say(f"saved {model.tag}")


def document_of(model: models.Model) -> dict[str, Any]:
    """A version for machines."""
    document = model.record.model_dump(mode="json")
    context = dict(model.info.context)
    return {**document, "tag": str(model.tag), "name": model.tag.name, "size": model.record.size, "context": context}


def _pointing(model: models.Model, aliases: dict[str, dict[str, str]]) -> list[str]:
    found = aliases.get(model.tag.name, {})
    return sorted(alias for alias, version in found.items() if version == model.tag.version)


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype}{list(spec.shape)}"
