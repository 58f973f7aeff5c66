"""The API as a real process over real sockets: every refusal is a problem document, and a stop loses no answer."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from settings import Settings
from stack import Stack
from stack.environment import process_env
from tests.api.conftest import Caller, problem

SECRETS = {
    "key": "k-0c5e1f9a-not-for-logs",
    "cookie": "session-5f1c0e-not-for-logs",
    "query": "query-77ab21-not-for-logs",
    "body": "body-3e9d10-not-for-logs",
    "email": "somebody.private@example.com",
    "hmac": "sha256-aa77-not-for-logs",
}


@dataclass
class Served:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    marks: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, request: bytes) -> tuple[int, dict[str, str], Any]:
        """What comes back for bytes that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            connection.settimeout(20)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, json.loads(body)


def _serve(stack: Stack, folder: Path, *, timeout_s: float = 30, proxies: str = "") -> Served:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    command = [sys.executable, "-m", "tests.api.slow_api", str(stack.layout.env), str(port), str(timeout_s), proxies]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, str(folder)], stderr=out, stdout=out, env=process_env({}))
    served = Served(process, port, log, folder)
    for _ in range(1_200):
        assert process.poll() is None, log.read_text()
        if _listens(port):
            return served
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(log.read_text())


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def served(stack: Stack, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a time-out that one can wait for."""
    found = _serve(stack, tmp_path_factory.mktemp("api"), timeout_s=1)
    yield found
    found.process.terminate()
    assert found.process.wait(30) == 0


@pytest.fixture
async def http(served: Served) -> Any:
    async with httpx.AsyncClient(base_url=served.url) as client:
        yield client


async def test_every_refusal_is_a_problem_document(http: httpx.AsyncClient, caller: Caller) -> None:
    who = {"Authorization": caller.http.headers["Authorization"]}
    problem(await http.get("/v1/nothing"), 404, "not-found")
    wrong = await http.delete("/v1/vaults")
    problem(wrong, 405, "method-not-allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    problem(await http.get("/v1/vaults"), 401, "unauthenticated")
    # Over real sockets the embedded profile's tokens without a login are refused: this process says it is production.
    problem(await http.get("/v1/vaults", headers=who), 401, "unauthenticated")
    problem(await http.get("/away"), 503, "database-unavailable")
    problem(await http.get("/broken"), 500, "internal-error")
    late = await http.get("/stuck")
    problem(late, 504, "timed-out")
    assert late.headers["retry-after"]
    problem(await http.get("/v1/vaults", params={"cursor": "x" * 9_000}), 414, "uri-too-long")
    problem(await http.get("/healthz", headers={"X-Long": "x" * 40_000}), 431, "headers-too-large")
    problem(await http.get("/healthz", headers={f"X-{n}": "x" for n in range(120)}), 431, "headers-too-large")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, 431),
        (b"POST /v1/vaults HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /v1/vaults HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ],
    ids=["nonsense", "no host", "endless head", "two lengths", "unknown coding"],
)
def test_what_is_no_http_is_told_so_in_the_same_words(served: Served, request_bytes: bytes, status: int) -> None:
    found, headers, body = served.raw(request_bytes)
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert body["status"] == status
    assert body["request_id"] == headers["x-request-id"]
    assert body["type"].startswith("urn:vanta:problem:")


async def test_head_and_options_are_answered(http: httpx.AsyncClient) -> None:
    head = await http.head("/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] != "0"
    options = await http.options("/v1/vaults/V_x")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, PATCH, OPTIONS")
    problem(await http.options("/nowhere"), 404, "not-found")
    problem(await http.request("TRACE", "/healthz"), 405, "method-not-allowed")


async def test_production_answers_carry_every_safe_header(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/nowhere", "/broken"):
        headers = (await http.get(path)).headers
        assert headers["strict-transport-security"].startswith("max-age=31536000")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


async def test_the_log_tells_of_requests_and_of_nothing_that_is_secret(
    served: Served, http: httpx.AsyncClient, caller: Caller
) -> None:
    token = caller.token(["vault:read"])
    headers = {
        "Authorization": f"Bearer {token}",
        "Idempotency-Key": SECRETS["key"],
        "Cookie": f"s={SECRETS['cookie']}",
        "X-Vanta-Signature": SECRETS["hmac"],
        "X-Request-Id": "the-one-to-find",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    query = {"cursor": SECRETS["query"], "email": SECRETS["email"]}
    body = {"label": SECRETS["body"], "email": SECRETS["email"], "webhook": {"url": f"https://x/{SECRETS['body']}"}}
    for path in ("/v1/vaults", "/v1/vaults/V_1/followers", "/broken", "/nowhere", f"/{SECRETS['query']}"):
        await http.get(path, params=query, headers=headers)
        await http.post(path, params=query, headers=headers, json=body)
    text = await _logged(served, "the-one-to-find", 10)
    lines = [json.loads(line) for line in text.splitlines()]
    ours = [line for line in lines if line.get("request_id") == "the-one-to-find"]
    assert {line["trace_id"] for line in ours} == {"0af7651916cd43dd8448eb211c80319c"}
    access = [line for line in ours if line["logger"] == "vanta.access"]
    assert {"method", "route", "status", "ms", "tenant_id"} <= access[0].keys()
    assert "/v1/vaults/{vault_id}/followers" in {line["route"] for line in access}
    broken = [line for line in ours if "exception" in line]
    assert "RuntimeError" in broken[0]["exception"]
    assert {line["logger"] for line in lines} >= {"uvicorn.error", "vanta.access", "vanta.api"}
    for secret in (*SECRETS.values(), token, token.split(".")[2], "mallory@example.com"):
        assert secret not in text


async def _logged(served: Served, what: str, times: int) -> str:
    for _ in range(200):
        text = served.log.read_text()
        if text.count(f'"request_id": "{what}"') >= times:
            return text
        await asyncio.sleep(0.02)
    raise AssertionError(served.log.read_text())


async def test_behind_a_proxy_callers_count_and_a_stop_answers_what_is_under_way(
    http: httpx.AsyncClient, stack: Stack, tmp_path: Path
) -> None:
    said = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    assert (await http.get("/whoami", headers=said)).json() == {"address": "127.0.0.1"}  # it trusts nobody
    served = _serve(stack, tmp_path, proxies="127.0.0.0/8 198.51.100.0/24")
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        assert (await client.get("/whoami", headers=said)).json() == {"address": "203.0.113.9"}
        asked = asyncio.create_task(client.get("/slow"))
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.01)
        os.kill(served.process.pid, signal.SIGTERM)
        while _listens(served.port):
            await asyncio.sleep(0.02)
        (tmp_path / "finish").touch()
        answer = await asked
    assert answer.json() == {"status": "done"}
    assert served.process.wait(30) == 0
