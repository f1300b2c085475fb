# NVIDIA's own Triton 24.10, with all of its backends, and our worker in a Python of its own.
# `docker compose --profile gpu` builds it. By hand, from the root of the repository:
#   docker build -f docker/triton-gpu.Dockerfile --build-context service=examples/iris .
#
# The image's Python is 3.10 and ours begins with 3.11, so Triton's worker program for 3.11 is put in the place of that for
# 3.10. The wheel nvidia-pytriton has it, of the very same release. Other Python models in the repository run in 3.11, too.

FROM nvcr.io/nvidia/tritonserver:24.10-py3 AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends software-properties-common gpg-agent \
    && add-apt-repository -y ppa:deadsnakes/ppa \
    && apt-get install -y --no-install-recommends python3.11 python3.11-venv libpython3.11 \
    && apt-get purge -y --auto-remove software-properties-common gpg-agent \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

FROM python AS packages
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    python3.11 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 hatchling==1.33.0 \
    && python3.11 -m venv --without-pip /opt/orchestrator
ENV VIRTUAL_ENV=/opt/orchestrator UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# What ours needs, before our code: it is installed again only where the list has changed.
COPY pyproject.toml README.md LICENSE constraints.txt ./
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    /opt/uv/bin/uv pip install -c constraints.txt -r pyproject.toml --extra remote --extra gpu 'numpy<2' \
    && /opt/uv/bin/uv pip install --no-deps --target /opt/wheel -c constraints.txt nvidia-pytriton \
    && mkdir /opt/stub \
    && mv /opt/wheel/pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub /opt/stub/ \
    && mv /opt/wheel/nvidia_pytriton.libs/libcudart-*.so* /opt/stub/ \
    && rm -r /opt/wheel
COPY --from=service requirements.tx[t] /service/
RUN --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    if [ -s /service/requirements.txt ]; then /opt/uv/bin/uv pip install -r /service/requirements.txt 'numpy<2'; fi
COPY orchestrator orchestrator
COPY converters converters
RUN /opt/uv/bin/hatchling build -t wheel -d /dist && /opt/uv/bin/uv pip install --offline --no-deps /dist/*.whl

FROM python
COPY --from=packages /opt/orchestrator /opt/orchestrator
COPY --from=packages /opt/stub/triton_python_backend_stub /opt/tritonserver/backends/python/triton_python_backend_stub
COPY --from=packages /opt/stub/libcudart-*.so* /opt/stub/
ENV PATH=/opt/orchestrator/bin:/opt/tritonserver/bin:${PATH} \
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH}:/opt/stub \
    ORCHESTRATOR_SERVICE_PATH=/service \
    PYTHONUNBUFFERED=1
# NVIDIA's user triton-server.
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8001 8002
# NVIDIA's script finds the CUDA libraries for the host's driver. Ours replaces dead workers, and ends with Triton's exit code.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "python3", "-m", "orchestrator.triton.supervise", "tritonserver", \
            "--cache-config=local,size=33554432", \
            "--model-repository=/models", "--model-control-mode=explicit", "--load-model=*", \
            "--disable-auto-complete-config", "--strict-readiness=false", "--exit-on-error=false", \
            "--exit-timeout-secs=10", "--metrics-interval-ms=500", \
            "--metrics-config=summary_latencies=true", "--metrics-config=summary_quantiles=0.5:0.02,0.99:0.002"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=6 \
  CMD ["python3", "-S", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=2)"]
