#!/usr/bin/env bash
# Makes .venv with everything that was tested (constraints.txt). Needs Python 3.11 or 3.12; on Debian, as root, it installs
# what is missing for that (python3-venv, libpython). Does nothing where .venv is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.installed
wanted=$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -d' ' -f1)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

# Triton's Python worker loads libpython of the very same build, so an interpreter without one is of no use.
usable='
import os, sys, sysconfig
assert sys.version_info[:2] in ((3, 11), (3, 12))
name, lib, arch = (sysconfig.get_config_var(v) for v in ("INSTSONAME", "LIBDIR", "MULTIARCH"))
where = [lib, os.path.join(lib, arch or "")]
assert "lib" in sys.argv or name.endswith(".so.1.0") and any(os.path.exists(os.path.join(d, name)) for d in where)
import ensurepip, venv
'
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
    if [ -n "$candidate" ] && "$candidate" -c "$usable" >/dev/null 2>&1; then echo "$candidate"; return; fi
  done
  return 1
}
if ! python=$(find_python); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing python3, python3-venv and libpython from Debian" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv libpython3-stdlib \
      "$(apt-cache depends python3 | sed -n 's/.*Depends: \(python3\.[0-9]*\)$/lib\1/p' | head -n1)" >/dev/null
  fi
  python=$(find_python) || {
    echo "setup: needs Python 3.11 or 3.12 with venv and its shared library (Debian: apt-get install python3-venv libpython3.11)," >&2
    echo "       or name one: PYTHON=/path/to/python3.11 make setup" >&2
    exit 1
  }
fi

echo "setup: $("$python" --version) ($(command -v "$python")) -> .venv" >&2
"$python" -m venv --clear .venv
# uv installs the same packages in a tenth of the time; where it does not work here, pip does.
if .venv/bin/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null \
  && .venv/bin/uv pip install --quiet --python .venv/bin/python -c constraints.txt -e '.[embedded,examples,dev]'; then :
else
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,examples,dev]'
fi
echo "$wanted" >"$stamp"
