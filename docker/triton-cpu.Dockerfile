# NVIDIA Triton 24.10 for machines without a GPU, from the wheel nvidia-pytriton, with our worker in its Python.
# `docker compose` builds it. By hand, from the root of the repository:
#   docker build -f docker/triton-cpu.Dockerfile --build-context service=examples/iris .
# The build context `service` is the folder of the service: its requirements.txt, where it has one, is installed, too.

FROM debian:bookworm-slim AS python
# Triton's workers load libpython of the very build that their packages belong to. A base that has it all needs no mirror.
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

FROM packages AS server
# The server alone: the wheel's own Python package, and what that needs, are of no use here. Workers of other Pythons go.
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    UV_COMPILE_BYTECODE=0 /opt/uv/bin/uv pip install --no-deps --target /opt/wheel -c constraints.txt nvidia-pytriton \
    && mkdir -p /opt/triton/pytriton \
    && mv /opt/wheel/nvidia_pytriton.libs /opt/triton/ \
    && mv /opt/wheel/pytriton/tritonserver /opt/triton/pytriton/ \
    && mv /opt/triton/pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub \
          /opt/triton/pytriton/tritonserver/backends/python/ \
    && rm -r /opt/wheel /opt/triton/pytriton/tritonserver/python_backend_stubs

FROM python
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin orchestrator
COPY --from=packages /opt/orchestrator /opt/orchestrator
COPY --from=server /opt/triton /opt/triton
ENV PATH=/opt/orchestrator/bin:/opt/triton/pytriton/tritonserver/bin:/usr/local/bin:/usr/bin:/bin \
    LD_LIBRARY_PATH=/opt/triton/nvidia_pytriton.libs \
    ORCHESTRATOR_SERVICE_PATH=/service \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8001 8002
# It replaces dead workers, and ends with Triton's exit code; whoever runs the container starts it again.
ENTRYPOINT ["python3", "-m", "orchestrator.triton.supervise", "tritonserver", \
            "--backend-directory=/opt/triton/pytriton/tritonserver/backends", \
            "--cache-directory=/opt/triton/pytriton/tritonserver/caches", \
            "--cache-config=local,size=33554432", \
            "--model-repository=/models", "--model-control-mode=explicit", "--load-model=*", \
            "--disable-auto-complete-config", "--strict-readiness=false", "--exit-on-error=false", \
            "--exit-timeout-secs=10", "--metrics-interval-ms=500", \
            "--metrics-config=summary_latencies=true", "--metrics-config=summary_quantiles=0.5:0.02,0.99:0.002", \
            "--pinned-memory-pool-byte-size=0", "--allow-gpu-metrics=false"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 \
  CMD ["python3", "-S", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=2)"]
