"""A follower's own login: he reads what is his, everything else is refused, and other followers are unknown to him."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.expansion import ExpansionStore
from api.app import create_app
from domain import ids
from domain.access import Role, Scope
from domain.admission import Intent
from domain.mirroring import MirrorOrderInput
from domain.orders import Side
from settings import Settings
from tests.adapters.store.orders import UNLIMITED
from tests.api.conftest import Caller, problem
from tests.api.logins import Login
from tests.api.test_access import FOLLOWERS_OWN


class Own:
    """Bob's login beside Eve, who follows the same vault."""

    def __init__(self, caller: Caller, bob: str, eve: str, login: Login) -> None:
        self.caller, self.bob, self.eve, self.login = caller, bob, eve, login

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.caller.http.get(path, params=query or None, headers=self.login.headers)


@pytest.fixture
async def own(caller: Caller) -> Own:
    """Both followers have one order of a manager order by a user with a name."""
    vault_id = await caller.vault()
    bob, eve = [await caller.follower(vault_id, label) for label in ("Bob", "Eve")]
    store = AdmissionStore(
        caller.database, UNLIMITED, page_size=500, max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6)
    )
    mo_id = ids.manager_order_id(caller.tenant_id, "k")
    intent = Intent(vault_id, "AAPL", Side.BUY, Decimal(10), reference_price=Decimal(200))
    order = MirrorOrderInput(caller.tenant_id, mo_id, intent, {}, "f" * 64, "api", "user:ada-of-the-desk")
    assert (await store.admit(order, datetime.now(UTC))).accepted
    await ExpansionStore(caller.database).expand(caller.tenant_id, mo_id, 0)
    return Own(caller, bob, eve, await caller.login(Role.FOLLOWER, follower_id=bob))


async def order_of(own: Own, follower_id: str) -> str:
    [row] = (await own.caller.get("/v1/follower-orders", follower_id=follower_id)).json()["items"]
    return str(row["fo_id"])


async def test_he_reads_himself_and_his_orders(own: Own) -> None:
    assert (await own.get(f"/v1/followers/{own.bob}")).json()["follower_id"] == own.bob
    listed = (await own.get("/v1/follower-orders")).json()["items"]
    assert [order["follower_id"] for order in listed] == [own.bob]
    assert (await own.get("/v1/follower-orders", follower_id=own.bob)).json()["items"] == listed
    mine = await own.get(f"/v1/follower-orders/{listed[0]['fo_id']}")
    assert mine.status_code == 200, mine.text
    assert "ada-of-the-desk" not in mine.text
    managers = await own.caller.get(f"/v1/follower-orders/{listed[0]['fo_id']}")
    assert "ada-of-the-desk" in managers.text


async def test_other_followers_and_their_orders_are_unknown_to_him(own: Own) -> None:
    theirs = await order_of(own, own.eve)
    for known, made_up, path in (
        (own.eve, "F_nobody", "/v1/followers/{}"),
        (own.eve, "F_nobody", "/v1/followers/{}/preview?symbol=AAPL&side=buy&qty=1"),
        (own.eve, "F_nobody", "/v1/follower-orders?follower_id={}"),
        (theirs, "FO-none", "/v1/follower-orders/{}"),
    ):
        field = "fo_id" if known == theirs else "follower_id"
        told = [
            problem(await own.get(path.format(one)), 404, "not-found", field)["detail"].replace(one, "X")
            for one in (known, made_up)
        ]
        assert told[0] == told[1]


async def test_his_preview_tells_his_share_and_nothing_of_the_vault(own: Own) -> None:
    asked = {"symbol": "AAPL", "side": "buy", "qty": "10", "reference_price": "200"}
    path = f"/v1/followers/{own.bob}/preview"
    his, managers = (await own.get(path, **asked)).json(), (await own.caller.get(path, **asked)).json()
    assert managers["snapshot"]["nav_usd"] == "1000000"
    assert managers["admission"]["effect"] == "open"
    assert (his["snapshot"], his["admission"]) == ({}, None)
    assert his["legs"] == managers["legs"]
    assert his["legs"][0]["qty"] == "10"


async def test_every_other_operation_is_refused(own: Own, settings: Settings) -> None:
    ids_of = {
        "follower_id": own.bob, "fo_id": await order_of(own, own.bob), "dead_letter_id": "1", "which": "equities",
        "user_id": "00000000-0000-4000-8000-000000000000",
    }  # fmt: skip
    before = await own.caller.counts()
    asked = 0
    for path, methods in create_app(settings).openapi()["paths"].items():
        for method, operation in methods.items():
            needed = [scope for one in operation.get("security", []) for scope in one.get("HTTPBearer", [])]
            if not needed or operation["operationId"] in FOLLOWERS_OWN:
                continue
            asked += 1
            names = {part["name"]: ids_of.get(part["name"], "x") for part in operation.get("parameters", [])}
            headers = own.login.headers | {"Idempotency-Key": "k"}
            answer = await own.caller.http.request(method, path.format(**names), json={}, headers=headers)
            assert problem(answer, 403, "insufficient-scope")["scope"] in needed, operation["operationId"]
    assert asked > 40
    assert await own.caller.counts() == before


async def test_the_contract_says_where_followers_are_let_in(settings: Settings) -> None:
    found = {
        operation["operationId"]
        for methods in create_app(settings).openapi()["paths"].values()
        for operation in methods.values()
        if {"HTTPBearer": [Scope.FOLLOWER_SELF]} in operation.get("security", [])
    }
    assert found == FOLLOWERS_OWN


async def test_the_scope_alone_makes_nobody_a_follower(own: Own) -> None:
    """A token that comes from no follower's login has nobody whom it is about, and must not see everybody."""
    for path in (f"/v1/followers/{own.bob}", "/v1/follower-orders"):
        answer = await own.caller.http.get(path, headers=own.caller.only("follower:self"))
        problem(answer, 403, "insufficient-scope")


async def test_an_owner_ends_his_access_and_not_his_mirroring(own: Own, stranger: Caller) -> None:
    caller, owner = own.caller, await own.caller.login(Role.OWNER)
    eve = await caller.login(Role.FOLLOWER, follower_id=own.eve)
    path = f"/v1/followers/{own.bob}/access"
    theirs = await stranger.http.delete(path, headers=(await stranger.login(Role.OWNER)).headers)
    problem(theirs, 404, "not-found", "follower_id")
    assert (await own.get("/v1/follower-orders")).status_code == 200
    for ended in (1, 0):
        answer = await caller.http.delete(path, headers=owner.headers)
        assert answer.json() == {
            "follower_id": own.bob, "people": 0, "logins_ended": ended, "invitations_withdrawn": [],
        }  # fmt: skip
    problem(await own.get("/v1/follower-orders"), 401, "unauthenticated")
    assert (await caller.http.get("/v1/follower-orders", headers=eve.headers)).status_code == 200
    assert not (await caller.get(f"/v1/followers/{own.bob}")).json()["kill_switch"]
