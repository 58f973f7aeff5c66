"""`vanta credentials` as people type it, against an API that answers as told."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from cli import app
from tests.told_api import Api, answering

BROKEN = {
    "which": "equities", "cred_ref": "cred/F_1/alpaca", "venue": "alpaca", "environment": "paper", "status": "broken",
    "since": "2026-01-31T12:00:00Z", "reason": "bad_credentials", "words": "the broker refuses the key [x]",
    "expires_at": None, "refreshes": False,
}  # fmt: skip


@pytest.fixture
def api() -> Iterator[Api]:
    with answering() as told:
        yield told


def run(api: Api, *args: str) -> Result:
    return CliRunner().invoke(app, ["credentials", *args], env={"VANTA_API": api.url, "VANTA_TOKEN": "t0ken"})


def test_a_list_says_what_is_wrong(api: Api):
    api.answer = {"items": [BROKEN]}
    result = run(api, "list", "F_1")
    assert result.exit_code == 0, result.output
    assert "equities alpaca paper broken 2026-01-31T12:00:00 the broker refuses the key [x]" in " ".join(
        result.output.split()
    )
    assert api.asked[0][:2] == ("GET", "/v1/followers/F_1/credentials")


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_a_test_tells_its_result_in_words_and_in_the_exit_code(api: Api, ok: bool, code: int):
    api.answer = {"ok": ok, "code": "ok", "words": "alpaca says so", "credential": BROKEN, "mended": ok}
    result = run(api, "test", "F_1", "equities")
    assert result.exit_code == code, result.output
    assert "alpaca says so" in result.output
    assert ("works again" in result.output) is ok
    method, path, _, headers = api.asked[0]
    assert (method, path) == ("POST", "/v1/followers/F_1/credentials/equities/test")
    assert headers["Idempotency-Key"]
