"""`orchestrator keys` as a user runs it."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.server.auth_keys import KeyFile

COMMAND = Path(sys.executable).parent / "orchestrator"


def new(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [str(COMMAND), "keys", "new", *map(str, arguments)]
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_a_key_is_printed_once_and_kept_as_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    first = new("shop", "--scope", "Iris", "--scope", "metrics", "--file", file)
    assert first.returncode == 0, first.stderr
    key = first.stdout.strip()
    assert first.stdout.count("\n") == 1
    assert key not in first.stderr + file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(file.read_text().rstrip("\n"))  # as an editor may leave it
    second = new("other", "--file", file)
    keys = KeyFile(file)
    found = [keys.find(each.stdout.strip().encode()) for each in (first, second)]
    assert [(client.name, set(client.scopes)) for client in found if client] == [
        ("shop", {"Iris", "metrics"}),
        ("other", set()),
    ]


def test_what_is_wrong_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    new("shop", "--file", file)
    before = file.read_text()
    for arguments, reason in (
        (("shop",), "there is another key of the name 'shop'"),
        (("a b",), "'a b' is no name of a key"),
        (("a", "--scope", "x y"), "'x y' is no scope"),
    ):
        done = new(*arguments, "--file", file)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
        assert file.read_text() == before
    nowhere = new("a", "--file", tmp_path / "no" / "keys.txt")
    assert nowhere.returncode == 2
    assert "cannot be written: No such file or directory" in nowhere.stderr
    file.write_text("x\n")
    assert "line 1 does not begin with" in new("a", "--file", file).stderr


def test_two_at_once_are_both_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda name: new(name, "--file", file), ("a", "b", "c")))
    keys = KeyFile(file)
    assert all(keys.find(each.stdout.strip().encode()) for each in made)
