"""The image that the Dockerfiles begin with: from its registry, or made of Debian's packages under the very same name."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from tests.compose.engine import Engine
from tests.compose.tools import CACHE, debian_mirror

__all__ = ["BASE", "ensure_base"]

BASE: Final = "debian:bookworm-slim"
_INSIDE: Final = "python3,python3-venv,libpython3.11,ca-certificates"
_ARCHIVE: Final = CACHE / f"{BASE.replace(':', '-')}.tar"


def ensure_base(engine: Engine) -> str:
    """Has the image there.

    Returns:
        Where it came from.
    """
    if _has(engine):
        return "was there"
    pull = subprocess.run(
        ["docker", "pull", "--quiet", BASE], env=engine.environment, capture_output=True, check=False, timeout=300
    )
    if pull.returncode == 0:
        return "pulled"
    started = time.monotonic()
    if not _ARCHIVE.exists():
        _bootstrap(engine)
    engine.docker("import", "--change", 'CMD ["bash"]', str(_ARCHIVE), BASE)
    return f"of Debian's packages, {time.monotonic() - started:.0f} s"


def _has(engine: Engine) -> bool:
    return BASE in engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()


def _bootstrap(engine: Engine) -> None:
    if engine.tools is None or os.geteuid() != 0:
        pytest.skip(f"no registry has {BASE}, and only root with Debian's tools can make it")
    folder = CACHE / f"rootfs.{os.getpid()}"
    fresh = _ARCHIVE.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        command = ["debootstrap", "--variant=minbase", f"--include={_INSIDE}", "bookworm", str(folder), debian_mirror()]
        made = subprocess.run(command, env=engine.environment, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no registry has {BASE}, and debootstrap fails: {made.stdout[-300:]}")
        pack = ["tar", "-C", str(folder), "--numeric-owner", "--one-file-system", "-cf", str(fresh)]
        without = [
            f"--exclude=./{name}" for name in ("dev/*", "proc/*", "sys/*", "var/cache/apt/*", "var/lib/apt/lists/*")
        ]
        subprocess.run([*pack, *without, "."], check=True)
        fresh.rename(_ARCHIVE)
    finally:
        _remove(folder)
        fresh.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Removes a system's files, but not through what debootstrap may have left mounted there."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if Path(point).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", point], check=True)
    shutil.rmtree(folder, ignore_errors=True)
