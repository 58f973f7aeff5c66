"""Users, their roles, and invitations: who may change them, what counts at once, and what is never shown or lost."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from adapters.identity.opaque import digest
from domain.access import SCOPES, Role
from tests.api.conftest import Caller, problem
from tests.api.logins import Login

INVITE = {"email": "Grace@fund.example", "role": "ops"}


@pytest.fixture
async def owner(caller: Caller) -> Login:
    """The tenant's only owner; `caller` speaks for him."""
    login = await caller.login(Role.OWNER)
    caller.http.headers.update(login.headers)
    return login


async def events(caller: Caller, entity: str) -> list[dict[str, Any]]:
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(
            "SELECT entity_id, action, actor, payload FROM audit_events WHERE entity = %s ORDER BY event_id", [entity]
        )
        return await cursor.fetchall()


async def change(caller: Caller, login: Login, role: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return await caller.patch(f"/v1/users/{login.subject}", {"role": role}, **(headers or {}))


async def status(caller: Caller, login: Login, path: str = "/v1/vaults") -> int:
    return (await caller.http.get(path, headers=login.headers)).status_code


async def test_users_are_listed_with_their_roles_a_page_at_a_time(caller: Caller, owner: Login) -> None:
    others = [await caller.login(role) for role in (Role.OPS, Role.AUDITOR)]
    shown: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await caller.get("/v1/users", limit=2, **cursor)).json()
        shown += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [user["user_id"] for user in shown] == sorted(login.subject for login in [owner, *others])
    assert {user["role"]: user["scopes"] for user in shown} == {
        role: sorted(SCOPES[role]) for role in (Role.OWNER, Role.OPS, Role.AUDITOR)
    }
    assert set(shown[0]) == {"user_id", "email", "role", "scopes", "status", "created_at"}
    problem(await caller.get("/v1/users", cursor="WyJ4Il0"), 422, "invalid-input", "cursor")


async def test_a_demotion_counts_at_once_and_ends_the_users_logins(caller: Caller, owner: Login) -> None:
    ops = await caller.login(Role.OPS)
    answer = await change(caller, ops, "auditor")
    assert (answer.status_code, answer.json()["role"]) == (200, "auditor")
    assert await status(caller, ops) == 401
    again = await caller.login(Role.AUDITOR, user_id=ops.subject, scopes=SCOPES[Role.OPS])
    made = await caller.http.post("/v1/vaults", json={"label": "A"}, headers=again.headers | {"Idempotency-Key": "k"})
    problem(made, 403, "insufficient-scope")
    assert (await change(caller, ops, "auditor")).status_code == 200
    [event] = await events(caller, "user")
    assert (event["action"], event["actor"]) == ("role_changed", f"user:{owner.subject}")
    assert event["payload"] == {"from": "ops", "to": "auditor", "logins_ended": 1, "invitations_withdrawn": []}


async def test_a_promotion_leaves_the_login_standing(caller: Caller, owner: Login) -> None:
    auditor = await caller.login(Role.AUDITOR)
    assert (await change(caller, auditor, "owner")).status_code == 200
    assert await status(caller, auditor) == 200


async def test_who_is_removed_is_out_at_his_next_request(caller: Caller, owner: Login) -> None:
    ops = await caller.login(Role.OPS)
    for _ in range(2):
        answer = await caller.http.delete(f"/v1/users/{ops.subject}")
        assert (answer.status_code, answer.json()["status"]) == (200, "removed")
    assert await status(caller, ops) == 401
    problem(await change(caller, ops, "owner"), 409, "user-removed", "user_id")
    assert [event["action"] for event in await events(caller, "user")] == ["removed"]
    refused = await caller.http.get("/v1/vaults", headers=ops.headers)
    unknown = await caller.http.get("/v1/vaults", headers={"Authorization": "Bearer vk_nothing"})
    assert problem(refused, 401, "unauthenticated")["detail"] == problem(unknown, 401, "unauthenticated")["detail"]


async def test_the_last_owner_can_be_neither_demoted_nor_removed(caller: Caller, owner: Login) -> None:
    gone = await caller.login(Role.OWNER)
    assert (await caller.http.delete(f"/v1/users/{gone.subject}")).status_code == 200
    problem(await change(caller, owner, "ops"), 409, "last-owner", "user_id")
    problem(await caller.http.delete(f"/v1/users/{owner.subject}"), 409, "last-owner", "user_id")
    assert await status(caller, owner) == 200


async def test_of_owners_who_demote_each_other_at_once_one_stays(caller: Caller, owner: Login) -> None:
    for _ in range(5):
        other = await caller.login(Role.OWNER)
        answers = await asyncio.gather(
            change(caller, other, "ops", headers=owner.headers), change(caller, owner, "ops", headers=other.headers)
        )
        assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
        users = (await caller.http.get("/v1/users", headers=caller.only("audit:read"))).json()["items"]
        [left] = [user["user_id"] for user in users if user["role"] == "owner"]
        owner = owner if left == owner.subject else other


async def test_an_owner_who_goes_leaves_no_way_back_in(caller: Caller, owner: Login) -> None:
    other = await caller.login(Role.OWNER)
    his = await caller.http.post(
        "/v1/invitations", json={"email": "back@fund.example", "role": "owner"},
        headers=other.headers | {"Idempotency-Key": "mine"},
    )  # fmt: skip
    assert (await caller.http.delete(f"/v1/users/{other.subject}")).status_code == 200
    [shown] = (await caller.get("/v1/invitations")).json()["items"]
    assert (shown["invitation_id"], shown["state"]) == (his.json()["invitation_id"], "revoked")
    [event] = await events(caller, "user")
    assert event["payload"]["invitations_withdrawn"] == [shown["invitation_id"]]


async def test_an_invitations_token_is_shown_once_and_stored_nowhere(caller: Caller, owner: Login) -> None:
    made = await caller.post("/v1/invitations", INVITE, key="k")
    again = await caller.post("/v1/invitations", INVITE, key="k")
    assert (made.status_code, again.status_code) == (201, 201)
    assert made.headers["cache-control"] == "no-store"
    token = made.json()["token"]
    assert len(token) == 43
    assert again.headers["idempotent-replay"] == "true"
    assert again.json() == made.json() | {"token": None, "note": again.json()["note"]}
    assert "not shown again" in again.json()["note"]
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("SELECT token_hash, expires_at - created_at AS lasts FROM invitations")
        [row] = await cursor.fetchall()
        assert (row["token_hash"], row["lasts"].days) == (digest(token), 7)
        await cursor.execute("SELECT response::text AS kept FROM idempotency_keys")
        kept = str(await cursor.fetchall())
    [event] = await events(caller, "invitation")
    for place in (kept, str(event), (await caller.get("/v1/invitations")).text):
        assert token not in place
    assert "grace" not in f"{kept}{event}".lower()  # an address could never be taken out of the audit log again


async def test_an_invitation_can_be_withdrawn_until_it_is_accepted(caller: Caller, owner: Login) -> None:
    ids = [(await caller.post("/v1/invitations", INVITE)).json()["invitation_id"] for _ in range(3)]
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("UPDATE invitations SET accepted_at = now() WHERE invitation_id = %s", [ids[1]])
        await cursor.execute("UPDATE invitations SET expires_at = now() WHERE invitation_id = %s", [ids[2]])
    for _ in range(2):
        assert (await caller.http.delete(f"/v1/invitations/{ids[0]}")).json()["state"] == "revoked"
    problem(
        await caller.http.delete(f"/v1/invitations/{ids[1]}"), 409, "invitation-accepted", "invitation_id"
    )  # fmt: skip
    shown = (await caller.get("/v1/invitations")).json()["items"]
    assert [(item["invitation_id"], item["state"]) for item in shown] == [
        (ids[2], "expired"), (ids[1], "accepted"), (ids[0], "revoked"),
    ]  # fmt: skip
    assert [event["action"] for event in await events(caller, "invitation")] == ["created"] * 3 + ["revoked"]


async def test_a_follower_is_invited_by_his_id(caller: Caller, owner: Login, stranger: Caller) -> None:
    follower_id = await caller.follower()
    body = {"email": "bob@follower.example", "follower_id": follower_id}
    made = (await caller.post("/v1/invitations", body)).json()
    assert (made["role"], made["follower_id"]) == ("follower", follower_id)
    theirs = await stranger.follower()
    for unknown in (theirs, "F_none"):
        answer = await caller.post("/v1/invitations", body | {"follower_id": unknown})
        problem(answer, 404, "not-found", "follower_id")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "a@b.example"}, "role"),
        ({"email": "a@b.example", "role": "ops", "follower_id": "F_x"}, "role"),
        ({"email": "a@b.example", "role": "follower"}, "role"),
        ({"email": "a@b.example", "role": "admin"}, "role"),
        ({"email": "no address", "role": "ops"}, "email"),
        ({"email": "a@b\r\nBcc: c@d.example", "role": "ops"}, "email"),
    ],
)
async def test_an_invitation_is_for_one_person_and_one_purpose(
    caller: Caller, owner: Login, body: dict[str, Any], field: str
) -> None:
    problem(await caller.post("/v1/invitations", body), 422, "invalid-input", field)


async def test_a_member_is_not_invited_again(caller: Caller, owner: Login) -> None:
    ops = await caller.login(Role.OPS)
    users = (await caller.get("/v1/users")).json()["items"]
    email = next(user["email"] for user in users if user["user_id"] == ops.subject)
    body = {"email": email.upper(), "role": "auditor"}
    problem(await caller.post("/v1/invitations", body), 409, "already-member", "email")
    await caller.http.delete(f"/v1/users/{ops.subject}")
    assert (await caller.post("/v1/invitations", body)).status_code == 201


@pytest.mark.parametrize("role", [Role.OPS, Role.AUDITOR])
async def test_others_may_look_and_change_nothing(caller: Caller, owner: Login, role: Role) -> None:
    invitation = (await caller.post("/v1/invitations", INVITE)).json()["invitation_id"]
    login = await caller.login(role)
    for path in ("/v1/users", "/v1/invitations", "/v1/service-accounts"):
        assert await status(caller, login, path) == 200
    for method, path, body in (
        ("PATCH", f"/v1/users/{login.subject}", {"role": "owner"}),
        ("DELETE", f"/v1/users/{owner.subject}", None),
        ("POST", "/v1/invitations", INVITE),
        ("DELETE", f"/v1/invitations/{invitation}", None),
        ("POST", "/v1/service-accounts", {"name": "x", "scopes": ["vault:read"]}),
    ):
        headers = login.headers | {"Idempotency-Key": "k"}
        answer = await caller.http.request(method, path, json=body, headers=headers)
        assert problem(answer, 403, "insufficient-scope")["scope"] == "tenant:manage"


async def test_another_tenants_people_are_unknown(caller: Caller, owner: Login, stranger: Caller) -> None:
    invitation = (await caller.post("/v1/invitations", INVITE)).json()["invitation_id"]
    stranger.http.headers.update((await stranger.login(Role.OWNER)).headers)
    made_up = "00000000-0000-4000-8000-000000000000"
    for user_id in (owner.subject, made_up):
        problem(await stranger.http.delete(f"/v1/users/{user_id}"), 404, "not-found", "user_id")
        body = {"role": "ops"}
        problem(await stranger.patch(f"/v1/users/{user_id}", body), 404, "not-found", "user_id")
    for invitation_id in (invitation, "INV-none"):
        answer = await stranger.http.delete(f"/v1/invitations/{invitation_id}")
        problem(answer, 404, "not-found", "invitation_id")
    assert len((await stranger.get("/v1/users")).json()["items"]) == 1
    assert (await stranger.get("/v1/invitations")).json()["items"] == []
