# The front-end: typed HTTP before a Triton in another container.
# `docker compose` builds it. By hand, from the root of the repository:
#   docker build -f docker/frontend.Dockerfile --build-context service=examples/iris .
# It imports the service's module, for its types, and so needs its packages: see triton-cpu.Dockerfile.

FROM debian:bookworm-slim AS python
# The front-end needs no libpython, but so these stages are those of triton-cpu.Dockerfile, and are built and kept once.
RUN dpkg -s python3 libpython3.11 >/dev/null 2>&1 || { \
      apt-get update \
      && apt-get install -y --no-install-recommends python3 libpython3.11 \
      && rm -rf /var/lib/apt/lists/* /var/cache/apt/*; }

FROM python AS packages
RUN dpkg -s python3-venv >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* /var/cache/apt/*; }
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 hatchling==1.33.0 \
    && python3 -m venv --without-pip /opt/orchestrator
ENV VIRTUAL_ENV=/opt/orchestrator UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# What ours needs, before our code: it is installed again only where the list has changed.
COPY pyproject.toml README.md LICENSE constraints.txt ./
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    /opt/uv/bin/uv pip install -c constraints.txt -r pyproject.toml --extra remote 'numpy<2'
COPY --from=service requirements.tx[t] /service/
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    if [ -s /service/requirements.txt ]; then /opt/uv/bin/uv pip install -r /service/requirements.txt 'numpy<2'; fi
COPY orchestrator orchestrator
COPY converters converters
RUN /opt/uv/bin/hatchling build -t wheel -d /dist && /opt/uv/bin/uv pip install --offline --no-deps /dist/*.whl

FROM python
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin orchestrator \
    && install -d -o 1000 -g 1000 -m 0700 /var/lib/orchestrator /var/lib/postgres-access
COPY --from=packages /opt/orchestrator /opt/orchestrator
ENV PATH=/opt/orchestrator/bin:/usr/local/bin:/usr/bin:/bin \
    ORCHESTRATOR_HOME=/var/lib/orchestrator \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
EXPOSE 3000
ENTRYPOINT ["orchestrator"]
CMD ["serve", "service:Iris", "--working-dir", "/service", "--triton", "grpc://triton:8001", "--await-triton", "--host", "0.0.0.0", "--port", "3000"]
# That it lives, not that it is ready: a Triton that is away must not have the front-end restarted.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 \
  CMD ["python3", "-S", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/livez', timeout=2)"]
