"""A configured service on the real Triton: TLS, prefix, variables of the workers, access lines, shares of a limit."""

import ssl
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.e2e.serving import Serving, eventually

pytestmark = pytest.mark.e2e


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of our own for 127.0.0.1, and its key with the password `hush`."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:hush"]
    subprocess.run([*made, "-keyout", key, "-out", cert, *subject], check=True, capture_output=True)
    return cert, key


def test_a_config_file_reaches_the_front_end_and_the_workers(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    file = tmp_path / "orchestrator.yaml"
    file.write_text(
        f"""
        version: 1
        services:
          Configured:
            path_prefix: /v1
            ssl: {{enabled: true, certfile: {cert}, keyfile: {key}, keyfile_password: hush}}
            envs: {{MODE: fast}}
            logging: {{access: {{enabled: true}}}}
        """
    )
    with Serving("configured:Configured", "--config", str(file), "--set", "envs.FROM_CODE=flag") as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert server.url.endswith("/v1")
        with httpx2.Client(base_url=server.url, verify=ssl.create_default_context(cafile=cert)) as client:
            said = {
                name: client.post("/environment", json={"name": name}).text
                for name in ("MODE", "FROM_CODE", "ONLY_BUILT")
            }
            assert said == {"MODE": "fast", "FROM_CODE": "flag", "ONLY_BUILT": "none"}
            assert client.post("/mode_at_import").text == "fast"
            assert client.get("/readyz").status_code == 200
        assert eventually(lambda: "path=/v1/mode_at_import," in server.log, 5)
        assert "path=/v1/readyz" not in server.log
        assert "hush" not in server.log


def test_several_front_end_processes_serve_tls_and_share_a_limit(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tls = {"enabled": "true", "certfile": cert, "keyfile": key, "keyfile_password": "hush"}
    options = [word for name, value in tls.items() for word in ("--set", f"ssl.{name}={value}")]
    limit = ["--set", "traffic.max_concurrency=3", "--set", "logging.access.enabled=true"]
    with Serving("configured:Configured", "--workers", "2", *options, *limit) as server:
        with httpx2.Client(base_url=server.url, verify=ssl.create_default_context(cafile=cert)) as client:
            assert client.post("/environment", json={"name": "FROM_CODE"}).text == "code"
            assert 'orchestrator_requests_total{api="environment"' in client.get("/metrics").text
        assert eventually(lambda: "path=/environment," in server.log, 5)
