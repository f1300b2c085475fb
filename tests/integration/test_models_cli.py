"""`orchestrator models ...` and `orchestrator convert`, on a real store; nothing here needs Triton."""

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from typer.testing import CliRunner

from orchestrator import models
from orchestrator.cli.console import EXIT_CODES
from orchestrator.cli.main import app, run
from orchestrator.formats import read_sample
from tests import onnx_models

ROWS, KINDS = load_iris(return_X_y=True)
COMMAND = Path(sys.executable).parent / "orchestrator"


@dataclass(frozen=True)
class Done:
    """What a command did.

    Attributes:
        code: its exit code.
        out: standard output; `err`: standard error.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The last line of standard error."""
        return self.err.splitlines()[-1]


Orchestrator = Callable[..., Done]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STORE_DATABASE", "STORE_OBJECTS", "REMOTE_DATABASE", "REMOTE_OBJECTS"):
        monkeypatch.delenv(f"ORCHESTRATOR_{name}", raising=False)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path / "home"


@pytest.fixture
def orchestrator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Orchestrator:
    """Runs the command in this process, as its entry point does."""

    def call(*words: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["orchestrator", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture
def forest(tmp_path: Path) -> Path:
    classifier = RandomForestClassifier(10, random_state=0).fit(ROWS, KINDS)
    joblib.dump(classifier, tmp_path / "forest.joblib")
    np.save(tmp_path / "rows.npy", ROWS)
    load_iris(as_frame=True).data.to_csv(tmp_path / "rows.csv", index=False)
    np.savez(tmp_path / "rows.npz", X=ROWS)
    return tmp_path / "forest.joblib"


def created(name: str, **settings: Any) -> models.Model:
    with models.create(name, **settings) as model:
        Path(model.path_of("a.txt")).write_text(name)
    return model


def cells(done: Done) -> list[list[str]]:
    """Rows of a table, cut where two spaces are."""
    assert done.code == 0, done.err
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in done.out.splitlines() if line]


# Listing


def test_list_shows_versions_and_selects_by_labels(orchestrator: Orchestrator) -> None:
    assert orchestrator("models", "list").err == "the store is empty: `orchestrator models save` fills it\n"
    created("iris:v1", labels={"stage": "dev", "team": "vision"})
    created("iris:v2")
    created("wine:v1", labels={"stage": "production"})
    models.set_alias("iris:v1", "production")
    heading, *rows = cells(orchestrator("models", "list"))
    assert heading == ["TAG", "ALIASES", "FRAMEWORK", "FORMAT", "SIZE", "SAVED", "LABELS"]
    assert [row[0] for row in rows] == ["wine:v1", "iris:v2", "iris:v1"]
    assert rows[2][1:5] == ["production", "-", "-", "7 B"]
    assert rows[2][6] == "stage=dev, team=vision"
    assert [row[0] for row in cells(orchestrator("models", "list", "iris"))[1:]] == ["iris:v2", "iris:v1"]
    selected = orchestrator("models", "list", "--labels", "stage In (dev, production), team DoesNotExist", "--json")
    assert [each["tag"] for each in selected.document] == ["wine:v1"]
    nothing = orchestrator("models", "list", "zork")
    assert (nothing.code, nothing.err) == (0, "there is no such version\n")


def test_get_shows_one_version(orchestrator: Orchestrator, forest: Path) -> None:
    done = orchestrator("models", "save", "iris:v1", forest, "--to", "onnx", "--sample", forest.with_name("rows.npy"))
    assert (done.code, done.out) == (0, "saved iris:v1\n")
    shown = {row[0]: row[1:] for row in cells(orchestrator("models", "get", "iris"))}
    assert shown["tag"] == ["iris:v1"]
    assert shown["takes"] == ["X: FP32[-1, 4]"]
    assert shown["batched"] == ["yes"]
    assert {"model.onnx", "model.pkl", "parity.json", "sample.npz"} <= set(shown)
    assert shown["probabilities"][-1] == "passed"
    document = orchestrator("models", "get", "iris:latest", "--json").document
    assert (document["tag"], document["name"], document["number"]) == ("iris:v1", "iris", 1)
    assert document["parity"]["source"] == "sklearn"
    folder = orchestrator("models", "get", "iris", "--path").out.rstrip()
    assert Path(folder, "model.onnx").is_file()
    assert orchestrator("models", "get", "iris", "--path", "--json").document == {"tag": "iris:v1", "path": folder}
    assert document["context"]["sklearn"]
    assert document["signature"]["inputs"] == [{"name": "X", "dtype": "FP32", "shape": [-1, 4], "optional": False}]


# Saving


def test_save_takes_all_that_belongs_to_a_version(orchestrator: Orchestrator, forest: Path) -> None:
    facts = forest.with_name("facts.json")
    facts.write_text('{"accuracy": 0.5, "data": "iris"}')
    done = orchestrator(
        *("models", "save", "iris", forest, "--json", "--sample", forest.with_name("rows.csv")),
        *("--label", "stage=dev", "--label", "team=vision", "--metadata", "accuracy=0.97", "--metadata", "by=Ann"),
        *("--metadata-file", facts, "--alias", "production", "--alias", "best"),
    )
    document = done.document
    assert document["labels"] == {"stage": "dev", "team": "vision"}
    assert document["metadata"] == {"accuracy": 0.97, "data": "iris", "by": "Ann"}
    assert (document["framework"], document["format"], document["file"]) == ("sklearn", "python", "model.pkl")
    assert str(models.get("iris:production").tag) == str(models.get("iris:best").tag) == document["tag"]


@pytest.mark.parametrize("sample", ["rows.npy", "rows.csv", "rows.npz"])
def test_a_sample_comes_from_a_file(orchestrator: Orchestrator, forest: Path, sample: str) -> None:
    done = orchestrator("models", "save", "iris", forest, "--sample", forest.with_name(sample))
    assert done.code == 0, done.err
    kept = models.get("iris").sample
    assert kept is not None
    np.testing.assert_array_equal(kept.inputs["X"], ROWS[:8])


def test_our_own_sample_files_are_samples(orchestrator: Orchestrator, forest: Path) -> None:
    orchestrator("models", "save", "iris", forest, "--sample", forest.with_name("rows.npy"))
    ours = models.get("iris").path_of("sample.npz")
    assert read_sample(Path(ours)).outputs
    assert orchestrator("models", "save", "iris", forest, "--sample", ours).code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--label", "stage"], 2, "--label 'stage': takes KEY=VALUE"),
        (["--label", "stage=not this"], 1, "label: value of stage 'not this' cannot be one"),
        (["--metadata", "=1"], 2, "--metadata '=1': takes KEY=VALUE"),
        (["--metadata-file", "{tmp}/rows.npy"], 2, "--metadata-file {tmp}/rows.npy: "),
        (["--sample", "{tmp}/none.npy"], 2, "--sample: there is no file {tmp}/none.npy"),
        (["--sample", "{tmp}/forest.joblib"], 2, "--sample {tmp}/forest.joblib: is neither .npz, .npy nor .csv"),
        (["--sample", "{tmp}/text.npy"], 2, "--sample {tmp}/text.npy: "),
        (["--to", "onnx", "--tolerance", "1,2,3,4"], 2, "--tolerance '1,2,3,4': takes RELATIVE"),
        (["--to", "onnx", "--tolerance", "-1"], 2, "--tolerance '-1': takes RELATIVE"),
        (["--to", "zork"], 1, "there is no converter from 'sklearn' to 'zork'"),
        (["--to", "onnx", "--option", "zork=1"], 1, "sklearn -> onnx has no option 'zork'"),
        (["--option", "opset=15"], 1, "are those of a conversion"),
        (["--framework", "zork"], 1, "there is no framework 'zork'"),
        (["--alias", "a b"], 1, "letters, digits"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_saved(
    orchestrator: Orchestrator, forest: Path, words: list[str], code: int, message: str
) -> None:
    folder = forest.parent
    (folder / "text.npy").write_text("zork")
    done = orchestrator("models", "save", "iris", forest, *(word.format(tmp=folder) for word in words))
    assert done.code == code
    assert done.error.startswith("error: ")
    assert message.format(tmp=folder) in done.error
    assert done.out == ""
    assert models.list() == []


# Deleting, labels, aliases


def test_delete_asks_and_names_one_version(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    created("iris:v1")
    refused = orchestrator("models", "delete", "iris", "--yes")
    assert (refused.code, refused.error) == (2, "error: 'iris' names no version (iris:latest is the newest one)")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    alone = orchestrator("models", "delete", "iris:v1")
    assert (alone.code, alone.error) == (2, "error: nobody is there to be asked (say --yes)")
    models.set_alias("iris:v1", "production")
    assert "'production' of iris points to" in orchestrator("models", "delete", "iris:v1", "--yes").error
    done = orchestrator("models", "delete", "iris:production", "--yes", "--force", "--json")
    assert done.document == {"deleted": "iris:v1"}
    assert models.list() == []


def test_delete_on_a_terminal_takes_no_for_an_answer() -> None:
    created("iris:v1")
    for answer, code, left in (("n\n", 1, 1), ("y\n", 0, 0)):
        mine, theirs = pty.openpty()
        process = subprocess.Popen(
            [COMMAND, "models", "delete", "iris:v1"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.write(mine, answer.encode())
        process.communicate(timeout=60)
        os.close(theirs)
        os.close(mine)
        assert (process.returncode, len(models.list())) == (code, left)


def test_labels_are_set_and_taken_away(orchestrator: Orchestrator) -> None:
    created("iris:v1", labels={"experimental": "yes"})
    assert orchestrator("models", "label", "iris", "stage=dev", "experimental-").out == "iris:v1 stage=dev\n"
    assert orchestrator("models", "label", "iris", "stage-", "--json").document == {"tag": "iris:v1", "labels": {}}
    assert orchestrator("models", "label", "iris", "stage-").out == "iris:v1 has no labels\n"
    for bad in ("stage", "=x", "-"):
        done = orchestrator("models", "label", "iris", "--", bad)
        assert (done.code, "takes KEY=VALUE to set a label" in done.error) == (2, True)


def test_an_alias_moves_and_goes_back(orchestrator: Orchestrator) -> None:
    created("iris:v1")
    created("iris:v2")
    assert orchestrator("models", "alias", "iris:v1", "production").out == "iris:production is iris:v1\n"
    assert orchestrator("models", "alias", "iris:latest", "production").out == "iris:production is iris:v2\n"
    assert orchestrator("models", "rollback", "iris:production").out == "iris:production is iris:v1\n"
    again = orchestrator("models", "rollback", "iris:production")
    assert (again.code, "points to v1 and to nothing before that" in again.error) == (1, True)
    heading, *rows = cells(orchestrator("models", "history", "iris"))
    assert heading == ["AT", "WHAT", "VERSION", "DETAIL"]
    assert [row[1] for row in rows] == ["alias rolled back", "alias moved", "alias moved", "saved", "saved"]
    assert rows[0][2:] == ["iris:v1", "production: v2 -> v1"]
    events = orchestrator("models", "history", "iris", "--json").document
    assert (events[0]["kind"], events[-1]["version"]) == ("alias rolled back", "v1")
    assert orchestrator("models", "alias", "iris", "production", "--remove").out == "iris:production is no more\n"
    assert orchestrator("models", "alias", "iris", "production").code == 2
    assert "no alias 'production'" in orchestrator("models", "alias", "iris", "production", "--remove").error
    assert orchestrator("models", "rollback", "iris:production", "--all").code == 2


def test_a_name_alone_is_for_a_running_server(orchestrator: Orchestrator) -> None:
    done = orchestrator("models", "rollback", "iris", "--server", "http://127.0.0.1:9")
    assert (done.code, done.out) == (1, "")
    assert "serve" in done.error


# Between stores


def test_a_version_goes_through_a_file_and_a_remote_store(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = created("iris:v1", labels={"stage": "dev"})
    refused = orchestrator("models", "push", "iris")
    assert (refused.code, "no remote store is configured: ORCHESTRATOR_REMOTE_DATABASE" in refused.error) == (1, True)
    (tmp_path / "team").mkdir()
    monkeypatch.setenv("ORCHESTRATOR_REMOTE_DATABASE", f"sqlite:///{tmp_path}/team/models.db")
    monkeypatch.setenv("ORCHESTRATOR_REMOTE_OBJECTS", str(tmp_path / "team" / "objects"))
    assert orchestrator("models", "push", "iris").out == "pushed iris:v1\n"
    file = tmp_path / "iris.tar.gz"
    assert orchestrator("models", "export", "iris", file).out == f"exported {file}\n"
    assert orchestrator("models", "export", "iris", f"{tmp_path}/whole/", "--json").document["path"].endswith("whole")

    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "other"))
    pulled = orchestrator("models", "pull", "iris:v1", "--json").document
    assert (pulled["tag"], pulled["origin"], pulled["labels"]) == ("iris:v1", "pull", {"stage": "dev"})
    assert orchestrator("models", "import", file, "--tag", "iris:copy").out == "imported iris:copy\n"
    assert models.get("iris:copy").record.files == made.record.files
    broken = orchestrator("models", "import", __file__)
    assert (broken.code, "is no archive of a model" in broken.error) == (1, True)
    assert "no model 'zork'" in orchestrator("models", "pull", "zork").error


def test_check_names_a_damaged_file(orchestrator: Orchestrator) -> None:
    model = created("iris:v1")
    assert orchestrator("models", "check").err == "every file is what was saved\n"
    file = Path(model.path_of("a.txt"))
    file.chmod(0o644)
    file.write_text("zork")
    done = orchestrator("models", "check")
    assert (done.code, done.out.startswith("iris:v1: a.txt is not what was saved")) == (1, True)
    assert len(orchestrator("models", "check", "--json").document["faults"]) == 1


# Converting


def test_convert_saves_the_model_with_its_proof(orchestrator: Orchestrator, forest: Path) -> None:
    done = orchestrator("convert", "sklearn", forest, "--name", "iris:v1", "--sample", forest.with_name("rows.npy"))
    heading, *rows = cells(done)
    assert heading == ["output", "worst absolute", "worst relative", "agreement", "result"]
    assert [(row[0], row[-1]) for row in rows[:2]] == [("label", "passed"), ("probabilities", "passed")]
    assert rows[2] == ["saved iris:v1"]
    assert "time of the original / time of the converted: " in done.err
    assert str(models.get("iris").record.format) == "onnx"


def test_a_stored_model_is_converted_with_its_own_sample(orchestrator: Orchestrator, tmp_path: Path) -> None:
    boosted = xgboost.XGBClassifier(n_estimators=5).fit(ROWS, KINDS)
    models.save_model("boosted:v1", boosted, sample=ROWS)
    done = orchestrator("convert", "xgboost", "boosted:v1", "--name", "boosted", "--json")
    assert (done.code, done.document["format"]) == (0, "onnx")
    assert done.document["parity"]["samples"][0] == "the sample x 8"
    models.save_model("iris:v1", GaussianNB().fit(ROWS, KINDS), sample=ROWS, to="onnx")
    half = orchestrator(
        "convert", "onnx", "iris", "--name", "half:v1", "--option", "float16=true", "--tolerance", "1,1"
    )
    assert half.code == 0, half.err
    assert models.get("half:v1").parity != models.get("iris").parity


def test_a_refused_conversion_shows_why_and_saves_nothing(orchestrator: Orchestrator, tmp_path: Path) -> None:
    onnx_models.linear(tmp_path / "linear.onnx", factor=0.1)
    words = ("convert", "onnx", tmp_path / "linear.onnx", "--name", "half", "--option", "float16=true")
    strict = (*words, "--tolerance", "1e-9,1e-9")
    done = orchestrator(*strict)
    assert done.code == 1
    assert "refused: for the sample it gives" in done.out
    assert done.error.startswith("error: onnx -> onnx: the converted model is not the original.")
    document = orchestrator(*strict, "--json").document
    assert (document["tag"], document["parity"]["outputs"][0]["passed"]) == (None, False)
    assert models.list() == []
    assert orchestrator(*words).code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "KIND is missing"),
        (["sklearn"], 2, "SRC is missing"),
        (["sklearn", "{tmp}/forest.joblib"], 2, "--name is missing"),
        (["zork", "{tmp}/forest.joblib", "--name", "x"], 1, "there is no converter from 'zork' to 'onnx'"),
        (
            ["xgboost", "{tmp}/forest.joblib", "--name", "x"],
            1,
            "a sklearn.RandomForestClassifier is no model of xgboost",
        ),
        (
            ["sklearn", "nothing.joblib", "--name", "x"],
            1,
            "there is no file nothing.joblib; nothing.joblib:latest: no model",
        ),
        (["torch", "{tmp}/rows.npy", "--name", "x"], 1, "torch"),
        (["huggingface", "{tmp}/forest.joblib", "--name", "x"], 1, "forest.joblib"),
        (["onnx", "{tmp}/forest.joblib", "--name", "x"], 1, "forest.joblib"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    orchestrator: Orchestrator, forest: Path, words: list[str], code: int, message: str
) -> None:
    done = orchestrator("convert", *(word.format(tmp=forest.parent) for word in words))
    assert (done.code, done.out) == (code, "")
    assert message in done.error
    assert models.list() == []


def test_the_converters_are_listed_with_their_options(orchestrator: Orchestrator) -> None:
    found = {(each["source"], each["target"]): each for each in orchestrator("convert", "--list", "--json").document}
    assert {("sklearn", "onnx"), ("torch", "onnx"), ("onnx", "onnx"), ("onnx", "tensorrt")} <= set(found)
    assert "float16" in found["onnx", "onnx"]["options"]
    heading, *rows = cells(orchestrator("convert", "--list"))
    assert heading == ["KIND", "TO", "WHAT", "OPTIONS"]
    assert ["sklearn", "onnx"] in [row[:2] for row in rows]


# The command itself


def commands() -> list[tuple[str, ...]]:
    listed = CliRunner().invoke(app, ["models", "--help"]).stdout.split("Commands:")[1]
    return [("convert",), *(("models", line.split()[0]) for line in listed.splitlines() if line[:3].strip())]


@pytest.mark.parametrize("words", [each for each in commands() if each[-1] not in ("deploy", "status")], ids=" ".join)
def test_every_command_has_an_example_and_json(words: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert "--json" in told.stdout
    assert f"orchestrator {' '.join(words)}" in told.stdout.split("Example")[1]


def test_no_command_is_missing() -> None:
    assert {words[-1] for words in commands()} >= {
        *("list", "get", "save", "delete", "export", "import", "push", "pull", "label", "alias", "history"),
        *("rollback", "check", "convert"),
    }


def test_the_real_command_lists_on_a_terminal_and_in_a_pipe(home: Path) -> None:
    created("iris:v1", labels={"stage": "dev"})
    piped = subprocess.run([COMMAND, "models", "list"], capture_output=True, text=True, timeout=60, check=True)
    assert piped.stdout.splitlines()[1].split()[0] == "iris:v1"
    assert piped.stderr == ""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "models", "list"], stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(mine, 4096):
            shown += chunk
    except OSError:  # how a terminal says that nobody writes any more
        pass
    os.close(mine)
    assert process.wait(60) == 0
    assert b"iris:v1" in shown
    assert "─".encode() in shown


def test_the_real_command_ends_with_one_line_and_its_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "models", "get", "zork"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: zork:latest: no model 'zork' in the store")
    assert len(done.stderr.splitlines()) == 1
    assert 1 in EXIT_CODES.values()


def test_lists_of_commands_say_whole_sentences() -> None:
    for words in ([], ["models"], ["config"], ["keys"]):
        listed = CliRunner().invoke(app, [*words, "--help"]).stdout.split("Commands:")[1]
        assert "..." not in listed
