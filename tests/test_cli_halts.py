"""`vanta halt`, `halts` and `lift` as people type them, against an API that answers as told."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from cli import app
from cli_http import ApiError
from tests.told_api import Api, answering

HALT = {
    "halt_id": "OV-1", "scope": "vault", "vault_id": "V_1", "follower_id": None, "level": "halt_all",
    "reason": "feed [x]", "actor": "user:ann", "starts_at": "2026-01-31T12:00:00Z", "ended_at": None,
    "acknowledgement": {"kill_id": 7, "in_flight": 3, "senders": 2, "via": "redis", "waited_ms": 11},
}  # fmt: skip


@pytest.fixture
def api() -> Iterator[Api]:
    with answering() as told:
        yield told


def run(api: Api, *args: str) -> Result:
    return CliRunner().invoke(app, [*args], env={"VANTA_API": api.url, "VANTA_TOKEN": "t0ken"})


def test_a_halt_says_what_was_in_flight_when_nothing_more_begins(api: Api):
    api.answer = HALT
    result = run(
        api, "halt", "--scope", "vault", "--id", "V_1", "--level", "halt_all", "--reason", "feed [x]", "--key", "k-1"
    )
    assert result.exit_code == 0, result.output
    for part in (
        "OV-1",
        "V_1",
        "halt_all",
        "feed [x]",
        "2 processes have stopped",
        "3 sends had begun",
        "redis, 11 ms",
    ):
        assert part in result.output
    assert "flatten_done" not in result.output
    [(method, path, body, headers)] = api.asked
    assert (method, path, headers["Idempotency-Key"]) == ("POST", "/v1/halts", "k-1")
    assert headers["Authorization"] == "Bearer t0ken"
    assert body == {"scope": "vault", "id": "V_1", "level": "halt_all", "reason": "feed [x]"}


def test_a_flatten_says_that_its_selling_goes_on(api: Api):
    api.answer = {**HALT, "scope": "tenant", "vault_id": None, "level": "flatten"}
    result = run(api, "halt", "--scope", "tenant", "--level", "flatten", "--reason", "out")
    assert result.exit_code == 0, result.output
    assert "flatten_done" in result.output
    assert api.asked[0][2] == {"scope": "tenant", "level": "flatten", "reason": "out"}


def test_without_level_scope_or_reason_nothing_is_asked(api: Api):
    whole = ["--scope", "tenant", "--level", "halt_all", "--reason", "r"]
    for left_out in range(0, len(whole), 2):
        assert run(api, "halt", *whole[:left_out], *whole[left_out + 2 :]).exit_code == 2
    assert run(api, "halt", *whole[:2], "--level", "loud", *whole[4:]).exit_code == 2
    assert api.asked == []


def test_an_answer_in_doubt_names_the_key_to_repeat_it_under(api: Api):
    halt = ["halt", "--scope", "tenant", "--level", "flatten", "--reason", "r"]
    api.status, api.answer = 503, {"detail": "the workflow engine does not answer"}
    result = run(api, *halt)
    key = api.asked[0][3]["Idempotency-Key"]
    assert isinstance(result.exception, ApiError)
    assert "the workflow engine does not answer (HTTP 503)" in str(result.exception)
    assert f"repeat with --key {key}" in str(result.exception)
    api.status, api.answer = 403, {"detail": "This needs the scope mirror:manage."}
    refused = run(api, *halt)
    assert str(refused.exception) == "This needs the scope mirror:manage. (HTTP 403)"


def test_halts_in_force_are_a_table(api: Api):
    of_all = {**HALT, "halt_id": "H-2", "scope": "platform", "vault_id": None, "level": "halt_opens"}
    api.answer = {"items": [{**HALT, "acknowledgement": None}, of_all]}
    result = run(api, "halts")
    assert result.exit_code == 0, result.output
    for part in ("OV-1", "H-2", "platform", "halt_opens", "user:ann", "2026-01-31T12:00:00", "feed [x]"):
        assert part in result.output
    assert api.asked[0][:2] == ("GET", "/v1/halts")


def test_a_halt_is_lifted_by_its_id(api: Api):
    api.answer = {**HALT, "ended_at": "2026-01-31T13:00:00Z"}
    result = run(api, "lift", "OV-1")
    assert result.exit_code == 0, result.output
    assert "OV-1 (halt_all of the vault) is lifted" in result.output
    assert api.asked[0][:2] == ("DELETE", "/v1/halts/OV-1")
    run(api, "lift", "../vaults/V_1")
    assert api.asked[1][1] == "/v1/halts/..%2Fvaults%2FV_1"
