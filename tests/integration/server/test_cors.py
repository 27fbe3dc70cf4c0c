"""Web pages of other origins may send requests only if the option --cors-origins names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Start = Callable[..., Any]
PREDICT = "/v1/models/classifier:predict"
PAGE = "https://example.com"
OTHER = "https://other.example.com"


@pytest.fixture
def server(start: Start, request: pytest.FixtureRequest) -> Any:
    """A server with the test's origins."""
    origins = request.param
    return start("classifier", *(("--cors-origins", origins) if origins else ())).listening().ready()


def preflight(server: Any, origin: str) -> Any:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-request-id"}
    return server.request("OPTIONS", PREDICT, headers={"Origin": origin, **asked})


def post(server: Any, origin: str, body: Any = None) -> Any:
    return server.post(PREDICT, body or {"instances": [[1, 2, 3, 4]]}, {"Origin": origin})


@pytest.mark.parametrize("server", [f"{PAGE}, http://localhost:3000"], indirect=True)
def test_a_page_of_a_named_origin_may_send_requests(server: Any) -> None:
    asked = preflight(server, PAGE)
    assert (asked.status, asked.body) == (204, b"")
    assert asked.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Headers"] == "content-type,x-request-id"
    assert "Origin" in asked.headers["Vary"]

    for answer, status in ((post(server, PAGE), 200), (post(server, PAGE, {"instances": [[1]]}), 400)):
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Inference-Header-Content-Length" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["Vary"] == "Origin"

    assert preflight(server, OTHER).status == 405
    assert preflight(server, OTHER).headers["Access-Control-Allow-Origin"] is None
    refused = post(server, OTHER)
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (200, None)


@pytest.mark.parametrize("server", ["*"], indirect=True)
def test_a_page_of_any_origin_may_send_requests(server: Any) -> None:
    assert preflight(server, OTHER).headers["Access-Control-Allow-Origin"] == "*"
    assert post(server, OTHER).headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("server", [""], indirect=True)
def test_no_page_may_by_default(server: Any) -> None:
    assert preflight(server, PAGE).status == 405
    assert not [name for name in post(server, PAGE).headers if name.startswith("Access-Control")]
