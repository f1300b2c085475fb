#!/usr/bin/env bash
# Checks what Prometheus and Grafana are given: promtool on the configuration, the rules and their tests; dashboards as JSON.
# On Debian, as root, promtool is unpacked from Debian's package `prometheus` (19 MB, 2 s) into a cache; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

for dashboard in docker/grafana/dashboards/*.json; do
  .venv/bin/python -m json.tool "$dashboard" >/dev/null
done

find_promtool() {
  local cache="${XDG_CACHE_HOME:-/var/cache}/orchestrator/promtool"
  command -v promtool && return
  if [ -x "$cache/usr/bin/promtool" ]; then echo "$cache/usr/bin/promtool"; return; fi
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  local fetched; fetched=$(mktemp -d) || return 1
  trap 'rm -rf "$fetched"' RETURN
  chmod 755 "$fetched"
  (cd "$fetched" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; }) >/dev/null 2>&1 || return 1
  # Into its place at once, so that a check that is broken off leaves nothing half done.
  dpkg-deb -x "$fetched"/prometheus_*.deb "$fetched/unpacked" && mkdir -p "$cache" || return 1
  mkdir -p "$cache/usr/bin" && install -m 755 "$fetched/unpacked/usr/bin/promtool" "$cache/usr/bin/promtool.new" || return 1
  mv "$cache/usr/bin/promtool.new" "$cache/usr/bin/promtool"
  echo "$cache/usr/bin/promtool"
}
if ! promtool=$(find_promtool); then
  echo "check: promtool is not here and cannot be had (Debian's package prometheus); its checks are skipped" >&2
  exit 0
fi
"$promtool" check config docker/prometheus/prometheus.yml >/dev/null
"$promtool" test rules docker/prometheus/tests.yml >/dev/null
rules=$("$promtool" check rules docker/prometheus/rules.yml | sed -n "s/.*SUCCESS: \([0-9]*\) .*/\1/p")
echo "check: promtool: $rules rules, and their tests pass"
