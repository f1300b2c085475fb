"""`serve --reload` on the real Triton."""

from pathlib import Path

import httpx2
import pytest

from tests.e2e.serving import Serving, eventually

pytestmark = pytest.mark.e2e

CODE = """
import orchestrator

@orchestrator.service
class Greeter:
    @orchestrator.api
    def greet(self, name: str = "world") -> str:
        return f"{greeting} {{name}}"
"""


def test_new_code_is_served_without_a_failed_request_and_broken_code_is_not(tmp_path: Path) -> None:
    module = tmp_path / "service.py"
    module.write_text(CODE.format(greeting="Hello"))
    with Serving("service:Greeter", "--reload", working_dir=tmp_path) as server:
        family = {process.pid for process in server.family() if "tritonserver" in process.name()}

        def greeting() -> str:
            answer = httpx2.post(f"{server.url}/greet", json={"name": "Ada"}, timeout=30)
            assert answer.status_code == 200, answer.text
            return answer.text

        assert greeting() == "Hello Ada"
        module.write_text(CODE.format(greeting="Moin"))
        assert eventually(lambda: greeting() == "Moin Ada", 30)
        module.write_text("def broken(:")
        assert eventually(lambda: "syntax error" in server.log, 30)
        assert greeting() == "Moin Ada"
        module.write_text(CODE.format(greeting="Ahoj").replace("greet(", "hail("))
        assert eventually(lambda: httpx2.post(f"{server.url}/hail", json={}).text == "Ahoj world", 30)
        assert {process.pid for process in server.family() if "tritonserver" in process.name()} == family
