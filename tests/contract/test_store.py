"""The model store, one suite for all its databases and all its places for files."""

import os
import re
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import StoreError
from orchestrator.spec import DType, ModelFormat, ModelSignature, TensorSpec
from orchestrator.store import Store
from tests.contract.stores import Place, Workers, files_of, model_folder, tag

SIGNATURE = ModelSignature(
    inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="y", dtype=DType.INT64, shape=(-1,)),),
    batched=True,
)
ON_DISK = pytest.mark.parametrize("place", ["sqlite+folder"], indirect=True)
FOLDERS = pytest.mark.parametrize("place", ["sqlite+folder", "postgresql+folder"], indirect=True)
BUCKETS = pytest.mark.parametrize("place", ["sqlite+s3"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def test_a_version_comes_back_as_it_was_saved(store: Store, place: Place, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    before = datetime.now(UTC)
    saved = store.save(
        tag("iris:v1"),
        folder,
        framework="sklearn",
        format=ModelFormat.ONNX,
        file="model.onnx",
        method="predict",
        signature=SIGNATURE,
        metadata={"accuracy": np.float32(0.5), "data": {"rows": [1, None, "ä"]}},
        labels={"stage": "test", "a.b-c_d": "1"},
        context={"python": "3.11"},
        tolerance=(0.25, 1e-9),
        progress=lambda done, total: told.append((done, total)),
    )
    assert (str(saved.tag), saved.number, saved.origin) == ("iris:v1", 1, "")
    assert saved.metadata == {"accuracy": 0.5, "data": {"rows": [1, None, "ä"]}}
    assert before <= saved.created_at <= datetime.now(UTC)
    assert [file.path for file in saved.files] == sorted(files_of(folder))
    assert told[-1] == (saved.size, saved.size) == (sum(map(len, files_of(folder).values())),) * 2
    assert store.get(tag("iris:v1")) == saved
    with place.open() as again:
        assert again.get(tag("iris")) == saved
        assert files_of(again.folder(saved)) == files_of(folder)


def test_one_file_or_folder_of_a_version(store: Store, folder: Path) -> None:
    record = store.save(tag("iris"), folder)
    words = store.path_of(record, "vocab/words äß.txt")
    assert words.read_bytes() == b"a b c"
    assert store.path_of(record, "vocab/") == words.parent
    assert store.path_of(record) == store.path_of(record, "./") == store.folder(record)
    for outside in ("../x", "/etc/passwd", "vocab/../model.onnx", "voc", "vocab/words"):
        with pytest.raises(StoreError, match="has no file"):
            store.path_of(record, outside)
    with pytest.raises(StoreError, match=r"did you mean 'model.onnx'"):
        store.path_of(record, "model.onn")


def test_versions_are_made_numbered_and_found(store: Store, folder: Path) -> None:
    made = [store.save(tag("iris"), folder) for _ in range(3)]
    assert [record.number for record in made] == [1, 2, 3]
    names = [record.tag.version for record in made]
    assert names == sorted(set(names))
    assert all(re.fullmatch(r"20\d{6}-[0-9a-z]{6}", name) for name in names)
    assert store.get(tag("iris")) == store.get(tag("iris:latest")) == made[2]
    store.save(tag("irises:1"), folder)
    assert [str(each.tag) for each in store.list()] == ["irises:1", *(f"iris:{name}" for name in reversed(names))]
    assert store.list("iris") == made[::-1]
    assert store.list("nothing") == []


def test_a_tag_is_taken_once(store: Store, folder: Path) -> None:
    store.save(tag("iris:1"), folder)
    store.set_alias("iris", "production", "1")
    with pytest.raises(StoreError, match="iris:1 is in the store already"):
        store.save(tag("iris:1"), folder)
    with pytest.raises(StoreError, match="'production' is an alias"):
        store.save(tag("iris:production"), folder)
    assert len(store.list()) == 1


def test_near_names_are_named(store: Store, folder: Path) -> None:
    with pytest.raises(StoreError, match=r"no model 'iris' in the store \(the store is empty\)"):
        store.get(tag("iris"))
    store.save(tag("iris:version-1"), folder)
    store.set_alias("iris", "production", "latest")
    with pytest.raises(StoreError, match=r"no model 'irsi' in the store \(did you mean 'iris'\?\)"):
        store.get(tag("irsi:1"))
    with pytest.raises(StoreError, match=r"no version or alias 'version-2' of model 'iris' \(did you mean 'version-1'"):
        store.get(tag("iris:version-2"))
    with pytest.raises(StoreError, match="did you mean 'production'"):
        store.set_alias("iris", "best", "prodution")
    with pytest.raises(StoreError, match="no model 'other'"):
        store.history("other")
    for action in (store.remove_alias, store.roll_back_alias):
        with pytest.raises(StoreError, match=r"no alias 'productio' of model 'iris' .did you mean 'production'"):
            action("iris", "productio")


def test_labels_change_and_select(store: Store, folder: Path) -> None:
    store.save(tag("iris:1"), folder, labels={"stage": "test", "framework": "xgboost"})
    store.save(tag("iris:2"), folder, labels={"stage": "production"})
    store.save(tag("other:1"), folder)

    def found(selector: str) -> list[str]:
        return [str(record.tag) for record in store.list(selector=selector)]

    assert found("stage=test") == ["iris:1"]
    assert found("stage In (test, production), framework DoesNotExist") == ["iris:2"]
    assert found("stage DoesNotExist") == ["other:1"]
    assert found("framework!=lightgbm") == ["iris:1"]
    assert found("") == ["other:1", "iris:2", "iris:1"]
    changed = store.set_labels(tag("iris:1"), {"stage": "old", "framework": None, "absent": None})
    assert changed.labels == {"stage": "old"}
    assert store.get(tag("iris:1")) == changed
    assert found("stage=old") == ["iris:1"]
    assert store.history("iris")[0].detail == "stage=old, -framework, -absent"
    with pytest.raises(StoreError, match="column 7: expected a value, not the end"):
        found("stage=")


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"a": ""}, {"a" * 64: "x"}, {"a": "b" * 64}, {"-a": "b"}, {"a": "b."}, {"a": "b c"}], ids=str
)
@ON_DISK
def test_a_label_that_cannot_be_one_is_refused(store: Store, folder: Path, labels: dict[str, str]) -> None:
    with pytest.raises(StoreError, match=r"label: .*63 characters"):
        store.save(tag("iris"), folder, labels=labels)
    store.save(tag("iris"), folder, labels={"k" * 63: "v" * 63})
    with pytest.raises(StoreError, match=r"label: .*63 characters"):
        store.set_labels(tag("iris"), labels)


def test_an_alias_moves_and_goes_back(store: Store, folder: Path) -> None:
    for number in "1234":
        store.save(tag(f"iris:{number}"), folder)
    store.set_alias("iris", "production", "1")
    store.set_alias("iris", "production", "1")  # no move
    store.set_alias("iris", "production", "2")
    store.set_alias("iris", "best", "production")
    store.set_alias("iris", "production", "3")
    assert store.aliases() == store.aliases("iris") == {"iris": {"best": "2", "production": "3"}}
    assert store.aliases("other") == {}
    assert store.get(tag("iris:production")) == store.get(tag("iris:3"))
    assert store.roll_back_alias("iris", "production") == ("2", "3")
    store.set_alias("iris", "production", "latest")
    assert store.roll_back_alias("iris", "production") == ("2", "4")
    assert store.roll_back_alias("iris", "production") == ("1", "2")
    with pytest.raises(StoreError, match="points to 1 and to nothing before that"):
        store.roll_back_alias("iris", "production")
    assert [event.detail for event in store.history("iris") if event.kind.startswith("alias")][::-1] == [
        "production -> 1",
        "production: 1 -> 2",
        "best -> 2",
        "production: 2 -> 3",
        "production: 3 -> 2",
        "production: 2 -> 4",
        "production: 4 -> 2",
        "production: 2 -> 1",
    ]
    store.remove_alias("iris", "best")
    assert store.aliases("iris") == {"iris": {"production": "1"}}
    for alias in ("latest", "2"):
        with pytest.raises(StoreError, match="is a version and cannot be an alias"):
            store.set_alias("iris", alias, "1")
    with pytest.raises(StoreError, match="letters, digits"):
        store.set_alias("iris", "a b", "1")


def test_a_rollback_passes_over_versions_that_are_gone(store: Store, folder: Path) -> None:
    for number in "123":
        store.save(tag(f"iris:{number}"), folder)
        store.set_alias("iris", "production", number)
    store.delete(tag("iris:2"))
    assert store.roll_back_alias("iris", "production") == ("1", "3")
    store.remove_alias("iris", "production")
    store.set_alias("iris", "production", "3")
    with pytest.raises(StoreError, match="nothing before"):
        store.roll_back_alias("iris", "production")


def test_a_deleted_version_is_gone_with_its_files(store: Store, place: Place, folder: Path) -> None:
    first, second = (store.save(tag(f"iris:{number}"), folder) for number in "12")
    store.set_alias("iris", "production", "2")
    with pytest.raises(StoreError, match=r"iris:2 is what 'production' of iris points to \(move the alias first"):
        store.delete(tag("iris:production"))
    assert store.delete(tag("iris:2"), force=True) == second
    assert store.aliases() == {}
    with pytest.raises(StoreError, match="iris:2 is not in this store any more"):
        store.folder(second)
    assert len(place.object_ids()) == 1
    assert store.save(tag("iris:2"), folder).number == 3
    with pytest.raises(StoreError, match="not in this store any more"):
        store.path_of(second, "model.onnx")
    store.delete(tag("iris"))
    store.delete(tag("iris"))
    assert store.list() == []
    assert place.object_ids() == set()
    assert store.save(tag("iris"), folder).number == 4
    with pytest.raises(StoreError, match="not in this store any more"):
        store.folder(first)


def test_a_history_has_everything_in_order(store: Store, folder: Path) -> None:
    start = datetime.now(UTC)
    store.save(tag("iris:1"), folder)
    store.set_alias("iris", "production", "1")
    store.set_labels(tag("iris:1"), {"a": "b"})
    store.record_event("iris", "deployed", "1", "on :8000")
    store.remove_alias("iris", "production")
    store.delete(tag("iris:1"))
    events = store.history("iris")
    assert [(event.kind, event.version, event.detail) for event in reversed(events)] == [
        ("saved", "1", ""),
        ("alias moved", "1", "production -> 1"),
        ("labelled", "1", "a=b"),
        ("deployed", "1", "on :8000"),
        ("alias removed", "1", "production: 1"),
        ("deleted", "1", ""),
    ]
    times = [event.at for event in reversed(events)]
    assert start <= times[0]
    assert times == sorted(times)
    assert {event.name for event in events} == {"iris"}


def test_a_flipped_byte_is_found_and_named(store: Store, place: Place, folder: Path, tmp_path: Path) -> None:
    record = store.save(tag("iris:1"), folder)
    content = (folder / "model.onnx").read_bytes()
    place.damage("model.onnx", content[:-1] + b"!")
    message = r"iris:1: model.onnx is not what was saved: sha256 [0-9a-f]{64}, not " + record.files[1].sha256
    with place.open_elsewhere(tmp_path / "machine") as fresh:
        for read in (fresh.folder, fresh.path_of, lambda each: fresh.path_of(each, "model.onnx")):
            with pytest.raises(StoreError, match=message):
                read(record)
        (fault,) = store.check()
        assert re.match(message, fault)
        with pytest.raises(StoreError, match=message):
            store.export(record.tag, tmp_path / "iris.tar.gz")
        assert not list(tmp_path.glob("*iris.tar*"))
    place.damage("model.onnx", None)
    (fault,) = store.check()
    assert fault.startswith("iris:1: model.onnx is missing (")
    place.damage("model.onnx", content)
    assert store.check() == []
    place.damage("nobody.txt", b"?")
    assert store.check() == [f"iris:1: nobody.txt is not one of its files ({place.objects or place.home / 'objects'})"]
    with pytest.raises(StoreError, match="has no file"):
        store.path_of(record, "nobody.txt")


@ON_DISK
def test_a_flipped_byte_is_found_after_a_verification_too(store: Store, folder: Path) -> None:
    record = store.save(tag("iris:1"), folder)
    file = store.path_of(record, "model.onnx")
    time.sleep(0.15)  # what has just been written is not taken from memory
    for _ in range(2):
        store.folder(record)
    about = file.stat()
    assert stat.S_IMODE(about.st_mode) == 0o444
    file.chmod(0o644)
    with file.open("r+b") as writer:
        writer.write(b"W")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))  # size and time are as they were
    with pytest.raises(StoreError, match=r"iris:1: model.onnx is not what was saved"):
        store.folder(record)
    file.unlink()
    with pytest.raises(StoreError, match=r"iris:1: model.onnx is missing"):
        store.path_of(record, "model.onnx")


@FOLDERS
def test_a_big_file_is_read_once(store: Store, place: Place, workers: Workers, tmp_path: Path) -> None:
    size = 8 << 20
    store.save(tag("big:1"), model_folder(tmp_path / "big", {"weights": os.urandom(size)}))
    os.sync()
    first, second = workers.start("bytes_read", place, tag="big:1", rest_s=0.3).wait()
    assert first >= size > 20 * second


@BUCKETS
def test_a_bucket_is_read_once_and_its_copy_is_verified(
    store: Store, place: Place, folder: Path, tmp_path: Path
) -> None:
    record = store.save(tag("iris:1"), folder)
    machine = tmp_path / "machine"
    with place.open_elsewhere(machine) as fresh:
        words = fresh.path_of(record, "vocab")
        assert files_of(machine / "cache").keys() == {f"{words.relative_to(machine / 'cache')}/words äß.txt"}
        copy = fresh.path_of(record, "model.onnx")
        place.damage("model.onnx", None)
        assert files_of(fresh.folder(record)) == files_of(folder)
        copy.chmod(0o644)
        copy.write_bytes(b"!")
        with pytest.raises(StoreError, match=rf"iris:1: model.onnx is not what was saved: .*\({copy}\)"):
            fresh.folder(record)
    store.delete(record.tag)
    with place.open_elsewhere(machine) as fresh:
        assert files_of(machine / "cache") == {}


@BUCKETS
def test_a_file_of_many_parts_goes_through_a_bucket(store: Store, tmp_path: Path) -> None:
    content = os.urandom((33 << 20) + 5)
    record = store.save(tag("big:1"), model_folder(tmp_path / "big", {"weights": content}))
    assert store.path_of(record, "weights").read_bytes() == content


@FOLDERS
def test_an_open_store_works_on_both_sides_of_a_fork(place: Place, workers: Workers, folder: Path) -> None:
    assert workers.start("fork", place, folder=str(folder)).wait() == [3, 2, 1]


@BUCKETS
def test_a_fork_of_a_process_that_used_a_bucket_is_told(place: Place, workers: Workers, folder: Path) -> None:
    assert (
        "was forked from one that had used a bucket"
        in workers.start("fork_with_bucket", place, folder=str(folder)).wait()
    )


@ON_DISK
def test_a_new_home_is_the_owners_alone(store: Store, place: Place) -> None:
    assert stat.S_IMODE(place.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((place.home / "objects").stat().st_mode) == 0o700
