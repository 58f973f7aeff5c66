"""Logging in on the embedded stack as people do it: the real provider, the real API process, the `vanta` command."""

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli import app
from cli_login import log_in
from cli_session import Kept, Login
from domain.access import SCOPES, Role
from domain.login import s256
from stack import Stack
from stack.people import FOLLOWER, PEOPLE, TENANT, VAULT
from stack.ports import HOST
from stack.probes import http_status

BOUND_S = 8.0  # of an answer while the provider is away; the gateway gives it 5 s
CALLBACK = "http://127.0.0.1:9/callback"


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[str]:
    """The address of an API process."""
    stack.start_login()
    port = stack.ports()["api"]
    many = {"VANTA_LIMITS__AUTH_ADDRESS": "10000"}  # these tests are all of one address
    stack.start_process(
        "api", [sys.executable, "-m", "cli", "api"], many, ready=lambda: http_status(port, "/readyz") == 200
    )
    yield f"http://{HOST}:{port}"
    stack.end("api")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def vanta(data: Path, *args: str) -> Result:
    return CliRunner().invoke(app, args, env={"VANTA_DATA": str(data), "VANTA_API": None, "VANTA_TOKEN": None})


def get(api: str, login: Login, path: str) -> httpx.Response:
    return httpx.get(api + path, headers={"Authorization": f"Bearer {login.access_token}"})


def refreshing(api: str, token: str) -> httpx.Response:
    return httpx.post(f"{api}/v1/auth/token", json={"grant_type": "refresh_token", "refresh_token": token})


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.mark.parametrize("role", Role)
def test_each_role_logs_in_with_what_its_row_of_the_table_allows(api: str, data: Path, role: Role):
    result = vanta(data, "login", "--as", role.value, "--api", api)
    assert result.exit_code == 0, result.output
    assert f"{role.value} of Trial ({TENANT})" in result.output
    said = vanta(data, "whoami")
    assert said.output == result.output
    me = get(api, Kept(data).read(), "/v1/me").json()
    assert (me["role"], me["tenant_id"], me["scopes"]) == (role.value, TENANT, sorted(SCOPES[role]))
    subject = FOLLOWER if role is Role.FOLLOWER else next(str(p.user_id) for p in PEOPLE if p.role is role)
    assert me["subject"] == subject
    halts = vanta(data, "halts")  # another command, with the login that was kept
    assert (halts.exit_code == 0) is ("vault:read" in SCOPES[role]), halts.output


def test_the_kept_login_is_private_and_refreshed_by_whoever_needs_it(api: str, data: Path):
    vanta(data, "login", "--as", "ops", "--api", api)
    file = data / "login.json"
    assert file.stat().st_mode & 0o777 == 0o600
    first = Kept(data).read()
    file.write_text(json.dumps({**json.loads(file.read_text()), "expires_at": 0}))
    assert vanta(data, "whoami").exit_code == 0
    second = Kept(data).read()
    assert second.refresh_token != first.refresh_token
    assert get(api, second, "/v1/me").status_code == 200
    # A refresh token that comes again ends the login that it is of.
    assert refreshing(api, first.refresh_token).status_code == 400
    assert get(api, second, "/v1/me").status_code == 401
    file.write_text(json.dumps({**json.loads(file.read_text()), "expires_at": 0}))
    over = vanta(data, "whoami")
    assert (over.exit_code, str(over.exception)) == (1, "the login has ended; log in again with: vanta login")
    assert not file.exists()


def test_a_logout_counts_at_once(api: str, data: Path):
    vanta(data, "login", "--as", "auditor", "--api", api)
    kept, other = Kept(data).read(), log_in(api, who="auditor")
    assert vanta(data, "logout").output == "logged out\n"
    assert get(api, kept, "/v1/me").status_code == 401
    assert refreshing(api, kept.refresh_token).status_code == 400
    assert get(api, other, "/v1/me").status_code == 200
    assert str(vanta(data, "whoami").exception) == "give a --token, or log in with: vanta login"
    Kept(data).save(other)
    assert vanta(data, "logout", "--everywhere").exit_code == 0
    assert get(api, other, "/v1/me").status_code == 401


def test_a_follower_sees_itself_and_nothing_else(api: str, data: Path):
    owner, follower = log_in(api, who="owner"), log_in(api, who="follower")
    headers = {"Authorization": f"Bearer {owner.access_token}", "Idempotency-Key": uuid.uuid4().hex}
    made = httpx.post(f"{api}/v1/vaults/{VAULT}/followers", json={"label": "Other", "mode": "shadow"}, headers=headers)
    assert made.status_code == 201, made.text
    other = made.json()["follower_id"]
    assert get(api, follower, f"/v1/followers/{FOLLOWER}").status_code == 200
    assert get(api, follower, f"/v1/followers/{other}").status_code == 404
    assert get(api, follower, f"/v1/vaults/{VAULT}/followers").status_code == 403
    assert get(api, owner, f"/v1/followers/{other}").status_code == 200


def test_a_browser_comes_back_to_the_terminal(api: str, data: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[httpx.Response] = []

    def person(url: str) -> bool:
        thread = threading.Thread(
            target=lambda: seen.append(httpx.post(url, data={"sub": "ops"}, follow_redirects=True)), daemon=True
        )
        thread.start()
        return True

    monkeypatch.setattr("webbrowser.open", person)
    result = vanta(data, "login", "--api", api)
    assert result.exit_code == 0, result.output
    assert "ops of Trial" in result.output
    until(lambda: bool(seen))
    assert "close this window" in seen[0].text


def test_who_says_no_at_the_provider_is_told_so(api: str, data: Path, monkeypatch: pytest.MonkeyPatch):
    def person(url: str) -> bool:
        query = httpx.URL(url).params
        back = f"{query['redirect_uri']}?error=access_denied&state={query['state']}"
        threading.Thread(target=lambda: httpx.get(back), daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open", person)
    result = vanta(data, "login", "--api", api)
    assert str(result.exception) == "the identity provider has refused: access_denied"


def test_nobody_comes_in_without_an_invitation(api: str, data: Path):
    result = vanta(data, "login", "--as", "stranger@elsewhere.example", "--api", api)
    assert result.exit_code == 1
    assert str(result.exception).endswith("(HTTP 403)")
    assert not (data / "login.json").exists()


def test_tokens_outlive_the_provider_and_logins_wait_for_it(stack: Stack, api: str, data: Path):
    login = log_in(api, who="owner")
    verifier = "v" * 43
    asked = {"redirect_uri": CALLBACK, "code_challenge": s256(verifier), "code_challenge_method": "S256"}
    begun = httpx.post(f"{api}/v1/auth/login", json=asked).json()
    back = httpx.post(begun["authorization_url"], data={"sub": "owner"}).headers["location"]
    grant: dict[str, Any] = {"grant_type": "authorization_code", "code": httpx.URL(back).params["code"]}
    grant |= {"state": begun["state"], "code_verifier": verifier, "redirect_uri": CALLBACK}
    stack.kill("oidc")
    try:
        assert stack.dead() == ["oidc"]
        answer = httpx.post(f"{api}/v1/auth/token", json=grant, timeout=BOUND_S)
        assert answer.status_code == 503, answer.text
        assert get(api, login, "/v1/vaults").status_code == 200
        refreshed = refreshing(api, login.refresh_token)
        assert refreshed.status_code == 200
        new = Login.of(api, refreshed.json())
        assert get(api, new, "/v1/vaults").status_code == 200
    finally:
        stack.restart("oidc")
    # Its keys are new ones, which the gateway looks for when it meets the first token that they have signed.
    until(lambda: vanta(data, "login", "--as", "owner", "--api", api).exit_code == 0)
