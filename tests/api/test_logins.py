"""What a token of a login is worth: as much as its session, its user and its tenant are at this moment."""

import pytest

from domain.access import SCOPES, Role
from tests.api.conftest import Caller, problem
from tests.api.logins import Login

MEMBERS = [role for role in Role if role is not Role.FOLLOWER]


async def _list(caller: Caller, login: Login) -> int:
    return (await caller.http.get("/v1/vaults", headers=login.headers)).status_code


@pytest.mark.parametrize("role", MEMBERS)
async def test_a_login_may_do_what_its_role_may(caller: Caller, role: Role) -> None:
    login = await caller.login(role)
    assert await _list(caller, login) == 200
    headers = login.headers | {"Idempotency-Key": "k", "Content-Type": "application/json"}
    made = await caller.http.post("/v1/vaults", json={"label": "A"}, headers=headers)
    assert made.status_code == (201 if "mirror:manage" in SCOPES[role] else 403)


async def test_a_token_that_says_more_than_the_role_has_gives_no_more(caller: Caller) -> None:
    login = await caller.login(Role.AUDITOR, scopes=["vault:read", "mirror:manage", "admin"])
    headers = login.headers | {"Idempotency-Key": "k", "Content-Type": "application/json"}
    made = await caller.http.post("/v1/vaults", json={"label": "A"}, headers=headers)
    problem(made, 403, "insufficient-scope")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET revoked_at = now() WHERE session_id = %(session)s",
        "UPDATE sessions SET expires_at = now() WHERE session_id = %(session)s",
        "UPDATE users SET status = 'removed' WHERE user_id::text = %(user)s",
    ],
)
async def test_what_is_taken_away_counts_at_the_next_request(caller: Caller, change: str) -> None:
    login = await caller.login()
    assert await _list(caller, login) == 200
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(change, {"session": login.session_id, "user": login.subject})
        assert cursor.rowcount == 1
    problem(await caller.http.get("/v1/vaults", headers=login.headers), 401, "unauthenticated")
