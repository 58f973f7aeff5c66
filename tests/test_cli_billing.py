"""`vanta billing` as people type it, against an API that answers as told, and a workflow engine that is not there."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from typer.testing import CliRunner, Result

import temporal.billing
from cli import app
from cli_http import ApiError
from stack.credentials import load_credentials
from stack.environment import settings_env
from stack.ports import PORT_NAMES
from temporal.orders import EngineUnavailable
from tests.told_api import Api, answering

DIFFERENCE = {
    "difference_id": "BD-1", "subscription_id": "SUB-1", "provider": "stripe", "kind": "paid", "ref": "in_[1]",
    "ours": {"paid_minor": 0}, "theirs": {"paid_minor": 4900}, "found_at": "2026-01-31T12:00:00Z",
    "seen_at": "2026-01-31T12:00:00Z", "resolved_at": None,
}  # fmt: skip
WIDE = {"COLUMNS": "200"}


@pytest.fixture
def api() -> Iterator[Api]:
    with answering() as told:
        told.answer = {"items": [DIFFERENCE], "next_cursor": None}
        yield told


def run(api: Api, *args: str) -> Result:
    return CliRunner().invoke(app, ["billing", *args], env={"VANTA_API": api.url, "VANTA_TOKEN": "t0ken", **WIDE})


def test_differences_that_last_are_a_table(api: Api):
    result = run(api, "differences")
    assert result.exit_code == 0, result.output
    for part in ("2026-01-31T12:00:00", "SUB-1", "stripe", "in_[1]", "paid_minor 0", "paid_minor 4900"):
        assert part in result.output
    assert "more than" not in result.output
    [(method, path, _, headers)] = api.asked
    assert (method, path) == ("GET", "/v1/billing/differences?limit=50&resolved=false")
    assert headers["Authorization"] == "Bearer t0ken"


def test_those_that_have_gone_are_shown_when_asked_for(api: Api):
    gone = {**DIFFERENCE, "kind": "missing_here", "ours": {}, "resolved_at": "2026-02-01T12:05:00Z"}
    api.answer = {"items": [gone], "next_cursor": "more"}
    result = run(api, "differences", "--all", "--limit", "1")
    assert result.exit_code == 0, result.output
    for part in ("missing_here", "none", "2026-02-01T12:05:00", "more than 1; raise --limit"):
        assert part in result.output
    assert api.asked[0][1] == "/v1/billing/differences?limit=1"


def test_a_refusal_is_told_as_the_api_tells_it(api: Api):
    api.status, api.answer = 403, {"detail": "This needs the scope billing:read."}
    refused = run(api, "differences")
    assert isinstance(refused.exception, ApiError)
    assert str(refused.exception) == "This needs the scope billing:read. (HTTP 403)"
    assert run(api, "differences", "--limit", "201").exit_code == 2
    assert len(api.asked) == 1


def test_a_comparison_is_started_with_the_engine_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started: list[Any] = []

    async def compare_now(client: Client) -> None:
        started.append(client.service_client.config.target_host)

    monkeypatch.setattr(temporal.billing, "compare_now", compare_now)
    result = reconcile(tmp_path, "127.0.0.1:7999")
    assert result.exit_code == 0, result.output
    assert "started; see the workflow reconcile-billing/all" in result.output
    assert started == ["127.0.0.1:7999"]


def test_without_an_engine_nothing_is_said_to_be_started(tmp_path: Path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        result = reconcile(tmp_path, f"127.0.0.1:{nobody.getsockname()[1]}")
    assert isinstance(result.exception, EngineUnavailable)
    assert "started" not in result.output


def reconcile(data: Path, address: str) -> Result:
    env = settings_env(dict.fromkeys(PORT_NAMES, 15_001), load_credentials(data / "secrets.json"))
    told = {**env, "VANTA_TEMPORAL__ADDRESS": address}
    return CliRunner().invoke(app, ["billing", "reconcile", "--data", str(data)], env=told)
