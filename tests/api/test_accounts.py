"""Service accounts and API keys: shown once, kept as a hash, worth nothing the moment something takes them away."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.identity.opaque import digest
from domain.access import GRANTABLE, SCOPES, Role
from tests.api.conftest import Caller, problem
from tests.api.logins import Login

DESK = {"name": "order desk", "scopes": ["vault:read", "orders:read"]}


@pytest.fixture
async def owner(caller: Caller) -> Login:
    login = await caller.login(Role.OWNER)
    caller.http.headers.update(login.headers)
    return login


@pytest.fixture
async def account(caller: Caller, owner: Login) -> str:
    made = await caller.post("/v1/service-accounts", DESK)
    assert made.status_code == 201, made.text
    return str(made.json()["account_id"])


async def new_key(caller: Caller, account: str, **body: Any) -> dict[str, Any]:
    made = await caller.post(f"/v1/service-accounts/{account}/keys", body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def use(caller: Caller, key: str, path: str = "/v1/vaults") -> httpx.Response:
    return await caller.http.get(path, headers={"Authorization": f"Bearer {key}"})


async def test_a_key_opens_what_its_account_may_do_and_no_more(caller: Caller, account: str) -> None:
    key = (await new_key(caller, account))["key"]
    assert key.startswith("vk_")
    assert (await use(caller, key)).status_code == 200
    answer = await use(caller, key, "/v1/audit-events")
    assert problem(answer, 403, "insufficient-scope")["scope"] == "audit:read"


async def test_what_a_program_does_is_told_by_its_account(caller: Caller, owner: Login) -> None:
    made = await caller.post("/v1/service-accounts", {"name": "ops", "scopes": ["mirror:manage"]})
    account = made.json()["account_id"]
    key = (await new_key(caller, account))["key"]
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}
    assert (await caller.http.post("/v1/vaults", json={"label": "A"}, headers=headers)).status_code == 201
    events = (await caller.get("/v1/audit-events", entity="vault")).json()["items"]
    assert [event["actor"] for event in events] == [f"service:{account}"]


async def test_a_key_is_shown_once_and_stored_as_a_hash(caller: Caller, account: str) -> None:
    path = f"/v1/service-accounts/{account}/keys"
    made, again = await caller.post(path, {}, key="k"), await caller.post(path, {}, key="k")
    key = made.json()["key"]
    assert made.headers["cache-control"] == "no-store"
    assert again.headers["idempotent-replay"] == "true"
    assert again.json() == made.json() | {"key": None, "note": again.json()["note"]}
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute("SELECT key_hash FROM api_keys")
        assert [row["key_hash"] for row in await cursor.fetchall()] == [digest(key)]
        await cursor.execute(
            "SELECT (SELECT json_agg(i.response) FROM idempotency_keys i)::text || "
            "(SELECT json_agg(e.payload) FROM audit_events e)::text AS kept"
        )
        kept = await cursor.fetchone()
    assert kept is not None
    assert key not in kept["kept"]
    listed = (await caller.get(path)).text
    assert key not in listed
    assert digest(key) not in listed


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET expires_at = now()",
        "UPDATE service_accounts SET disabled_at = now()",
        "UPDATE tenants SET status = 'suspended'",
    ],
)
async def test_what_ends_a_key_counts_at_the_next_request_in_the_words_for_any(
    caller: Caller, account: str, statement: str
) -> None:
    key = (await new_key(caller, account))["key"]
    assert (await use(caller, key)).status_code == 200
    async with caller.database.cursor(caller.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(statement)
    refused, unknown = await use(caller, key), await use(caller, f"vk_{'x' * 43}")
    told = [problem(answer, 401, "unauthenticated") for answer in (refused, unknown)]
    assert told[0] | {"request_id": ""} == told[1] | {"request_id": ""}
    assert refused.headers["www-authenticate"] == unknown.headers["www-authenticate"]


async def test_a_suspended_tenants_people_stay_out_until_it_is_resumed(caller: Caller, owner: Login) -> None:
    for status, answered in (("suspended", 401), ("active", 200)):
        async with caller.database.cursor(caller.tenant_id) as cursor:
            cursor.filtered = False
            await cursor.execute("UPDATE tenants SET status = %s", [status])
        assert (await caller.get("/v1/vaults")).status_code == answered


async def test_revoking_and_disabling_may_be_repeated_and_are_told_once(caller: Caller, account: str) -> None:
    first, second = await new_key(caller, account), await new_key(caller, account)
    path = f"/v1/service-accounts/{account}"
    for _ in range(2):
        answer = await caller.http.delete(f"{path}/keys/{first['key_id']}")
        assert answer.json()["revoked_at"] is not None
    assert (await use(caller, first["key"])).status_code == 401
    assert (await use(caller, second["key"])).status_code == 200
    for _ in range(2):
        assert (await caller.http.delete(path)).json()["disabled_at"] is not None
    assert (await use(caller, second["key"])).status_code == 401
    problem(await caller.post(f"{path}/keys", {}), 409, "account-disabled", "account_id")
    events = (await caller.get("/v1/audit-events", entity="service_account")).json()["items"]
    assert [event["action"] for event in events] == [
        "disabled", "key_revoked", "key_created", "key_created", "created",
    ]  # fmt: skip


async def test_a_key_may_have_an_end(caller: Caller, account: str) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await new_key(caller, account, expires_at=soon)
    assert datetime.fromisoformat(made["expires_at"]) == datetime.fromisoformat(soon)
    body = {"expires_at": "2020-01-01T00:00:00Z"}
    answer = await caller.post(f"/v1/service-accounts/{account}/keys", body)
    problem(answer, 422, "invalid-input", "expires_at")


@pytest.mark.parametrize("scope", ["admin", "tenant:manage", "follower:self", "made:up"])
async def test_no_account_gets_what_no_program_may_have(caller: Caller, owner: Login, scope: str) -> None:
    for headers in (owner.headers, caller.only("tenant:manage", "admin", "follower:self", "vault:read")):
        answer = await caller.http.post(
            "/v1/service-accounts", json={"name": "x", "scopes": ["vault:read", scope]},
            headers=headers | {"Idempotency-Key": uuid.uuid4().hex},
        )  # fmt: skip
        problem(answer, 422, "invalid-input", "scopes")


async def test_nobody_gives_what_he_does_not_have(caller: Caller, owner: Login) -> None:
    """Not even what his role has, if his token does not say it."""
    narrow = await caller.login(Role.OWNER, scopes=["tenant:manage", "vault:read"])
    caller.http.headers.update(narrow.headers)
    problem(await caller.post("/v1/service-accounts", DESK), 422, "invalid-input", "scopes")
    assert (await caller.post("/v1/service-accounts", DESK | {"scopes": ["vault:read"]})).status_code == 201


def test_owners_can_give_all_that_programs_may_have() -> None:
    assert SCOPES[Role.OWNER] > GRANTABLE


async def test_a_key_whose_row_was_tampered_with_opens_no_more_than_keys_may(
    caller: Caller, account: str, owner_execute: Callable[..., Awaitable[None]]
) -> None:
    key = (await new_key(caller, account))["key"]
    await owner_execute(
        "UPDATE service_accounts SET scopes = '{admin,tenant:manage}' WHERE account_id = %s", account
    )  # fmt: skip
    problem(await use(caller, key, "/v1/users"), 403, "insufficient-scope")


async def test_another_tenants_accounts_and_keys_are_unknown(caller: Caller, account: str, stranger: Caller) -> None:
    key = await new_key(caller, account)
    stranger.http.headers.update((await stranger.login(Role.OWNER)).headers)
    for account_id, key_id in ((account, key["key_id"]), ("SA-none", "KEY-none")):
        path = f"/v1/service-accounts/{account_id}"
        for answer in (
            await stranger.http.delete(path),
            await stranger.get(f"{path}/keys"),
            await stranger.post(f"{path}/keys", {}),
            await stranger.http.delete(f"{path}/keys/{key_id}"),
        ):
            problem(answer, 404, "not-found", "account_id")
    other = (await caller.post("/v1/service-accounts", DESK)).json()["account_id"]
    answer = await caller.http.delete(f"/v1/service-accounts/{other}/keys/{key['key_id']}")
    problem(answer, 404, "not-found", "key_id")
    assert (await use(caller, key["key"])).status_code == 200
