"""The plan on disk: whole models appear at once or not at all."""

from pathlib import Path, PurePosixPath

import pytest

from orchestrator.compiler import RepositoryPlan, Target, check_repository, plan_repository, write_repository
from orchestrator.errors import CompileError
from orchestrator.spec import (
    ApiSpec,
    DType,
    ModelFormat,
    ModelSignature,
    NativeModelSpec,
    ServiceSpec,
    TensorSpec,
    ValueKind,
    ValueSpec,
)

HEADER = b"# Written by `orchestrator export`; changes here are lost with the next export.\n"


def plan(text: str = "1", *, models: tuple[str, ...] = ("A", "B")) -> RepositoryPlan:
    files = {}
    for model in models:
        files[PurePosixPath(model) / "config.pbtxt"] = HEADER + text.encode()
        files[PurePosixPath(model) / "1" / "model.py"] = b"code"
    return RepositoryPlan(files, models)


def disk(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def planned(content: RepositoryPlan) -> dict[str, bytes]:
    return {path.as_posix(): data for path, data in content.files.items()}


def test_what_is_written_is_the_plan_and_nothing_else(tmp_path: Path) -> None:
    write_repository(plan(), tmp_path / "new" / "repository")
    assert disk(tmp_path / "new" / "repository") == planned(plan())
    assert check_repository(plan(), tmp_path / "new" / "repository") == []


def test_models_that_are_as_planned_are_left_untouched(tmp_path: Path) -> None:
    write_repository(plan(), tmp_path)
    before = (tmp_path / "A").stat().st_ino
    write_repository(plan(), tmp_path)
    assert (tmp_path / "A").stat().st_ino == before


def test_a_changed_model_is_replaced_and_others_stay(tmp_path: Path) -> None:
    write_repository(plan(models=("Other",)), tmp_path)
    write_repository(plan("1"), tmp_path)
    write_repository(plan("2"), tmp_path)
    assert disk(tmp_path) == planned(plan("2")) | planned(plan(models=("Other",)))


def test_files_that_the_plan_has_no_more_are_removed_with_the_old_version(tmp_path: Path) -> None:
    write_repository(plan(), tmp_path)
    (tmp_path / "A" / "2").mkdir()
    (tmp_path / "A" / "2" / "model.py").write_text("old")
    write_repository(plan(), tmp_path)
    assert disk(tmp_path) == planned(plan())


@pytest.mark.parametrize("broken", ["write_bytes", "mkdir", "chmod"])
def test_a_failure_in_mid_write_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    write_repository(plan("old"), tmp_path)
    real = getattr(Path, broken)

    def fail(self: Path, *args: object, **kwargs: object) -> object:
        if tmp_path in self.parents:
            raise OSError(28, "No space left on device", str(self))
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, broken, fail)
        with pytest.raises(CompileError, match="No space left on device"):
            write_repository(plan("new"), tmp_path)
    assert disk(tmp_path) == planned(plan("old"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B"]


def test_a_failure_in_the_last_step_puts_the_old_model_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(plan("old"), tmp_path)
    import os

    real = os.rename

    def fail(source: Path, target: Path) -> None:
        if Path(target).name == "A" and not str(source).endswith(".old"):
            raise OSError(5, "Input/output error", str(target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fail)
        with pytest.raises(CompileError, match="Input/output error"):
            write_repository(plan("new"), tmp_path)
    assert disk(tmp_path) == planned(plan("old"))


@pytest.mark.parametrize("content", [{}, {"config.pbtxt": "name: 'A'"}, {"weights.bin": "x"}])
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, content: dict[str, str]) -> None:
    (tmp_path / "A").mkdir()
    for name, text in content.items():
        (tmp_path / "A" / name).write_text(text)
    before = disk(tmp_path)
    with pytest.raises(CompileError, match=r"was not written by orchestrator .*--repository"):
        write_repository(plan(models=("A",)), tmp_path)
    assert disk(tmp_path) == before


def test_a_file_in_the_place_of_a_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "A").write_text("mine")
    with pytest.raises(CompileError, match="was not written by orchestrator"):
        write_repository(plan(models=("A",)), tmp_path)
    assert (tmp_path / "A").read_text() == "mine"


def test_a_repository_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CompileError, match=r"cannot write .*file"):
        write_repository(plan(), tmp_path / "file")


def test_check_names_every_file_that_differs(tmp_path: Path) -> None:
    write_repository(plan(), tmp_path)
    (tmp_path / "A" / "config.pbtxt").write_text("changed")
    (tmp_path / "A" / "extra.txt").write_text("extra")
    (tmp_path / "B" / "1" / "model.py").unlink()
    assert check_repository(plan(), tmp_path) == [
        "A/config.pbtxt: not what the service says",
        "A/extra.txt: not part of the service",
        "B/1/model.py: missing",
    ]


def test_check_of_nothing_written_names_everything_and_writes_nothing(tmp_path: Path) -> None:
    assert check_repository(plan(models=("A",)), tmp_path / "none") == [
        "A/config.pbtxt: missing",
        "A/1/model.py: missing",
    ]
    assert not (tmp_path / "none").exists()


def test_pythons_caches_do_not_count(tmp_path: Path) -> None:
    write_repository(plan(), tmp_path)
    (tmp_path / "A" / "1" / "__pycache__").mkdir()
    (tmp_path / "A" / "1" / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"x")
    before = (tmp_path / "A").stat().st_ino
    assert check_repository(plan(), tmp_path) == []
    write_repository(plan(), tmp_path)
    assert (tmp_path / "A").stat().st_ino == before


def test_the_facade_of_an_api_that_has_gone_goes_too(tmp_path: Path) -> None:
    old = plan_repository(_service("greet", "hail"), target=Target.EMBEDDED, service_path="../x")
    new = plan_repository(_service("greet", "wave"), target=Target.EMBEDDED, service_path="../x")
    write_repository(old, tmp_path)
    (tmp_path / "Several.other" / "1").mkdir(parents=True)  # of somebody else's
    assert "Several.hail: its API is gone" in check_repository(new, tmp_path)
    write_repository(new, tmp_path)
    assert check_repository(new, tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"Several", "Several.greet", "Several.wave", "Several.other"}


def _service(*names: str) -> ServiceSpec:
    text = ValueSpec(kind=ValueKind.TEXT)
    return ServiceSpec(
        name="Several",
        target="m:Several",
        apis=tuple(ApiSpec(name=name, route=f"/{name}", result=text) for name in names),
    )


def with_copies(folder: Path, *names: str) -> RepositoryPlan:
    """A model whose version has copies of files of a folder."""
    copies = {PurePosixPath("A/2") / name: folder / name for name in names}
    return RepositoryPlan({PurePosixPath("A/config.pbtxt"): HEADER}, ("A",), copies)


def test_copies_are_written_and_compared_by_content(tmp_path: Path) -> None:
    source, repository = tmp_path / "source", tmp_path / "repository"
    (source / "parts").mkdir(parents=True)
    (source / "model.onnx").write_bytes(b"graph")
    (source / "parts" / "w.bin").write_bytes(b"weights")
    content = with_copies(source, "model.onnx", "parts/w.bin")
    assert check_repository(content, repository) == [
        "A/config.pbtxt: missing",
        "A/2/model.onnx: missing",
        "A/2/parts/w.bin: missing",
    ]
    write_repository(content, repository)
    assert disk(repository) == {
        "A/config.pbtxt": HEADER,
        "A/2/model.onnx": b"graph",
        "A/2/parts/w.bin": b"weights",
    }
    assert check_repository(content, repository) == []
    before = (repository / "A").stat().st_ino
    write_repository(content, repository)
    assert (repository / "A").stat().st_ino == before
    (source / "parts" / "w.bin").write_bytes(b"WEIGHTS")  # of the same size
    assert check_repository(content, repository) == ["A/2/parts/w.bin: not what the service says"]
    write_repository(content, repository)
    assert disk(repository)["A/2/parts/w.bin"] == b"WEIGHTS"


def test_a_copy_is_a_link_only_where_nobody_writes_into_the_source(tmp_path: Path) -> None:
    for name, mode in (("mine.onnx", 0o644), ("kept.onnx", 0o444)):
        (tmp_path / name).write_bytes(b"graph")
        (tmp_path / name).chmod(mode)
    write_repository(with_copies(tmp_path, "mine.onnx", "kept.onnx"), tmp_path / "repository")
    version = tmp_path / "repository" / "A" / "2"
    assert not (version / "mine.onnx").samefile(tmp_path / "mine.onnx")
    assert (version / "kept.onnx").samefile(tmp_path / "kept.onnx")
    (tmp_path / "mine.onnx").write_bytes(b"trained again")
    assert (version / "mine.onnx").read_bytes() == b"graph"


def test_a_copy_whose_source_is_gone_is_named_and_the_old_model_stays(tmp_path: Path) -> None:
    write_repository(plan("old", models=("A",)), tmp_path / "repository")
    before = disk(tmp_path / "repository")
    with pytest.raises(CompileError, match=r"cannot write .*gone.onnx: No such file"):
        write_repository(with_copies(tmp_path, "gone.onnx"), tmp_path / "repository")
    assert disk(tmp_path / "repository") == before


def test_a_model_that_the_service_has_no_more_goes_and_a_stored_one_stays(tmp_path: Path) -> None:
    service = plan_repository(_service("greet"), target=Target.EMBEDDED, service_path="../x")
    old = {}
    for name, tag in (("Several.eyes", None), ("Several.ears", "ears:1"), ("Several.other.nose", None)):
        spec = _native(name, tag)
        old[PurePosixPath(name) / "config.pbtxt"] = HEADER
        old[PurePosixPath(name) / "1" / "model.json"] = spec.document()
    write_repository(RepositoryPlan(old, ("Several.eyes", "Several.ears", "Several.other.nose")), tmp_path)
    assert "Several.eyes: its model is gone" in check_repository(service, tmp_path)
    write_repository(service, tmp_path)
    assert check_repository(service, tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Several", "Several.ears", "Several.other.nose"]
    with_it = RepositoryPlan({**service.files, **old}, (*service.models, "Several.eyes"), {}, service.services)
    write_repository(with_it, tmp_path)
    assert (tmp_path / "Several.eyes").is_dir()


def _native(name: str, tag: str | None) -> NativeModelSpec:
    tensor = TensorSpec(name="x", dtype=DType.FP32, shape=(1,))
    signature = ModelSignature(inputs=(tensor,), outputs=(tensor,))
    return NativeModelSpec(
        attribute="", name=name, format=ModelFormat.ONNX, file="m", signature=signature, tag=tag, files_digest=""
    )
