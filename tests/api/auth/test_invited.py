"""Invitations at the door: who may take one up, once, and what he is then."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.store.registry import Registry
from domain.enrolment import NewFollower, NewVault
from domain.requests import Once
from domain.sizing import Mode
from tests.adapters.identity.provider import EMAIL
from tests.api.auth.conftest import Door
from tests.api.conftest import problem, utc

Execute = Callable[..., Awaitable[None]]


async def members(door: Door) -> list[dict[str, Any]]:
    async with door.database.cursor(door.tenant_id) as cursor:
        await cursor.execute("SELECT user_id, email, role, status, oidc_sub FROM users WHERE is_mine(tenant_id)")
        return await cursor.fetchall()


@pytest.mark.parametrize(
    "person",
    [
        {"email": "eve@olympus.example"},
        {"email": EMAIL + ".evil.example"},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": None},
    ],
    ids=str,
)
async def test_an_invitation_is_for_the_verified_address_that_was_invited(door: Door, person: dict[str, Any]) -> None:
    token = await door.invite()
    right, door.provider.person = door.provider.person, {**door.provider.person, **person}
    problem(await door.log_in(token), 403, "login-refused")
    assert await members(door) == []
    assert await door.actions() == ["created"]
    door.provider.person = right
    assert (await door.log_in(token)).status_code == 200, "it was not used up by who may not have it"


async def test_the_address_is_the_same_in_any_case(door: Door) -> None:
    await door.joined(email=EMAIL.upper())


@pytest.mark.parametrize(
    "invitation",
    [
        {"hours": -1},
        {"revoked_at": utc()},
        {"accepted_at": utc()},
    ],
    ids=["expired", "revoked", "accepted"],
)
async def test_an_invitation_that_is_over_lets_nobody_in(door: Door, invitation: dict[str, Any]) -> None:
    problem(await door.log_in(await door.invite(**invitation)), 403, "login-refused")
    assert await members(door) == []


async def test_an_invitation_that_is_not_known_lets_nobody_in(door: Door) -> None:
    problem(await door.log_in("made-up"), 403, "login-refused")


async def test_of_two_who_bring_one_invitation_the_first_comes_in(door: Door) -> None:
    token = await door.invite()
    assert (await door.log_in(token)).status_code == 200
    door.provider.person = {**door.provider.person, "sub": uuid.uuid4().hex}
    problem(await door.log_in(token), 403, "login-refused")
    assert len(await members(door)) == 1


async def test_who_lost_the_answer_brings_the_invitation_again_and_logs_in(door: Door) -> None:
    token = await door.invite()
    first, second = (await door.log_in(token)).json(), (await door.log_in(token)).json()
    assert (await door.me(first)).json() == (await door.me(second)).json()
    assert (await door.actions()).count("member_joined") == 1


async def test_who_is_a_member_logs_in_without_an_invitation(door: Door) -> None:
    await door.joined(role="auditor")
    problem(await door.log_in(await door.invite(role="owner")), 403, "login-refused")
    assert [member["role"] for member in await members(door)] == ["auditor"]


async def test_a_member_of_another_tenant_is_none_of_this_one(door: Door, elsewhere: Door) -> None:
    await elsewhere.joined()
    problem(await door.log_in(await door.invite()), 403, "login-refused")
    assert await members(door) == []
    assert await door.actions() == ["created"]


async def test_who_was_removed_comes_back_by_a_new_invitation_as_himself(door: Door, owner_execute: Execute) -> None:
    tokens = await door.joined(role="owner")
    (before,) = await members(door)
    await owner_execute("UPDATE users SET status = 'removed' WHERE user_id = %s", before["user_id"])
    problem(await door.log_in(), 403, "login-refused")
    problem(await door.refresh(tokens["refresh_token"]), 403, "login-refused")
    problem(await door.me(tokens), 401, "unauthenticated")
    await door.joined(role="auditor")
    (after,) = await members(door)
    assert after == {**before, "role": "auditor"}
    assert (await door.actions())[-2:] == ["member_returned", "logged_in"]


async def test_a_follower_who_is_invited_sees_himself_alone(door: Door, registry: Registry) -> None:
    once = (Once("test", f"{door.tenant_id}-{n}", "f") for n in range(2))
    vault = (await registry.create_vault(door.tenant_id, NewVault("A"), actor="user:test", once=next(once))).row
    new = NewFollower(vault.vault_id, "Bob", mode=Mode.SHADOW)
    made = (await registry.create_follower(door.tenant_id, new, actor="user:test", once=next(once))).row
    tokens = await door.joined(role="follower", follower_id=made.follower_id)
    me = (await door.me(tokens)).json()
    assert (me["kind"], me["role"], me["subject"]) == ("follower", "follower", made.follower_id)
    assert (me["follower_id"], me["scopes"]) == (made.follower_id, ["follower:self"])
    assert await members(door) == []
    assert (await door.actions())[-2:] == ["joined", "logged_in"]
    await door.log_out(tokens, everywhere=True)
    problem(await door.me(tokens), 401, "unauthenticated")
    problem(await door.refresh(tokens["refresh_token"]), 400, "invalid-grant")


async def test_at_the_same_time_an_invitation_makes_one_member(door: Door) -> None:
    token = await door.invite()
    begun = [(await door.begin(invitation=token)).json() for _ in range(4)]
    nonces = iter([url.partition("nonce=")[2].partition("&")[0] for url in (b["authorization_url"] for b in begun)])
    codes = {f"code-{n}": nonce for n, nonce in enumerate(nonces)}
    door.provider.nonces = codes
    answers = await asyncio.gather(
        *(door.exchange(login["state"], code=code) for login, code in zip(begun, codes, strict=True))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(await members(door)) == 1
    assert (await door.actions()).count("member_joined") == 1
