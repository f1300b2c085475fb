"""The database's tables: made by migrations, and the ones that the code knows."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from orchestrator.errors import StoreError
from orchestrator.store import tables
from orchestrator.store.database import Database
from tests.contract.stores import Place

DATABASES = pytest.mark.parametrize("place", ["sqlite+folder", "postgresql+folder"], indirect=True)
ROOT = Path(__file__).parents[2]


def database_of(place: Place) -> Database:
    return Database(place.database or f"sqlite:///{place.home / 'store.db'}")


@DATABASES
def test_the_migrations_make_the_tables_that_the_code_knows(place: Place) -> None:
    place.open().close()

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": tables.MIGRATION_TABLE})
        return list(compare_metadata(context, tables.metadata))

    assert database_of(place).read(differences) == []


@DATABASES
def test_a_difference_would_be_seen(place: Place) -> None:
    place.open().close()
    database = database_of(place)
    database.write(lambda connection: connection.execute(text("ALTER TABLE model_files DROP COLUMN size")))
    database.write(lambda connection: connection.execute(text("CREATE INDEX other ON model_files (sha256)")))

    def differences(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"version_table": tables.MIGRATION_TABLE})
        return sorted(difference[0] for difference in compare_metadata(context, tables.metadata))

    assert database.read(differences) == ["add_column", "remove_index"]


def test_the_newest_migration_is_the_one_that_the_code_needs() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "orchestrator" / "store" / "migrations"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [tables.HEAD]
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert revisions == [f"{number:04}" for number in range(len(revisions), 0, -1)]


@DATABASES
def test_a_newer_database_is_refused(place: Place) -> None:
    place.open().close()
    database_of(place).write(lambda connection: connection.execute(text("UPDATE model_schema SET version_num='0099'")))
    with pytest.raises(
        StoreError, match=r"made by a newer orchestrator: its tables are of version 0099, this one knows"
    ):
        place.open()


@DATABASES
def test_a_migration_that_fails_changes_nothing(place: Place) -> None:
    place.home.mkdir()
    database = database_of(place)
    database.write(lambda connection: connection.execute(text("CREATE TABLE model_garbage (id INTEGER)")))
    with pytest.raises(StoreError, match=r"model_garbage.*already exists"):
        place.open()
    database.write(lambda connection: connection.execute(text("DROP TABLE model_garbage")))
    place.open().close()


def test_a_store_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import orchestrator.store as s\n"
        "heavy = ('sqlalchemy', 'alembic', 'obstore', 'psycopg')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "s.Store.open(Path(sys.argv[1])).list()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )

    def printed() -> list[str]:
        command = [sys.executable, "-c", code, str(tmp_path / "home")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    assert printed() == ["[]", "['sqlalchemy', 'alembic']"]
    assert printed() == ["[]", "['sqlalchemy']"]
