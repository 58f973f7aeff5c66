"""`vanta dlq` as people type it, against an API that answers as told."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from cli_dlq import app
from cli_http import ApiError
from tests.told_api import Api, answering

LETTER = {
    "dead_letter_id": 41, "fo_id": "FO-1", "mo_id": "M-1", "follower_id": "F_1", "reason": "retries_exhausted",
    "created_at": "2026-01-31T12:00:00Z", "state": "open", "redriven_at": None, "redriven_by": None,
    "purged_at": None, "purged_by": None, "purge_reason": None,
    "context": {
        "side": "buy", "qty": "10", "symbol": "AAPL", "last_error": "http_503: HTTP 503",
        "attempts": [{"attempt_no": 1, "started_at": "2026-01-31T11:58:00Z", "outcome": "retryable",
                      "code": "http_503", "detail": "HTTP 503 [/x]"}],
    },
}  # fmt: skip
REFUSED = {"dead_letter_id": 41, "outcome": "refused", "state": "dead_letter", "code": "kill_switch", "reason": "on"}
REDRIVEN = {"dead_letter_id": 42, "outcome": "redriven", "state": "retry", "code": None, "reason": None}


@pytest.fixture
def api() -> Iterator[Api]:
    with answering() as told:
        yield told


def run(api: Api, *args: str) -> Result:
    return CliRunner().invoke(app, [*args], env={"VANTA_API": api.url, "VANTA_TOKEN": "t0ken"})


def test_a_list_is_a_table_of_open_letters(api: Api):
    api.answer = {"items": [LETTER], "next_cursor": None}
    result = run(api, "list", "--follower", "F_1", "--why", "retries_exhausted")
    assert result.exit_code == 0, result.output
    for part in ("41", "2026-01-31T12:00:00", "F_1", "buy 10 AAPL", "retries_exhausted", "http_503: HTTP 503", "open"):
        assert part in result.output
    [(method, path, _, headers)] = api.asked
    assert (method, path) == (
        "GET", "/v1/dead-letters?follower_id=F_1&reason=retries_exhausted&state=open&limit=50",
    )  # fmt: skip
    assert headers["Authorization"] == "Bearer t0ken"


def test_a_letter_is_shown_with_its_attempts(api: Api):
    api.answer = LETTER
    result = run(api, "show", "41")
    assert result.exit_code == 0, result.output
    for part in ("FO-1 of M-1", "buy 10 AAPL", "retryable", "HTTP 503 [/x]"):
        assert part in result.output


def test_a_redrive_tells_each_result_and_fails_unless_all_went(api: Api):
    api.answer = {"items": [REFUSED, REDRIVEN], "redriven": 1, "refused": 1, "pending": 0, "more": False}
    result = run(api, "redrive", "41", "42", "--key", "k-1")
    assert result.exit_code == 1
    assert "kill_switch" in result.output
    [(_, path, body, headers)] = api.asked
    assert (path, headers["Idempotency-Key"]) == ("/v1/dead-letters/redrive", "k-1")
    assert body == {"dead_letter_ids": [41, 42], "limit": 100}
    api.answer = {"items": [REDRIVEN], "redriven": 1, "refused": 0, "pending": 0, "more": True}
    result = run(api, "redrive", "--order", "M-1", "--limit", "1")
    assert result.exit_code == 0
    assert "more than the limit" in result.output
    assert api.asked[1][2] == {"filter": {"mo_id": "M-1"}, "limit": 1}


def test_a_purge_carries_its_reason(api: Api):
    api.answer = {"items": [{**REDRIVEN, "outcome": "purged"}], "purged": 1, "refused": 0}
    assert run(api, "purge", "42", "--reason", "by hand").exit_code == 0
    assert api.asked[0][2] == {"dead_letter_ids": [42], "reason": "by hand"}


def test_a_problem_is_one_line_in_its_own_words(api: Api):
    api.status, api.answer = 403, {"detail": "This needs the scope orders:write."}
    result = run(api, "purge", "42", "--reason", "by hand")
    assert isinstance(result.exception, ApiError)
    assert str(result.exception) == "This needs the scope orders:write. (HTTP 403)"


def test_an_api_that_is_away_is_named():
    result = CliRunner().invoke(app, ["list", "--api", "http://127.0.0.1:9", "--token", "t"])
    assert isinstance(result.exception, ApiError)
    assert "http://127.0.0.1:9 does not answer" in str(result.exception)
