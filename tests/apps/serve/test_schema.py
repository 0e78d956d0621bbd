"""The OpenAPI document, tested with requests that are generated from it."""

from __future__ import annotations

from unittest import SkipTest

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

EXAMPLES = 10
"""Number of valid requests, and of invalid ones, that are sent to each operation."""
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as it says", "otherwise"])
def test_the_answers_of_the_service_match_its_schema(service, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/v1/openapi.json")
    statuses: set[tuple[str, int]] = set()
    for operation in (each.ok() for each in schema.get_all_operations()):
        try:
            cases = operation.as_strategy(generation_mode=mode)

            @given(cases)
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def tried(case) -> None:
                answer = case.call(timeout=60, stream=False)
                statuses.add((case.operation.label, answer.status_code))
                case.validate_response(answer, checks=CHECKS)

            tried()
        except (Unsatisfiable, SkipTest):
            continue  # there are no wrong requests to an operation without parameters
    print(sorted(statuses))
    assert {label for label, status in statuses if status in (202, 413, 422)} >= {"POST /v1/transfer", "POST /v1/jobs"}


def test_the_schema_lists_every_route_with_its_errors(service) -> None:
    document = service.http.get(f"{service.url}/v1/openapi.json", timeout=30).json()
    assert {f"{method} {path}" for path, of_path in document["paths"].items() for method in of_path} == {
        "post /v1/transfer", "post /v1/jobs", "get /v1/jobs/{id}", "delete /v1/jobs/{id}", "get /v1/jobs/{id}/events",
        "get /v1/jobs/{id}/files/{name}", "get /v1/settings", "get /v1/example/{name}", "get /health", "get /metrics",
    }  # fmt: skip
    of_transfer = document["paths"]["/v1/transfer"]["post"]["responses"]
    assert {"200", "401", "403", "408", "413", "422", "429", "500", "503"} <= set(of_transfer)
    assert "image/png" in of_transfer["200"]["content"]
    problem = {"$ref": "#/components/schemas/Problem"}
    assert all(of_transfer[status]["content"]["application/json"]["schema"] == problem for status in ("413", "422"))
