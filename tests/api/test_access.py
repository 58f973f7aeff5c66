"""Who may do what: every operation of the contract, tried as strangers, as every role, and with every bad token.

The rows are in tests/api/matrix.py. Strangers must not learn that a thing is there: another tenant's id reads as an
unknown one in status, headers and body. Nothing that is refused changes a row.
"""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI, HTTPException
from psycopg import sql
from sqlmodel import SQLModel

from adapters.store.database import Database
from adapters.store.registry import Registry
from api.app import openapi
from domain.access import SCOPES, Role, Scope
from domain.entitlements import EVERYTHING
from settings import Settings
from tests.api.bad_tokens import bad_tokens
from tests.api.conftest import Caller, FakeFlips, problem
from tests.api.doors import disagreements, leaks, open_doors, operations, unknown
from tests.api.entities import Tenant, tenant
from tests.api.logins import log_in
from tests.api.matrix import TABLE, Open, Row
from tests.conftest import owner_dsn

CONTRACT = json.loads(openapi())
OPERATIONS = operations(CONTRACT)
GUARDED = {name: row for name, row in TABLE.items() if isinstance(row, Row)}
every_operation = pytest.mark.parametrize("name", GUARDED)
OPEN = {
    "receive_stripe_event",
    "receive_btcpay_event",
    "get_health",
    "get_readiness",
    "begin_login",
    "confirm_follower_order",
    "exchange_token",
    "list_signing_keys",
}
FOLLOWERS_OWN = {name for name, row in GUARDED.items() if Scope.FOLLOWER_SELF in row.scopes}
Rows = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Stage:
    """`victim`'s entities are looked for by `stranger`, who has his own; `acted` is where allowed requests act."""

    http: httpx.AsyncClient
    victim: Tenant
    stranger: Tenant
    acted: Tenant
    owners: dict[str, str]
    roles: dict[Role, str]
    without: dict[tuple[str, ...], str]
    other_follower: str
    bad: dict[str, str | None]
    behind: psycopg.AsyncConnection[Any]
    log_in: Callable[[Role], Awaitable[str]]

    async def ask(self, token: str, request: dict[str, Any]) -> httpx.Response:
        headers = {**request["headers"], "Authorization": f"Bearer {token}"}
        return await self.http.request(**{**request, "headers": headers})

    async def rows(self, tenant_id: str) -> Rows:
        """Number and digest of the tenant's rows, by table, read behind row-level security's back."""
        found = await self.behind.execute(_ROWS, {"tenant": tenant_id})
        return {name: (count, digest) for name, count, digest in await found.fetchall()}


_OWNED = sorted(name for name, table in SQLModel.metadata.tables.items() if "tenant_id" in table.columns)
_ROWS = sql.SQL(" UNION ALL ").join(
    sql.SQL(
        "SELECT {name}, count(*), coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') "
        "FROM {table} t WHERE tenant_id = %(tenant)s::uuid"
    ).format(name=sql.Literal(name), table=sql.Identifier(name))
    for name in _OWNED
)


@pytest.fixture(scope="session")
async def stage(
    client: httpx.AsyncClient, database: Database, registry: Registry, settings: Settings, flips: FakeFlips
) -> AsyncIterator[Stage]:
    made: list[Tenant] = []
    owners: dict[str, str] = {}
    for mark in ("Canary", "Stranger", "Acted"):
        tenant_id = str(uuid.uuid4())
        await registry.ensure_tenant(tenant_id, mark, actor="user:test")
        owner = await log_in(database, settings, tenant_id, Role.OWNER)
        http = httpx.AsyncClient(transport=client._transport, base_url=client.base_url, headers=owner.headers)
        made.append(await tenant(Caller(tenant_id, http, database, settings), mark))
        owners[tenant_id] = owner.token
    victim, stranger, acted = made

    async def enter(role: Role, *, scopes: Iterable[str] = tuple(Scope), follower: str = "follower_id") -> str:
        """As a new user of `acted`, or as its follower; the token names all scopes, whatever the role has."""
        follower_id = acted.ids[follower] if role is Role.FOLLOWER else None
        made = await log_in(database, settings, acted.tenant_id, role, scopes=scopes, follower_id=follower_id)
        return made.token

    roles = {role: await enter(role) for role in Role}
    without = {
        scopes: await enter(Role.OWNER, scopes=[scope for scope in Scope if scope not in scopes])
        for scopes in {row.scopes for row in GUARDED.values()}
    }
    other = await enter(Role.FOLLOWER, follower="rotating_follower_id")
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings), autocommit=True) as behind:
        bad = await bad_tokens(database, settings, victim.tenant_id, behind)
        yield Stage(client, victim, stranger, acted, owners, roles, without, other, bad, behind, enter)


@pytest.fixture(autouse=True)
def _flips_know_their_overlays(stage: Stage, flips: FakeFlips, _fresh_engine: None) -> None:
    for one in (stage.victim, stage.stranger, stage.acted):
        flips.scopes |= {one.ids[name]: one.tenant_id for name in ("overlay_id", "ending_overlay_id")}


# What an operation needs of the subscription that it is tried on; the others need one that runs.
_NEEDS = {
    "check_out": "incomplete",
    "keep_subscription": "active, to end",
    "resume_subscription": "paused",
}


@pytest.fixture(autouse=True)
async def _subscription_is_as_needed(stage: Stage, request: pytest.FixtureRequest) -> None:
    params = getattr(request.node, "callspec", None)
    state, _, ends = _NEEDS.get(params.params.get("name", "") if params else "", "active").partition(", ")
    await stage.behind.execute(
        "UPDATE subscriptions SET plan_id = 'institutional', entitlements = %(all)s::jsonb, close_only = false, "
        "status = %(state)s::text, scheduled_plan_id = NULL, "
        "cancel_at = CASE WHEN %(ends)s::boolean THEN renewal_at END, "
        "paused_at = CASE WHEN %(state)s::text = 'paused' THEN now() END WHERE tenant_id = %(tenant)s",
        {"state": state, "ends": bool(ends), "all": json.dumps(EVERYTHING.to_json()), "tenant": stage.acted.tenant_id},
    )


def test_every_operation_has_its_row_and_asks_for_what_the_row_says():
    assert disagreements(CONTRACT, TABLE) == []


def test_what_is_open_is_open_for_a_reason():
    assert {name for name, row in TABLE.items() if isinstance(row, Open) and len(row.why) > 20} == OPEN


@every_operation
async def test_another_tenants_ids_are_as_unknown_as_made_up_ones(stage: Stage, name: str) -> None:
    victim, stranger = stage.victim, stage.stranger
    before = await stage.rows(victim.tenant_id)
    stage.http.headers["Authorization"] = f"Bearer {stage.owners[stranger.tenant_id]}"
    try:
        found = await leaks(
            stage.http, OPERATIONS[name], GUARDED[name], stranger.ids, victim.ids, [victim.mark, victim.tenant_id]
        )
    finally:
        del stage.http.headers["Authorization"]
    assert found == []
    assert await stage.rows(victim.tenant_id) == before


@every_operation
async def test_a_filter_finds_nothing_of_another_tenant(stage: Stage, name: str) -> None:
    operation, row, victim, stranger = OPERATIONS[name], GUARDED[name], stage.victim, stage.stranger
    request, token = operation.request(row, stranger.ids), stage.owners[stranger.tenant_id]
    for query in {*operation.queries} & {*victim.ids}:
        theirs = await stage.ask(token, {**request, "params": {query: victim.ids[query]}})
        made_up = await stage.ask(token, {**request, "params": {query: unknown(victim.ids[query])}})
        assert (theirs.status_code, theirs.text) == (made_up.status_code, made_up.text), query
        assert theirs.json()["items"] == []


@every_operation
async def test_a_role_may_do_what_its_scopes_say_and_nothing_else(stage: Stage, name: str) -> None:
    """The tokens name every scope that there is, so that it is the role alone that decides."""
    operation, row, acted = OPERATIONS[name], GUARDED[name], stage.acted
    may = {role for role in Role if not row.scopes or SCOPES[role].intersection(row.scopes)}
    for role in may:
        token = await stage.log_in(role) if row.ends_login else stage.roles[role]
        answer = await stage.ask(token, operation.request(row, acted.ids))
        assert answer.is_success, (role, answer.text)
    if not row.scopes:
        return
    before = await stage.rows(acted.tenant_id)
    # The last one is an owner whose token names every scope but those that are needed.
    for token in (*(stage.roles[role] for role in Role if role not in may), stage.without[row.scopes]):
        answer = await stage.ask(token, operation.request(row, acted.ids))
        body = problem(answer, 403, "insufficient-scope")
        assert body["scope"] == row.scopes[0]
        assert f'scope="{row.scopes[0]}"' in answer.headers["www-authenticate"]
    assert await stage.rows(acted.tenant_id) == before


@pytest.mark.parametrize("name", sorted(FOLLOWERS_OWN))
async def test_a_follower_finds_nothing_of_another_one_beside_him(stage: Stage, name: str) -> None:
    operation, row, acted = OPERATIONS[name], GUARDED[name], stage.acted
    stage.http.headers["Authorization"] = f"Bearer {stage.other_follower}"
    try:
        assert await leaks(stage.http, operation, row, {}, acted.ids, []) == []
    finally:
        del stage.http.headers["Authorization"]
    request = operation.request(row, acted.ids)
    for query in {*operation.queries} & {"follower_id", "mo_id"}:
        answer = await stage.ask(stage.other_follower, {**request, "params": {query: acted.ids[query]}})
        assert acted.ids["fo_id"] not in answer.text


@every_operation
async def test_a_token_that_is_none_opens_nothing(stage: Stage, name: str) -> None:
    victim = stage.victim
    before = await stage.rows(victim.tenant_id)
    assert await open_doors(stage.http, OPERATIONS[name].request(GUARDED[name], victim.ids), stage.bad) == []
    assert await stage.rows(victim.tenant_id) == before


class _Leaky:
    """An application whose operation answers for the things of everybody, but for those that nobody has."""

    def __init__(self, known: str) -> None:
        self.app = FastAPI()

        @self.app.get("/v1/things/{vault_id}", operation_id="get_thing")
        async def get_thing(vault_id: str) -> dict[str, str]:
            if vault_id != known:
                raise HTTPException(404, f"there is no thing {vault_id}")
            return {"label": "Canary"}

    @property
    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://leaky.test")


async def test_the_matrix_fails_for_an_operation_without_a_row_that_leaks_and_asks_nobody() -> None:
    """Were these checks blind, everything above would pass as well."""
    leaky, row = _Leaky("V_theirs"), Row(("vault:read",))
    contract = leaky.app.openapi()
    assert disagreements(contract, {}) == ["get_thing has no row in tests/api/matrix.py"]
    assert disagreements(contract, {"get_thing": row}) == ["get_thing asks for nothing, its row says ('vault:read',)"]
    operation = operations(contract)["get_thing"]
    async with leaky.http as http:
        found = await leaks(http, operation, row, {"vault_id": "V_own"}, {"vault_id": "V_theirs"}, ["Canary"])
        doors = await open_doors(http, operation.request(row, {"vault_id": "V_theirs"}), {"none": None})
    assert [fault.partition(": ")[2][:12] for fault in found] == [
        "200 for anot", "another tena", "200 where 40", "the answer h"
    ]  # fmt: skip
    assert doors == ['none: 200 {"label":"Canary"}']


async def test_a_403_in_place_of_a_404_is_a_leak() -> None:
    app = FastAPI()

    @app.get("/v1/things/{vault_id}", operation_id="get_thing")
    async def get_thing(vault_id: str) -> None:
        raise HTTPException(403 if vault_id == "V_theirs" else 404)

    operation = operations(app.openapi())["get_thing"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://leaky.test") as http:
        found = await leaks(http, operation, Row(()), {"vault_id": "V_own"}, {"vault_id": "V_theirs"}, [])
    assert len(found) == 3


async def test_a_tenant_that_is_not_registered_can_create_nothing(caller: Caller) -> None:
    caller.tenant_id = str(uuid.uuid4())
    caller.http.headers.update(caller.only("mirror:manage"))
    problem(await caller.post("/v1/vaults", {"label": "A"}), 404, "not-found", "id")
