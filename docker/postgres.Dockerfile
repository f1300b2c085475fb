# PostgreSQL 15 of Debian, for the model store. The password comes from a file, or is made at the first start.
FROM debian:bookworm-slim
RUN mkdir -p /etc/postgresql-common \
    && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
    && apt-get update \
    && apt-get install -y --no-install-recommends postgresql-15 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin orchestrator \
    && rm -rf /var/lib/postgresql \
    && install -d -o 1000 -g 1000 -m 0700 /var/lib/postgresql /var/lib/postgres-access
COPY --chmod=0555 docker/postgres/entrypoint.sh /usr/local/bin/postgres-entrypoint
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/15
USER 1000:1000
WORKDIR /tmp
EXPOSE 5432
# PostgreSQL's word for "end now, in order": SIGTERM waits for every client to go.
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entrypoint"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 \
  CMD ["pg_isready", "--quiet", "--host=127.0.0.1", "--username=orchestrator"]
