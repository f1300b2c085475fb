"""The variables that say where the model stores are."""

import re
from dataclasses import fields
from pathlib import Path

from orchestrator.settings import Settings

ROOT = Path(__file__).parents[2]
PLACES = ("store_database", "store_objects", "remote_database", "remote_objects")


def test_each_place_has_its_variable() -> None:
    for place in PLACES:
        assert getattr(Settings.load({}), place) is None
        settings = Settings.load({f"ORCHESTRATOR_{place.upper()}": "somewhere"})
        assert {each.name for each in fields(settings) if getattr(settings, each.name) == "somewhere"} == {place}
        assert getattr(Settings.load({f"ORCHESTRATOR_{place.upper()}": ""}), place) is None


def test_a_password_is_not_shown() -> None:
    url = "postgresql://me:secret@host/models"
    settings = Settings.load({"ORCHESTRATOR_STORE_DATABASE": url, "ORCHESTRATOR_REMOTE_DATABASE": url})
    assert settings.store_database == settings.remote_database == url
    assert "secret" not in repr(settings)


def test_the_documentation_has_every_variable() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    named = set(re.findall(r"`(ORCHESTRATOR_[A-Z_]+[A-Z])`", Settings.__doc__ or ""))
    assert {f"ORCHESTRATOR_{place.upper()}" for place in PLACES} < named
    assert [name for name in sorted(named) if f"`{name}" not in page] == []
