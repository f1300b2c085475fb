"""`orchestrator.models` on a real store: what is written, found, moved and refused."""

import multiprocessing
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import models
from orchestrator.errors import StoreError
from orchestrator.models import stores
from orchestrator.models.stores import default_store
from orchestrator.sdk.pins import set_pins
from orchestrator.spec import StoredModelRef
from orchestrator.spec import Tag as SpecTag
from orchestrator.store import Store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path / "home"
    set_pins([])


def saved(name: str = "iris", text: str = "one", **settings: object) -> models.Model:
    with models.create(name, **settings) as model:  # type: ignore[arg-type]
        Path(model.path_of("weights/model.txt")).write_text(text)
    return model


def test_what_is_created_is_found_again() -> None:
    made = saved(labels={"stage": "dev"}, metadata={"accuracy": 0.97}, module="mine", context={"numpy": "1.26"})
    found = models.get("iris")
    assert found == made
    assert found.tag == made.tag == SpecTag.of(str(made.tag))
    assert (found.tag.name, found.labels, found.metadata) == ("iris", {"stage": "dev"}, {"accuracy": 0.97})
    assert Path(found.path_of("weights/model.txt")).read_text() == "one"
    assert sorted(os.listdir(found.path)) == ["weights"]
    assert (found.info.module, found.info.context) == ("mine", {"numpy": "1.26"})
    assert (found.info.name, found.info.version) == (found.tag.name, found.tag.version)
    assert found.creation_time == found.info.creation_time == found.record.created_at
    assert found.exists


def test_what_cannot_change_cannot_be_changed() -> None:
    model = saved(metadata={"accuracy": 0.97})
    with pytest.raises(TypeError):
        model.metadata["accuracy"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        model.labels["stage"] = "x"  # type: ignore[index]
    assert Path(model.path_of("weights/model.txt")).stat().st_mode & 0o222 == 0


def test_a_model_that_is_being_written_has_a_tag_and_a_folder(tmp_path: Path) -> None:
    with models.create("iris") as model:
        tag = model.tag
        Path(model.path, "a.txt").write_text("x")
        assert tag.version != "latest"
        with pytest.raises(StoreError, match="is still being written"):
            _ = model.record
        with pytest.raises(StoreError, match="no path inside"):
            model.path_of("../a.txt")
        assert not model.exists
    assert models.get("iris").tag == model.tag == tag
    assert not [*tmp_path.glob("orchestrator-model-*")]


def test_an_exception_saves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with models.create("iris") as model:
            Path(model.path_of("a.txt")).write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert models.list() == []
    assert not [*tmp_path.glob("orchestrator-model-*")]


def test_nothing_written_is_refused() -> None:
    with pytest.raises(StoreError, match="there are no files"), models.create("iris"):
        pass


def test_a_version_of_ones_own_is_taken_once() -> None:
    saved("iris:v1")
    began = False
    with (
        pytest.raises(StoreError, match=r"^iris:v1 is in the store already \(a version never changes"),
        models.create("iris:v1"),
    ):
        began = True
    assert not began
    models.set_alias("iris:v1", "production")
    with pytest.raises(StoreError, match="iris:production is an alias, of iris:v1"), models.create("iris:production"):
        pass


def test_two_who_make_up_the_same_version_both_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.naming.made_version", lambda _: "same")
    first, second = saved(text="1"), saved(text="2")
    assert first.tag.version == "same"
    assert second.tag.version != "same"
    assert models.get(second.tag) == second


def test_tags_mean_the_newest_a_version_or_an_alias() -> None:
    one, two = saved("iris:1"), saved("iris:2", "two")
    assert models.get("iris") == models.get("iris:latest") == two
    assert models.get("iris:1") == models.get(one.tag) == models.get(one) == one
    models.set_alias("iris:1", "production")
    assert models.get("iris:production") == one
    models.set_alias("iris:latest", "production")
    assert models.get("iris:production") == two
    assert models.roll_back("iris", "production") == one
    assert models.aliases("iris") == {"iris": {"production": "1"}}
    models.remove_alias("iris", "production")
    assert models.aliases() == {}
    assert [event.kind for event in models.history("iris")][:2] == ["alias removed", "alias rolled back"]


def test_tags_can_be_made_and_read() -> None:
    tag = models.Tag("iris", "v1")
    assert tag == models.Tag.from_taglike("iris:v1") == models.Tag.of("iris:v1") == SpecTag.of("iris:v1")
    assert (str(tag), hash(tag), str(models.Tag("iris"))) == ("iris:v1", hash(SpecTag.of("iris:v1")), "iris:latest")
    assert models.Tag.from_taglike(saved("iris:v1")) == tag


def test_labels_select() -> None:
    saved("a:1", labels={"team": "vision", "stage": "dev"})
    saved("a:2", labels={"team": "text"})
    saved("b:1")

    def found(selector: str, name: str | None = None) -> set[str]:
        return {str(model.tag) for model in models.list(name, selector=selector)}

    assert found("team=vision") == {"a:1"}
    assert found("team In (vision, text), stage DoesNotExist") == {"a:2"}
    assert found("team Exists", "b") == set()
    assert models.label("a:2", {"stage": "dev", "team": None}).labels == {"stage": "dev"}
    assert found("stage=dev") == {"a:1", "a:2"}
    assert [str(model.tag) for model in models.list("b")] == ["b:1"]


def test_deleting_names_a_version() -> None:
    saved("iris:1")
    with pytest.raises(StoreError, match=r"^'iris' names no version \(iris:latest is the newest one\)$"):
        models.delete("iris")
    models.set_alias("iris:1", "production")
    with pytest.raises(StoreError, match="'production' of iris points to"):
        models.delete("iris:1")
    model = models.get("iris:1")
    assert models.delete("iris:1", force=True).tag == model.tag
    assert not model.exists
    with pytest.raises(StoreError, match="not in this store any more"):
        _ = model.path


def test_an_unknown_tag_names_the_store_and_near_names(home: Path) -> None:
    saved("iris_sklearn:v1")
    with pytest.raises(StoreError) as caught:
        models.get("iris_sklear")
    text = str(caught.value)
    assert text.startswith("iris_sklear:latest: no model 'iris_sklear' in the store")
    assert str(home) in text
    assert "did you mean 'iris_sklearn'?" in text
    with pytest.raises(StoreError, match=r"no version or alias 'v2' of model 'iris_sklearn'.*did you mean 'v1'"):
        models.get("iris_sklearn:v2")
    assert "\n" not in text


@pytest.mark.parametrize("tag", ["", "a b", "iris:", "iris:a/b", "/etc/passwd", "../x", 7])
def test_a_bad_tag_says_what_one_looks_like(tag: Any) -> None:
    uses: list[Callable[[Any], object]] = [models.get, models.delete, models.load_model, models.history]
    for use in uses:
        with pytest.raises(StoreError, match="name, name:version or name:alias"):
            use(tag)


def test_a_bad_selector_says_where() -> None:
    with pytest.raises(StoreError, match="column 3: expected '='"):
        models.list(selector="a ~ b")


def test_a_damaged_file_is_named() -> None:
    model = saved()
    file = Path(model.path_of("weights/model.txt"))
    file.chmod(0o644)
    file.write_text("eno")
    with pytest.raises(StoreError, match=r"weights/model.txt is not what was saved"):
        _ = models.get("iris").path
    with pytest.raises(StoreError, match=r"weights/model.txt is not what was saved"):
        models.get("iris").path_of("weights/model.txt")
    assert [re.sub(r"sha256.*", "", fault) for fault in models.check()] == [
        f"{model.tag}: weights/model.txt is not what was saved: "
    ]


def test_custom_objects_come_back() -> None:
    model = saved(custom_objects={"classes": ["a", "b"], "scale": 2.5})
    assert models.get("iris").custom_objects == {"classes": ["a", "b"], "scale": 2.5}
    assert saved("plain").custom_objects == {}
    with pytest.raises(StoreError, match="a dict cannot be pickled"):
        saved(custom_objects={"lock": threading.Lock()})
    assert models.get("iris") == model


def test_signatures_are_kept_for_people() -> None:
    saved(signatures={"predict": {"batchable": True, "batch_dim": 0}})
    assert models.get("iris").info.signatures == {"predict": {"batchable": True, "batch_dim": 0}}
    assert saved("plain").info.signatures == {}
    with pytest.raises(StoreError, match="takes settings by method"):
        saved(signatures={"predict": 7})


# Moving


def test_a_file_carries_a_version_to_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = saved("iris:v1", labels={"stage": "dev"}, metadata={"accuracy": 0.97}, custom_objects={"a": 1})
    file = models.export_model("iris", tmp_path / "iris.tar.gz")
    told: list[tuple[int, int]] = []
    assert models.export("iris", f"{tmp_path}/folder/", progress=lambda *done: told.append(done)).is_dir()
    assert told[-1][0] == told[-1][1] == made.record.size
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "other"))
    found = models.import_model(file)
    assert found == made
    assert (found.labels, found.metadata) == (made.labels, made.metadata)
    assert models.import_(tmp_path / "folder", tag="iris:v2").record.files == made.record.files
    with pytest.raises(StoreError, match=r"iris:v1 was imported from a file, and custom_objects.pkl is a pickle"):
        _ = found.custom_objects
    assert made.custom_objects == {"a": 1}


def test_push_and_pull_go_to_the_remote_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = saved("iris:v1", labels={"stage": "dev"})
    for move in (models.push, models.pull):
        with pytest.raises(StoreError, match="no remote store is configured: ORCHESTRATOR_REMOTE_DATABASE and"):
            move("iris")
    (tmp_path / "team").mkdir()
    monkeypatch.setenv("ORCHESTRATOR_REMOTE_DATABASE", f"sqlite:///{tmp_path}/team/models.db")
    with pytest.raises(StoreError, match="ORCHESTRATOR_REMOTE_OBJECTS is not set"):
        models.push("iris")
    monkeypatch.setenv("ORCHESTRATOR_REMOTE_OBJECTS", str(tmp_path / "team" / "objects"))
    pushed = models.push("iris")
    assert (pushed, pushed.record.origin) == (made, "")
    assert str(tmp_path / "team") in pushed.path
    assert models.push("iris") == made  # it is there already

    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "other"))
    assert models.list() == []
    pulled = models.pull("iris:v1")
    assert (pulled, pulled.labels, pulled.record.origin) == (made, made.labels, "pull")
    assert str(tmp_path / "other") in pulled.path
    with pytest.raises(StoreError, match="no model 'zork'"):
        models.pull("zork")


def test_the_settings_say_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "team").mkdir()
    monkeypatch.setenv("ORCHESTRATOR_STORE_DATABASE", f"sqlite:///{tmp_path}/team/models.db")
    monkeypatch.setenv("ORCHESTRATOR_STORE_OBJECTS", str(tmp_path / "team" / "objects"))
    assert str(tmp_path / "team") in saved().path
    monkeypatch.delenv("ORCHESTRATOR_STORE_DATABASE")
    monkeypatch.delenv("ORCHESTRATOR_STORE_OBJECTS")
    assert models.list() == []


# One store a process


def test_a_store_is_opened_once(tmp_path: Path) -> None:
    assert default_store() is default_store()
    with Store.open(tmp_path / "mine") as mine, models.use_store(mine):
        assert default_store() is mine
        saved()
    assert default_store() is not mine
    assert models.list() == []


def _child(queue: "multiprocessing.Queue[tuple[int, str]]") -> None:
    saved("forked:v1")
    queue.put((id(default_store()), str(models.get("parent").tag)))


def test_a_fork_opens_its_own() -> None:
    saved("parent:v1")
    mine = default_store()
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[tuple[int, str]] = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    theirs, found = queue.get(timeout=60)
    child.join(60)
    assert (child.exitcode, found) == (0, "parent:v1")
    assert theirs != id(mine)
    assert models.get("forked").exists
    assert all(pid == os.getpid() for pid, _ in stores._opened)


# In a service


def test_a_pin_goes_before_the_newest() -> None:
    saved("iris:1")
    saved("iris:2", "two")
    assert models.get("iris").stored_ref() == StoredModelRef(requested="iris:latest", tag="iris:2")
    set_pins([StoredModelRef(requested="iris:latest", tag="iris:1")])
    assert models.get("iris").tag.version == models.get("iris:latest").tag.version == "1"
    assert models.get("iris:2").tag.version == "2"
    assert models.get("iris").stored_ref() == StoredModelRef(requested="iris:latest", tag="iris:1")


def test_a_reference_is_the_model_on_an_instance() -> None:
    class Classifier:
        iris = models.BentoModel("iris:production")

    with pytest.raises(StoreError, match="no model 'iris'"):
        Classifier.iris.stored_ref()
    made = saved("iris:1")
    models.set_alias("iris:1", "production")
    assert Classifier().iris == Classifier.iris.stored == Classifier.iris.resolve() == made.stored == made
    assert Path(Classifier.iris.path_of("weights/model.txt")).read_text() == "one"
    assert Classifier.iris.stored_ref() == StoredModelRef(requested="iris:production", tag="iris:1")
    assert str(Classifier.iris.tag) == "iris:production"
    with pytest.raises(StoreError, match="name, name:version or name:alias"):
        models.BentoModel("a b")


def test_a_model_has_no_hidden_state_that_pickle_would_miss() -> None:
    record = saved().record
    assert pickle.loads(pickle.dumps(record)) == record
