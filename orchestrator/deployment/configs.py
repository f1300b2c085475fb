"""config.pbtxt of one certain version."""

from google.protobuf import json_format

from orchestrator.compiler.config import config_text, parse_config

__all__ = ["as_json", "for_version", "service_path_of", "version_of"]


def for_version(text: str, version: int) -> str:
    """The same config, which serves that version and no other."""
    config = parse_config(text)
    config.version_policy.specific.versions[:] = [version]
    return config_text(config)


def version_of(text: str) -> int | None:
    """The version that a config names; None where it leaves that to what lies on disk."""
    versions = parse_config(text).version_policy.specific.versions
    return int(versions[0]) if len(versions) == 1 else None


def as_json(text: str) -> str:
    """As Triton takes it with a request to load."""
    return str(json_format.MessageToJson(parse_config(text), preserving_proto_field_name=True))


def service_path_of(text: str) -> str:
    """The folder of the code, as a service's config names it to workers."""
    return str(parse_config(text).parameters["service_path"].string_value)
