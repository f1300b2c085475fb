"""What docs/models.md and the README say about models runs as it stands there, from the first block to the last."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from orchestrator import models
from orchestrator.cli.main import run as orchestrator
from orchestrator.sdk import load_service
from orchestrator.testing import local_client

ROOT = Path(__file__).parents[2]
PAGES = {
    "docs/models.md": (ROOT / "docs" / "models.md").read_text(),
    "README.md": (ROOT / "README.md").read_text().split("\n## Models\n")[1].split("\n## ")[0],
}
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with the files that the pages name, and a team's store."""
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRATOR_REMOTE_DATABASE", f"sqlite:///{tmp_path}/team.db")
    monkeypatch.setenv("ORCHESTRATOR_REMOTE_OBJECTS", str(tmp_path / "team"))
    monkeypatch.chdir(tmp_path)
    rows, kinds = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(rows, kinds), tmp_path / "model.joblib")
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs_as_it_stands_there(folder: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (language, text) in enumerate(BLOCK.findall(PAGES[page])):
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            file = folder / (name[1] if name else f"block{number}.py")
            file.write_text(text)
            run([sys.executable, file.name], folder)
            continue
        for line in text.splitlines():
            assert line.startswith("$ "), line
            words = shlex.split(line[2:])
            if words == ["python", "train.py"]:  # which has run already
                continue
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as ended:
                orchestrator()
            assert ended.value.code in (0, None), line
    assert models.check() == []


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def test_the_service_of_the_page_answers(folder: Path) -> None:
    blocks = [text for language, text in BLOCK.findall(PAGES["docs/models.md"]) if language == "python"]
    for text in blocks[:3]:
        name = re.match(r"# (\w+\.py)\n", text)
        if name:
            (folder / name[1]).write_text(text)
    run([sys.executable, "train.py"], folder)
    path = sys.path.copy()
    try:
        definition = load_service("service:Flowers", folder)
        with local_client(definition.cls) as client:
            answer = client.post("/classify", json={"rows": np.load("rows.npy")[::50].tolist()})
            assert (answer.status_code, answer.json()) == (200, [0, 1, 2])
    finally:
        sys.path[:] = path
        sys.modules.pop("service", None)


def test_every_framework_is_on_the_page() -> None:
    from orchestrator.models.frameworks import FRAMEWORKS

    listed = re.findall(r"^\| `(\w+)` \|", PAGES["docs/models.md"], re.MULTILINE)
    assert set(listed) - {"ORCHESTRATOR_HOME"} == set(FRAMEWORKS)


def test_every_variable_of_the_store_is_on_the_page() -> None:
    settings = (ROOT / "orchestrator" / "settings.py").read_text()
    names = set(re.findall(r"`(ORCHESTRATOR_(?:STORE|REMOTE)_\w+)`", settings))
    assert len(names) == 4
    assert names <= set(re.findall(r"`(ORCHESTRATOR_\w+)`", PAGES["docs/models.md"]))
