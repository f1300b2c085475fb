"""Whatever a caller makes of a server's OpenAPI document."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

__all__ = ["fuzz"]

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def fuzz(url: str) -> None:
    """Calls every operation 20 times; no answer may be a server's error, or other than the document says."""
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations: list[Any] = [result.ok() for result in document.get_all_operations()]  # type: ignore[union-attr]
    assert operations
    for operation in operations:

        @given(operation.as_strategy())
        @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        check()
