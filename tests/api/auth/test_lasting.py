"""Logins that last: refresh tokens that turn over, thieves of them, and ends that count at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.api.auth.conftest import Door
from tests.api.conftest import problem

Execute = Callable[..., Awaitable[None]]


async def test_a_refresh_gives_new_tokens_of_the_same_login(door: Door) -> None:
    first = await door.joined()
    second = (await door.refresh(first["refresh_token"])).json()
    third = (await door.refresh(second["refresh_token"])).json()
    assert len({tokens["refresh_token"] for tokens in (first, second, third)}) == 3
    for tokens in (first, second, third):
        assert (await door.me(tokens)).status_code == 200
    assert (await door.actions()).count("logged_in") == 1


async def test_a_refresh_token_that_comes_again_ends_the_login(door: Door) -> None:
    stolen, other = await door.joined(), (await door.log_in()).json()
    fresh = (await door.refresh(stolen["refresh_token"])).json()
    problem(await door.refresh(stolen["refresh_token"]), 400, "invalid-grant")
    for tokens in (stolen, fresh):
        problem(await door.me(tokens), 401, "unauthenticated")
        problem(await door.refresh(tokens["refresh_token"]), 400, "invalid-grant")
    assert (await door.me(other)).status_code == 200, "another login of the same person goes on"
    assert (await door.actions()).count("refresh_token_reused") == 1


async def test_of_many_uses_at_once_one_is_answered(door: Door) -> None:
    tokens = await door.joined()
    answers = await asyncio.gather(*(door.refresh(tokens["refresh_token"]) for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 15]
    assert (await door.actions()).count("refresh_token_reused") == 1


async def test_a_refresh_token_of_nobody_is_worth_nothing(door: Door) -> None:
    problem(await door.refresh("made-up"), 400, "invalid-grant")
    tokens = await door.joined()
    problem(await door.refresh(tokens["access_token"][:500]), 400, "invalid-grant")


@pytest.mark.parametrize("table", ["refresh_tokens", "sessions"])
async def test_what_has_expired_is_over(door: Door, owner_execute: Execute, table: str) -> None:
    tokens = await door.joined()
    await owner_execute(f"UPDATE {table} SET expires_at = now() WHERE tenant_id = %s", door.tenant_id)
    problem(await door.refresh(tokens["refresh_token"]), 400, "invalid-grant")
    assert (await door.me(tokens)).status_code == (401 if table == "sessions" else 200)


async def test_tokens_do_not_outlast_their_login(door: Door, owner_execute: Execute) -> None:
    tokens = await door.joined()
    statement = "UPDATE sessions SET expires_at = now() + interval '60 seconds' WHERE tenant_id = %s"
    await owner_execute(statement, door.tenant_id)
    assert (await door.refresh(tokens["refresh_token"])).json()["expires_in"] <= 60


async def test_a_logout_counts_at_once_and_leaves_other_logins(door: Door) -> None:
    here, there = await door.joined(), (await door.log_in()).json()
    gone = await door.log_out(here)
    assert (gone.status_code, gone.content) == (204, b"")
    problem(await door.me(here), 401, "unauthenticated")
    problem(await door.refresh(here["refresh_token"]), 400, "invalid-grant")
    problem(await door.log_out(here), 401, "unauthenticated")
    assert (await door.me(there)).status_code == 200
    assert (await door.actions())[-1] == "logged_out"


async def test_a_logout_needs_no_body(door: Door) -> None:
    tokens = await door.joined()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await door.http.post("/v1/auth/logout", headers=headers)).status_code == 204
    problem(await door.me(tokens), 401, "unauthenticated")


async def test_a_logout_everywhere_ends_all_logins_of_the_caller_and_nobody_elses(door: Door) -> None:
    mine = [await door.joined(), (await door.log_in()).json(), (await door.log_in()).json()]
    door.provider.person = {**door.provider.person, "sub": "colleague-" + door.tenant_id}
    colleague = await door.joined()
    assert (await door.log_out(mine[0], everywhere=True)).status_code == 204
    for tokens in mine:
        problem(await door.me(tokens), 401, "unauthenticated")
        problem(await door.refresh(tokens["refresh_token"]), 400, "invalid-grant")
    assert (await door.me(colleague)).status_code == 200
    assert (await door.actions()).count("logged_out") == 3


async def test_another_role_counts_at_the_next_refresh_and_a_lesser_one_at_once(
    door: Door, owner_execute: Execute
) -> None:
    tokens = await door.joined(role="owner")
    await owner_execute("UPDATE users SET role = 'auditor' WHERE tenant_id = %s", door.tenant_id)
    me = (await door.me(tokens)).json()
    assert (me["role"], me["scopes"]) == ("auditor", ["audit:read", "billing:read", "orders:read", "vault:read"])
    assert (await door.refresh(tokens["refresh_token"])).json()["scope"] == " ".join(me["scopes"])
