"""Versions that go from one store to another: push and pull, export and import."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StoreError
from orchestrator.spec import ModelFormat, ModelRecord
from orchestrator.store import Store
from tests.contract.stores import Place, files_of, model_folder, tag

ON_DISK = pytest.mark.parametrize("place", ["sqlite+folder"], indirect=True)
Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "elsewhere") as opened:
        yield opened


def saved(store: Store, folder: Path, name: str = "iris:1") -> ModelRecord:
    return store.save(
        tag(name),
        folder,
        framework="sklearn",
        format=ModelFormat.ONNX,
        file="model.onnx",
        metadata={"accuracy": 0.5},
        labels={"stage": "test"},
        context={"python": "3.11"},
    )


def test_a_push_and_a_pull_keep_a_version(store: Store, elsewhere: Store, folder: Path) -> None:
    elsewhere.save(tag("iris:0"), folder)
    elsewhere.delete(tag("iris:0"))
    record = saved(elsewhere, folder)
    told: list[tuple[int, int]] = []
    pushed = elsewhere.copy_to(
        store, record.tag, origin="push", progress=lambda done, total: told.append((done, total))
    )
    assert pushed == record == store.get(tag("iris"))
    assert record.number == 2  # where nothing higher is there, a number is kept
    assert told[-1] == (record.size, record.size)
    assert files_of(store.folder(pushed)) == files_of(folder)
    assert [event.kind for event in store.history("iris")] == ["pushed"]
    elsewhere.delete(record.tag)
    pulled = store.copy_to(elsewhere, tag("iris:latest"), origin="pull")
    assert pulled == record.model_copy(update={"origin": "pull", "number": 3})
    assert store.copy_to(elsewhere, record.tag, origin="pull") == pulled
    event = elsewhere.history("iris")[0]
    assert (event.kind, event.version) == ("pulled", "1")
    assert event.detail
    assert elsewhere.copy_to(store, record.tag, origin="push") == record
    assert store.check() == elsewhere.check() == []


def test_a_pushed_version_stays_one_that_was_imported(
    elsewhere: Store, store: Store, folder: Path, tmp_path: Path
) -> None:
    saved(elsewhere, folder)
    archive = elsewhere.export(tag("iris:1"), tmp_path / "iris.tar")
    elsewhere.delete(tag("iris:1"))
    elsewhere.import_(archive)
    assert elsewhere.copy_to(store, tag("iris:1"), origin="push").origin == "import"


def test_other_files_of_the_same_tag_are_not_copied(
    store: Store, elsewhere: Store, folder: Path, tmp_path: Path
) -> None:
    mine = saved(store, folder)
    saved(elsewhere, model_folder(tmp_path / "other", {"model.onnx": b"other"}))
    with pytest.raises(StoreError, match="iris:1 is in the store already, with other files"):
        elsewhere.copy_to(store, mine.tag, origin="push")
    assert store.list() == [mine]
    store.set_alias("iris", "production", "1")
    saved(elsewhere, folder, "iris:production")
    with pytest.raises(StoreError, match="'production' is an alias"):
        elsewhere.copy_to(store, tag("iris:production"), origin="push")


def test_a_damaged_version_is_not_copied(store: Store, place: Place, elsewhere: Store, folder: Path) -> None:
    record = saved(store, folder)
    place.damage("model.onnx", (folder / "model.onnx").read_bytes()[::-1])
    with pytest.raises(StoreError, match=r"iris:1: model\.onnx is not what was saved"):
        store.copy_to(elsewhere, record.tag, origin="pull")
    place.damage("model.onnx", b"short")
    with pytest.raises(StoreError, match=r"iris:1: model\.onnx is not what was saved"):
        store.copy_to(elsewhere, record.tag, origin="pull")
    place.damage("model.onnx", None)
    with pytest.raises(StoreError, match=r"iris:1: model\.onnx is missing"):
        store.copy_to(elsewhere, record.tag, origin="pull")
    assert (elsewhere.list(), elsewhere.check()) == ([], [])


@pytest.mark.parametrize("name", ["iris.tar", "iris.tar.gz", "iris.model", "folder/"])
def test_an_export_is_imported_whole(store: Store, elsewhere: Store, folder: Path, tmp_path: Path, name: str) -> None:
    record = saved(store, folder)
    told: list[tuple[int, int]] = []
    written = store.export(record.tag, f"{tmp_path}/{name}", progress=lambda done, total: told.append((done, total)))
    assert written == tmp_path / name
    assert told[-1] == (record.size, record.size)
    imported = elsewhere.import_(written, progress=lambda done, total: told.append((done, total)))
    assert imported == record.model_copy(update={"origin": "import"}) == elsewhere.get(tag("iris:1"))
    assert files_of(elsewhere.folder(imported)) == files_of(folder)
    assert elsewhere.import_(written) == imported
    again = elsewhere.import_(written, tag=tag("flower"))
    assert (again.tag.name, again.number, again.files) == ("flower", 1, record.files)
    assert elsewhere.import_(written, tag=tag("iris:2")).number == 2
    assert [event.kind for event in elsewhere.history("iris")] == ["imported", "imported"]
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []


@ON_DISK
def test_an_export_into_a_folder_and_over_a_file(store: Store, folder: Path, tmp_path: Path) -> None:
    saved(store, folder)
    first = store.export(tag("iris:1"), tmp_path)
    assert first == tmp_path / "iris-1.tar.gz"
    content = first.read_bytes()
    assert store.export(tag("iris:1"), tmp_path).read_bytes() == content  # the same version, the same bytes
    with pytest.raises(StoreError, match="is not empty"):
        store.export(tag("iris:1"), f"{tmp_path}/")
    with pytest.raises(StoreError, match=r"archives are tar files \(end it with \.tar\.gz or \.tar"):
        store.export(tag("iris:1"), tmp_path / "iris.tar.zst")
    with pytest.raises(StoreError, match=r"iris:1: cannot be exported: No such file or directory"):
        store.export(tag("iris:1"), tmp_path / "none" / "iris.tar")


def rewritten(archive: Path, change: Change) -> Path:
    """The archive with other members."""
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    change(members)
    target = archive.with_name("changed.tar")
    with tarfile.open(target, "w") as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return target


def added(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        members.append((member, b"evil"))

    return change


def manifest(**changes: Any) -> Change:
    """Other values in the manifest's record."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        document = json.loads(members[0][1])
        document["record"].update(changes)
        members[0] = (members[0][0], json.dumps(document).encode())

    return change


def first_file(**changes: Any) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        document = json.loads(members[0][1])
        document["record"]["files"][0].update(changes)
        members[0] = (members[0][0], json.dumps(document).encode())

    return change


def flipped(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    (position,) = [at for at, (member, _) in enumerate(members) if member.name == "files/model.onnx"]
    member, content = members[position]
    members[position] = (member, content[:-1] + b"!")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(flipped, r"iris:1: model\.onnx is not what was saved: sha256 ", id="a flipped byte"),
        pytest.param(added("files/../../evil"), r"'\.\./\.\./evil' is not in its model\.json", id="parent"),
        pytest.param(added("/etc/evil"), r"'/etc/evil' is not below files/", id="absolute"),
        pytest.param(added("evil"), "'evil' is not below files/", id="beside"),
        pytest.param(
            added("files/model.onnx"), r"'model\.onnx' is not in its model\.json, or is there twice", id="twice"
        ),
        pytest.param(added("files/l", tarfile.SYMTYPE, "/etc/passwd"), "'files/l' is no regular file", id="symlink"),
        pytest.param(added("files/l", tarfile.LNKTYPE, "model.json"), "'files/l' is no regular file", id="hard link"),
        pytest.param(added("files/l", tarfile.FIFOTYPE), "'files/l' is no regular file", id="fifo"),
        pytest.param(added("files/l", tarfile.CHRTYPE), "'files/l' is no regular file", id="device"),
        pytest.param(lambda members: members.pop(), "is missing from it", id="a file less"),
        pytest.param(lambda members: members.pop(0), "model.json is not the first in it", id="no manifest"),
        pytest.param(lambda members: members.clear(), "model.json is not the first in it", id="nothing"),
        pytest.param(manifest(number=0), "number: 0 cannot be one", id="number"),
        pytest.param(manifest(number=2**40), "number: 1099511627776 cannot be one", id="great number"),
        pytest.param(manifest(tag={"name": "a"}), "tag: a version is not called 'latest'", id="no version"),
        pytest.param(
            manifest(tag={"name": "../a", "version": "1"}), r"record\.tag\.name: .*letters, digits", id="name"
        ),
        pytest.param(manifest(files=[]), "files: there are none", id="no files"),
        pytest.param(manifest(file="x"), "file: 'x' is not among the files", id="main file"),
        pytest.param(manifest(labels={"a b": "c"}), "label: key 'a b' cannot be one", id="label"),
        pytest.param(manifest(surprise=1), r"record\.surprise: Extra inputs are not permitted", id="unknown"),
        pytest.param(first_file(path="../evil"), r"'\.\./evil' is no path inside a model", id="path outside"),
        pytest.param(first_file(path="/evil"), "'/evil' is no path inside a model", id="absolute path"),
        pytest.param(first_file(path="a\nb"), "without control characters", id="control"),
        pytest.param(first_file(path="a\ud800"), r"model\.json: .*(surrogate|UTF-8|JSON)", id="no text"),
        pytest.param(first_file(size=7), "has 0 bytes, not 7", id="size"),
        pytest.param(first_file(size=-1), "size or sha256 cannot be one", id="negative size"),
        pytest.param(first_file(sha256="0" * 63), "size or sha256 cannot be one", id="short digest"),
    ],
)
@ON_DISK
def test_an_archive_that_is_not_right_leaves_nothing(
    store: Store, elsewhere: Store, folder: Path, tmp_path: Path, change: Change, message: str
) -> None:
    saved(store, folder)
    archive = rewritten(store.export(tag("iris:1"), tmp_path / "iris.tar"), change)
    with pytest.raises(StoreError, match=message) as caught:
        elsewhere.import_(archive)
    assert "\n" not in str(caught.value)
    assert (elsewhere.list(), elsewhere.check()) == ([], [])
    assert os.listdir(tmp_path / "elsewhere" / "objects") == []


@ON_DISK
def test_what_is_no_archive_is_told(store: Store, elsewhere: Store, folder: Path, tmp_path: Path) -> None:
    saved(store, folder)
    whole = store.export(tag("iris:1"), tmp_path / "iris.tar.gz").read_bytes()
    broken = {
        "text": b"hello",
        "empty": b"",
        "cut": whole[:-200],
        "half": whole[: len(whole) // 2],
        "gzip": gzip.compress(b"hello"),
        "torn": whole[:300] + bytes(100) + whole[400:],
    }
    for name, content in broken.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(StoreError, match=f"{name}|model"):
            elsewhere.import_(file)
    with pytest.raises(StoreError, match="none cannot be imported: No such file or directory"):
        elsewhere.import_(tmp_path / "none")
    with pytest.raises(StoreError, match=r"model: there is no model\.json in it"):
        elsewhere.import_(folder)
    exported = store.export(tag("iris:1"), f"{tmp_path}/folder/")
    (exported / "files" / "link").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="link is a link out of"):
        elsewhere.import_(exported)
    assert (elsewhere.list(), elsewhere.check()) == ([], [])
