"""Docker's engine, its client, Compose v2, buildx and debootstrap from Debian's packages, unpacked into a folder of ours.

Nothing of the system changes, its package sources and its list of packages least of all. Compose v2, buildx and an engine
with BuildKit that knows named contexts are in trixie alone; they run on bookworm, whose glibc suffices for them.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

__all__ = ["CACHE", "Tools", "debian_mirror", "unpacked_tools"]

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "orchestrator" / "compose"
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_NEWER: Final = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
_OWN: Final = (
    "debootstrap", "iptables", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0",
    "libnftnl11", "libseccomp2", "libxtables12", "runc", "tini",
)  # fmt: skip
"""Those that are bound to the system's own libraries."""
_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True, slots=True)
class Tools:
    """The unpacked packages.

    Attributes:
        root: what would be `/`.
    """

    root: Path

    @property
    def plugins(self) -> Path:
        return self.root / "usr/libexec/docker/cli-plugins"

    @property
    def environment(self) -> dict[str, str]:
        """Variables on top of this process's own, for whatever is run from there."""
        libraries = self.root / _LIBRARIES
        path = os.pathsep.join([f"{self.root}/usr/sbin", f"{self.root}/usr/bin", os.environ["PATH"]])
        return {
            "PATH": path,
            "LD_LIBRARY_PATH": str(libraries),
            "XTABLES_LIBDIR": str(libraries / "xtables"),
            "DEBOOTSTRAP_DIR": str(self.root / "usr/share/debootstrap"),
        }


def unpacked_tools() -> Tools:
    """The tools, fetched where they are not there yet. Skips the test where they cannot be had."""
    root = CACHE / "root"
    if not root.is_dir():
        _require_debian()
        fresh = CACHE / f"root.{os.getpid()}"
        try:
            _unpack(_download(CACHE / f"apt.{os.getpid()}"), fresh)
            fresh.rename(root)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(CACHE / f"apt.{os.getpid()}", ignore_errors=True)
    return Tools(root)


def _require_debian() -> None:
    if platform.machine() != "x86_64" or platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm":
        pytest.skip("no Docker Engine 23 with Compose 2.24 is here, and only on Debian 12 it can be fetched")
    if not shutil.which("apt-get") or not _KEYRING.exists():
        pytest.skip("no Docker Engine with Compose is here, and there is no apt-get with Debian's keyring to fetch it")


def debian_mirror() -> str:
    """Where this machine gets Debian from."""
    said = _run("apt-get", "indextargets", "--format", "$(CREATED_BY) $(SUITE) $(CODENAME) $(REPO_URI)")
    for line in said.splitlines():
        maker, _, name, url = line.split(maxsplit=3)
        if maker == "Packages" and name == "bookworm" and "security" not in url:
            return url.rstrip("/")
    pytest.skip("no Docker Engine with Compose is here, and apt knows no mirror of Debian to fetch it from")


def _download(work: Path) -> Path:
    """Fetches the packages with lists, sources and a configuration of our own."""
    for folder in ("lists/partial", "cache/archives/partial", "packages"):
        (work / folder).mkdir(parents=True)
    mirror, sources, config = debian_mirror(), work / "sources.list", work / "apt.conf"
    lines = [f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n" for suite in ("bookworm", "trixie")]
    sources.write_text("".join(lines))
    config.write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "-";\n'
        f'Dir::State::lists "{work}/lists";\nDir::Cache "{work}/cache";\nAPT::Sandbox::User "root";\n'
    )
    ours = {"APT_CONFIG": str(config)}
    names = [*(f"{name}/trixie" for name in _NEWER), *(f"{name}/bookworm" for name in _OWN)]
    try:
        _run("apt-get", "update", "-qq", more=ours)
        _run("apt-get", "download", "-qq", *names, more=ours, cwd=work / "packages")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no Docker Engine with Compose is here, and Debian's cannot be fetched: {error.stderr.strip()}")
    return work / "packages"


def _unpack(packages: Path, root: Path) -> None:
    for package in sorted(packages.glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(root))
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables"):  # a package's installation makes these
        (root / "usr/sbin" / name).symlink_to("xtables-nft-multi")


def _run(*command: str, more: Mapping[str, str] = {}, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, env={**os.environ, **more})
    return done.stdout
