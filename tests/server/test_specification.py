"""Requests made up from the application's own specification, valid and not: none brings the server down."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from support.served import serving

from pagednb.server.protocol.chat_request import ChatRequest

NUM_EXAMPLES = 8
"""Of each operation, as many by its specification and as many against it."""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(max_n=4, max_sequences=64) as (client, _):
        yield client


def test_no_request_is_a_server_error(client: httpx.Client) -> None:
    specification = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    operations = [result.ok() for result in specification.get_all_operations()]
    assert len(operations) >= 11
    for operation in operations:
        send_any(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
        if operation.body:  # there is no wrong way to send nothing
            send_any(operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))


def send_any(cases: hypothesis.strategies.SearchStrategy) -> None:
    @hypothesis.given(cases)
    @hypothesis.settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=[not_a_server_error], timeout=20)

    send()


def test_the_specification_names_what_is_refused_and_what_is_unused(client: httpx.Client) -> None:
    specification = client.get("/openapi.json").json()
    chat = specification["components"]["schemas"][ChatRequest.__name__]
    assert chat["additionalProperties"] is False
    assert chat["properties"]["user"]["description"] == "Accepted and unused."
    assert client.get("/docs").status_code == 404  # its page would load scripts from elsewhere
