"""Who may come in, how much they may send, and what the others are told."""

from __future__ import annotations

import httpx
import pytest
from support.served import serving

from pagednb.errors import OptionError
from pagednb.server.settings import ServerSettings

KEY = "open sesame"
PROMPT = {"prompt": [5, 6, 7], "max_tokens": 2}


def error(response: httpx.Response) -> dict:
    body = response.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"message", "type", "param", "code"}
    return body["error"]


def test_a_key_closes_every_route_but_the_probes() -> None:
    with serving(api_key=KEY) as (client, _):
        paths = client.get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"}).json()["paths"]
        assert len(paths) >= 10
        for path, methods in paths.items():
            for method in methods:
                status = client.request(method, path.replace("{name}", "m")).status_code
                assert status == (200 if path in ("/health", "/version", "/metrics") else 401), path
        assert error(client.get("/v1/models"))["code"] == "invalid_api_key"
        assert client.get("/v1/nothing/here").status_code == 401  # nor does it tell what is there


@pytest.mark.parametrize("sent", ["", KEY, f"bearer {KEY}", "Bearer opensesame", "Bearer \xff"])
def test_only_the_very_key_opens(sent: str) -> None:
    with serving(api_key=KEY) as (client, _):
        headers = {"Authorization": sent.encode("latin-1")}
        assert client.post("/v1/completions", json=PROMPT, headers=headers).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert client.post("/v1/completions", json=PROMPT, headers=headers).status_code == 200


def test_pages_are_kept_out_unless_their_origin_was_named() -> None:
    page, other = {"Origin": "http://localhost:3000"}, {"Origin": "http://elsewhere.example"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    with serving() as (client, _):
        assert error(client.post("/v1/completions", json=PROMPT, headers=page))["code"] == "origin_not_allowed"
        assert client.options("/v1/completions", headers={**page, **asks}).status_code == 403
    with serving(allowed_origins=("http://localhost:3000",)) as (client, _):
        allowed = client.post("/v1/completions", json=PROMPT, headers=page)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == page["Origin"]
        assert client.options("/v1/completions", headers={**page, **asks}).status_code == 200
        assert client.post("/v1/completions", json=PROMPT, headers=other).status_code == 403


def test_a_request_too_large_is_refused_by_what_it_says_and_by_what_it_sends() -> None:
    def dripping():
        yield b'{"prompt": "'
        for _ in range(100):
            yield b"x" * 100
        yield b'"}'

    headers = {"Content-Type": "application/json"}
    with serving(max_body_bytes=1000) as (client, _):
        assert error(client.post("/v1/completions", json={"prompt": "x" * 1000}))["code"] == "request_too_large"
        dripped = client.post("/v1/completions", content=dripping(), headers=headers)
        assert (dripped.status_code, error(dripped)["code"]) == (413, "request_too_large")
        assert client.post("/v1/completions", json=PROMPT).status_code == 200


def test_a_form_that_any_page_could_send_is_no_request() -> None:
    with serving() as (client, _):
        answer = client.post("/v1/completions", content=b'{"prompt": "x"}', headers={"Content-Type": "text/plain"})
        assert answer.status_code == 400 and "Content-Type: application/json" in error(answer)["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"served_model_names": ()},
        {"served_model_names": ("",)},
        {"api_key": " "},
        {"max_n": 0},
        {"max_sequences": True},
        {"write_timeout_s": 0},
        {"tool_format": "xml"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(OptionError):
        ServerSettings(**{"served_model_names": ("m",), **wrong})


def test_a_wrong_key_is_not_shown() -> None:
    with pytest.raises(OptionError) as refused:
        ServerSettings(served_model_names=("m",), api_key=12345)
    assert "12345" not in str(refused.value)
