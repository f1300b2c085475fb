#!/bin/sh
# Makes the database at the first start, and runs PostgreSQL.
#
# Its password is what is in /run/secrets/postgres_password. Where that is empty a new one is made, which nobody needs to
# know: clients read it from /var/lib/postgres-access/pgpass, a volume that they share with this container.
set -eu

access=/var/lib/postgres-access/pgpass
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  fresh="$PGDATA.new" # moved when it is whole: a start that was killed leaves nothing half made
  rm -rf "$fresh"
  umask 077
  password=$(cat /run/secrets/postgres_password 2>/dev/null || true)
  [ -n "$password" ] || password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s' "$password" >/tmp/password
  initdb --pgdata="$fresh" --username=orchestrator --pwfile=/tmp/password --auth-local=peer --auth-host=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 --no-instructions >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$fresh/pg_hba.conf"
  echo 'CREATE DATABASE orchestrator;' | postgres --single -D "$fresh" postgres >/dev/null
  # In a pgpass file, : and \ are written with a \ before them.
  printf '*:*:*:orchestrator:%s\n' "$(printf '%s' "$password" | sed 's/[\\:]/\\&/g')" >"$access.new"
  mv "$access.new" "$access"
  mv "$fresh" "$PGDATA"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
