"""Logging in through the API, on real Postgres: whom it lets in, and that each step of it works once."""

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from aiohttp import web

from adapters.tokens import import_jwks, verify
from settings import Settings
from tests.adapters.identity.provider import EMAIL, HostileProvider, sign
from tests.api.auth.conftest import CALLBACK, VERIFIER, Door, bearer
from tests.api.conftest import Caller, problem, utc

Execute = Callable[..., Awaitable[None]]


async def test_who_is_invited_becomes_a_user_with_the_role_and_comes_back_without_the_invitation(door: Door) -> None:
    tokens = await door.joined(role="auditor")
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    assert tokens["scope"] == "audit:read billing:read orders:read vault:read"
    me = (await door.me(tokens)).json()
    assert (me["kind"], me["role"], me["follower_id"]) == ("user", "auditor", None)
    assert (me["tenant_id"], me["tenant_name"]) == (door.tenant_id, "Olympus Capital")
    assert me["scopes"] == tokens["scope"].split()
    assert await door.actions() == ["created", "member_joined", "logged_in"]

    again = (await door.log_in()).json()
    assert (await door.me(again)).json() == me
    assert again["refresh_token"] != tokens["refresh_token"]


async def test_the_login_is_bound_to_the_clients_challenge_and_to_a_state_and_nonce_of_ours(door: Door) -> None:
    first, second = (await door.begin()).json(), (await door.begin()).json()
    url = httpx.URL(first["authorization_url"])
    assert (url.params["state"], url.params["redirect_uri"]) == (first["state"], CALLBACK)
    nonces = {httpx.URL(begun["authorization_url"]).params["nonce"] for begun in (first, second)}
    assert len({first["state"], second["state"], *nonces}) == 4
    await door.joined()
    assert door.provider.forms[-1]["code_verifier"] == VERIFIER


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"redirect_uri": CALLBACK + "/"}, "redirect_uri"),
        ({"redirect_uri": "https://evil.example/"}, "redirect_uri"),
        ({"redirect_uri": "x" * 3_000}, "redirect_uri"),
        ({"code_challenge_method": "plain"}, "code_challenge_method"),
        ({"code_challenge": "short"}, "code_challenge"),
        ({"code_challenge": "v" * 42 + "\n"}, "code_challenge"),
        ({"invitation": ""}, "invitation"),
        ({"nonce": "mine"}, "nonce"),
    ],
)
async def test_a_login_begins_only_as_it_must(door: Door, changes: dict[str, str], field: str) -> None:
    problem(await door.begin(**changes), 422, "invalid-input", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "grant_type"),
        ({"grant_type": ["refresh_token"]}, "grant_type"),
        ({"grant_type": "password"}, "grant_type"),
        ({"grant_type": "refresh_token"}, "refresh_token"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 600}, "refresh_token"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "scope": "admin"}, "scope"),
    ],
)
async def test_what_is_no_grant_is_refused_by_the_name_of_the_field(
    door: Door, body: dict[str, Any], field: str
) -> None:
    problem(await door.http.post("/v1/auth/token", json=body), 422, "invalid-input", field)


async def test_a_state_works_once(door: Door) -> None:
    await door.joined()
    begun = (await door.begin()).json()
    door.provider.nonce = httpx.URL(begun["authorization_url"]).params["nonce"]
    answers = await asyncio.gather(*(door.exchange(begun["state"]) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 7]
    asked = door.provider.hits["/token"]
    problem(await door.exchange(begun["state"]), 400, "invalid-grant")
    problem(await door.exchange("made-up"), 400, "invalid-grant")
    assert door.provider.hits["/token"] == asked, "the provider is asked for nothing that has ended here"


@pytest.mark.parametrize("changes", [{"code_verifier": "w" * 43}, {"redirect_uri": "https://app.example/other"}])
async def test_who_did_not_begin_the_login_cannot_finish_it(door: Door, changes: dict[str, str]) -> None:
    begun = (await door.begin()).json()
    problem(await door.exchange(begun["state"], **changes), 400, "invalid-grant")
    problem(await door.exchange(begun["state"]), 400, "invalid-grant")
    assert door.provider.hits["/token"] == 0


async def test_a_login_that_takes_too_long_is_over(door: Door, owner_execute: Execute) -> None:
    begun = (await door.begin()).json()
    await owner_execute("UPDATE login_attempts SET expires_at = now()")
    problem(await door.exchange(begun["state"]), 400, "invalid-grant")


async def test_attempts_that_are_long_over_are_swept_by_those_that_begin(door: Door, owner_execute: Execute) -> None:
    for _ in range(3):
        await door.begin()
    await owner_execute("UPDATE login_attempts SET expires_at = now() - interval '2 hours'")
    before = await door.count("login_attempts")
    await door.begin()
    assert await door.count("login_attempts") == 1 + max(0, before - 100)


async def test_logins_that_were_over_a_month_ago_are_swept_with_their_tokens(
    door: Door, elsewhere: Door, owner_execute: Execute
) -> None:
    await door.joined()
    door.provider.person = {**door.provider.person, "sub": uuid.uuid4().hex}
    await elsewhere.joined()
    old = "UPDATE sessions SET expires_at = now() - interval '31 days' WHERE tenant_id = %s"
    await owner_execute(old, door.tenant_id)
    await door.begin()
    assert [await door.count(table, "is_mine(tenant_id)") for table in ("sessions", "refresh_tokens")] == [0, 0]
    assert [await elsewhere.count(table, "is_mine(tenant_id)") for table in ("sessions", "refresh_tokens")] == [1, 1]
    assert "logged_in" in await door.actions()


async def test_nobody_comes_in_without_having_been_invited(door: Door) -> None:
    problem(await door.log_in(), 403, "login-refused")
    assert await door.actions() == ["created"]


async def test_an_id_token_of_another_login_is_refused(door: Door) -> None:
    await door.joined()
    door.provider.token = lambda _claims: sign(door.provider.key, door.provider.claims(nonce="of-another-login"))
    problem(await door.log_in(), 403, "login-refused")


async def test_a_code_that_the_provider_does_not_know_is_told_as_such(door: Door) -> None:
    door.provider.answers["/token"] = lambda: web.json_response({"error": "invalid_grant"}, status=400)
    problem(await door.log_in(), 400, "invalid-grant")


async def test_a_provider_that_is_away_is_told_as_such(door: Door) -> None:
    door.provider.answers["/token"] = lambda: web.Response(status=502)
    problem(await door.log_in(), 503, "provider-unavailable")


async def test_a_suspended_tenant_lets_nobody_in_and_none_of_those_who_are(door: Door, owner_execute: Execute) -> None:
    tokens = await door.joined()
    await owner_execute("UPDATE tenants SET status = 'suspended' WHERE tenant_id = %s", door.tenant_id)
    problem(await door.log_in(), 403, "login-refused")
    problem(await door.refresh(tokens["refresh_token"]), 403, "login-refused")
    problem(await door.me(tokens), 401, "unauthenticated")
    await owner_execute("UPDATE tenants SET status = 'active' WHERE tenant_id = %s", door.tenant_id)
    assert (await door.refresh(tokens["refresh_token"])).status_code == 200


async def test_the_providers_id_token_opens_nothing_here(door: Door) -> None:
    await door.joined()
    token = sign(door.provider.key, door.provider.claims())
    problem(await door.me({"access_token": token}), 401, "unauthenticated")


async def test_the_published_keys_verify_access_tokens_and_hold_no_secret(door: Door, settings: Settings) -> None:
    tokens = await door.joined(role="ops")
    published = await door.http.get("/v1/auth/keys")
    assert published.status_code == 200
    assert all(set(key) <= {"kty", "crv", "x", "y", "kid", "use", "alg"} for key in published.json()["keys"])
    claims = verify(
        import_jwks(published.text), tokens["access_token"], issuer=settings.auth.issuer,
        audience=settings.auth.audience, leeway_s=5, now=utc().now(tz=utc().tzinfo),
    )  # fmt: skip
    assert (str(claims.tenant_id), claims.role) == (door.tenant_id, "ops")
    assert claims.session_id


async def test_neither_answers_nor_logs_nor_tables_hold_what_is_secret(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    invitation = await door.invite()
    begun = (await door.begin(invitation=invitation)).json()
    door.provider.nonce = httpx.URL(begun["authorization_url"]).params["nonce"]
    tokens = (await door.exchange(begun["state"], code="the-code")).json()
    refused = await door.exchange(begun["state"], code="the-code")
    unknown = await door.refresh("a-refresh-token-of-nobody")
    secrets = [invitation, begun["state"], tokens["refresh_token"], tokens["access_token"], "the-code", VERIFIER]
    # httpx and httpcore of the test's own client log what it sends; ours do not.
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("vanta", "sqlalchemy"))]
    said = "\n".join([*ours, refused.text, unknown.text])
    async with door.database.cursor(door.tenant_id) as cursor:
        cursor.filtered = False
        for table in ("sessions", "refresh_tokens", "invitations", "identities", "login_attempts", "audit_events"):
            await cursor.execute(f"SELECT to_jsonb(t) AS row FROM {table} AS t")
            said += json.dumps([row["row"] for row in await cursor.fetchall()], default=str)
    assert [secret for secret in secrets if secret in said] == []
    assert "a-refresh-token-of-nobody" not in said
    assert EMAIL not in "\n".join(ours)


async def test_as_long_as_nothing_is_set_up_nobody_logs_in_and_the_rest_works(caller: Caller) -> None:
    body = {"redirect_uri": CALLBACK, "code_challenge": "c" * 43, "code_challenge_method": "S256"}
    problem(await caller.http.post("/v1/auth/login", json=body), 503, "login-not-set-up")
    grant = {"grant_type": "refresh_token", "refresh_token": "x"}
    problem(await caller.http.post("/v1/auth/token", json=grant), 503, "login-not-set-up")
    me = (await caller.get("/v1/me")).json()
    assert (me["subject"], me["tenant_name"]) == ("developer", "Test tenant")
    problem(await caller.post("/v1/auth/logout", {}), 409, "no-login")


async def test_me_needs_a_token(door: Door, provider: HostileProvider) -> None:
    problem(await door.http.get("/v1/me"), 401, "unauthenticated")
    problem(await door.http.get("/v1/me", headers=bearer({"access_token": uuid.uuid4().hex})), 401, "unauthenticated")
