"""A version's code: what is kept of a folder, and what a process sees that imports from it."""

import io
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from orchestrator.errors import CompileError, DefinitionError
from orchestrator.worker import snapshot
from orchestrator.worker.snapshot import Snapshot, take_snapshot
from orchestrator.worker.source import SOURCES_FILE, code_files, code_folder

ENTER = "import sys; from pathlib import Path; from orchestrator.worker.source import code_folder; "
IMPORT = ENTER + "sys.path.insert(0, str(code_folder(Path(sys.argv[1]), {})));"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def version_of(folder: Path, place: Path) -> Path:
    place.mkdir(parents=True)
    for name, content in code_files(folder, take_snapshot(folder)).items():
        (place / name).write_bytes(content)
    return place


def run(version: Path, code: str) -> str:
    """What a fresh process prints that imports from a version."""
    outcome = subprocess.run(
        [sys.executable, "-c", IMPORT + "\n" + textwrap.dedent(code), str(version)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def names(taken: Snapshot) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(taken.archive)).namelist()


def test_only_the_users_own_sources_are_kept(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "service.py": "",
            "pkg/sub/deep.py": "",
            "data.json": "{}",
            ".hidden/a.py": "",
            "node_modules/b.py": "",
            "env/pyvenv.cfg": "",
            "env/lib/c.py": "",
            "lib/site-packages/d.py": "",
            "__pycache__/e.py": "",
            f"quick{EXTENSION_SUFFIXES[0]}": "",
            "quick.py": "",
        },
    )
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert names(take_snapshot(tmp_path)) == ["pkg/sub/deep.py", "service.py"]


def test_equal_sources_are_equal_bytes_whatever_their_times(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x.py": "1", "p/y.py": "2"})
    write(tmp_path / "b", {"p/y.py": "2", "x.py": "1"})
    os.utime(tmp_path / "a" / "x.py", (1, 1))
    assert take_snapshot(tmp_path / "a") == take_snapshot(tmp_path / "b")


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ("MAX_FILES", "more than 2 Python files"),
        ("MAX_BYTES", "MiB of Python code"),
        ("_MAX_ENTRIES", "more than 2 files"),
    ],
)
def test_a_folder_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, message: str
) -> None:
    write(tmp_path, {f"m{number}.py": "pass" for number in range(3)})
    monkeypatch.setattr(snapshot, bound, 2)
    with pytest.raises(CompileError, match=message) as caught:
        take_snapshot(tmp_path)
    assert "--working-dir" in str(caught.value)


def test_imports_come_from_the_version_and_places_are_the_originals(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(
        folder,
        {
            "service.py": """
                from pathlib import Path
                import helper
                from pkg import sub
                from spaced.inner import WORD
                def say():
                    data = (Path(__file__).parent / "data.txt").read_text()
                    return [helper.VERSION, sub.VERSION, sub.up(), WORD, data, __file__]
            """,
            "helper.py": "VERSION = 1",
            "pkg/__init__.py": "TOP = 1",
            "pkg/sub.py": "from . import TOP\nfrom .other import VERSION\ndef up(): return TOP",
            "pkg/other.py": "VERSION = 1",
            "spaced/inner.py": "WORD = 'one'",
            "data.txt": "data one",
        },
    )
    version = version_of(folder, tmp_path / "1")
    write(
        folder,
        {
            "service.py": "raise RuntimeError",
            "helper/__init__.py": "VERSION = 2",
            "pkg/__init__.py": "TOP = 2",
            "pkg/other/__init__.py": "VERSION = 2",
            "spaced/__init__.py": "raise RuntimeError",
            "spaced/inner.py": "WORD = 'two'",
        },
    )
    code = "import json, service, pkg, spaced; print(json.dumps([service.say(), list(pkg.__path__), list(spaced.__path__)]))"
    said, path, spaced = json.loads(run(version, code))
    assert said == [1, 1, 1, "one", "data one", str(folder / "service.py")]
    assert path == [str(folder / "pkg")]
    assert spaced == [str(folder / "spaced")]
    assert not list(folder.rglob("*.pyc")), "code that has been compiled for a version must not be left in the folder"


def test_a_pickle_made_elsewhere_finds_its_class(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(folder, {"models.py": "class Model:\n    def __init__(self): self.word = 'pickled'\n"})
    make = "import models, pickle, pathlib; pathlib.Path('m.pkl').write_bytes(pickle.dumps(models.Model()))"
    subprocess.run([sys.executable, "-c", make], cwd=folder, check=True)
    version = version_of(folder, tmp_path / "1")
    (folder / "models.py").write_text("")
    assert run(version, f"import pickle; print(pickle.load(open({str(folder / 'm.pkl')!r}, 'rb')).word)") == "pickled\n"


def test_tracebacks_and_getsource_show_the_versions_own_lines(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(folder, {"service.py": "def fail():\n    raise ValueError('old')  # the old line\n"})
    version = version_of(folder, tmp_path / "1")
    (folder / "service.py").write_text("# other\n" * 5)
    shown = run(
        version,
        """
        import inspect, traceback, service
        print(inspect.getsource(service.fail))
        try:
            service.fail()
        except ValueError:
            print(traceback.format_exc())
        """,
    )
    assert shown.count("# the old line") == 2
    assert f'{folder / "service.py"}", line 2, in fail' in shown


def test_plugins_are_listed_as_they_were_and_resources_are_read_from_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(
        folder, {"plugins/__init__.py": "", "plugins/one.py": "", "plugins/deep/__init__.py": "", "plugins/d.txt": "d"}
    )
    version = version_of(folder, tmp_path / "1")
    write(folder, {"plugins/two.py": ""})
    shown = run(
        version,
        """
        import plugins, pkgutil, importlib.resources
        print(sorted((module.name, module.ispkg) for module in pkgutil.iter_modules(plugins.__path__)))
        print(importlib.resources.files("plugins").joinpath("d.txt").read_text())
        """,
    )
    assert shown == "[('deep', True), ('one', False)]\nd\n"


def test_modules_that_code_writes_for_itself_and_links_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(tmp_path / "elsewhere", {"linked/__init__.py": "WORD = 'linked'"})
    write(
        folder,
        {
            "service.py": "import linked\nfrom pathlib import Path\nPath(__file__).with_name('made.py').write_text('X = 5')"
        },
    )
    (folder / "linked").symlink_to(tmp_path / "elsewhere" / "linked", target_is_directory=True)
    version = version_of(folder, tmp_path / "1")
    assert run(version, "import service, importlib; importlib.invalidate_caches(); import made; print(made.X)") == "5\n"


def test_a_syntax_error_and_a_strange_encoding_are_python_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "latin.py").write_bytes("# coding: latin-1\nWORD = 'größer'\n".encode("latin-1"))
    (folder / "broken.py").write_text("def f(:\n")
    version = version_of(folder, tmp_path / "1")
    shown = run(
        version,
        """
        import latin
        print(latin.WORD)
        try:
            import broken
        except SyntaxError as error:
            print(error.filename, error.lineno)
        """,
    )
    assert shown == f"größer\n{folder / 'broken.py'} 1\n"


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(folder, {"service.py": ""})
    version = version_of(folder, tmp_path / "1")
    content = bytearray((version / SOURCES_FILE).read_bytes())
    content[10] ^= 1
    (version / SOURCES_FILE).write_bytes(content)
    with pytest.raises(DefinitionError, match="damaged"):
        code_folder(version, {})


def test_without_a_snapshot_the_config_says_where_the_code_is(tmp_path: Path) -> None:
    version = tmp_path / "repository" / "Model" / "1"
    version.mkdir(parents=True)
    config = {"parameters": {"service_path": {"string_value": "../code"}}}
    assert code_folder(version, config) == tmp_path / "repository" / "../code"
