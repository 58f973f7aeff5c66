"""What a follower would get, over HTTP."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.expansion import ExpansionStore
from adapters.store.registry import Registry
from domain import ids, intents
from domain.mirroring import MirrorOrderInput
from models import Price
from tests.adapters.store.orders import UNLIMITED
from tests.api.conftest import Caller, problem

WEBHOOK = {"webhook": {"url": "https://follower.example/hook"}}
ORDER = {"symbol": "AAPL", "side": "buy", "qty": "33"}


@pytest.fixture
async def follower(caller: Caller, registry: Registry) -> str:
    await registry.upsert_price(Price(symbol="AAPL", price=Decimal(200), asof=datetime.now(UTC), source="test"))
    body = {"label": "Bob", "scale": "0.15", "mode": "capped", "max_pos_usd": "600", **WEBHOOK}
    made = await caller.post(f"/v1/vaults/{await caller.vault()}/followers", body)
    assert made.status_code == 201, made.text
    return str(made.json()["follower_id"])


async def placed(caller: Caller, vault_id: str, meta: dict[str, Any]) -> str:
    """Without the engine; what its workflow would do."""
    raw = {"vault_id": vault_id, **ORDER, "meta": meta}
    intent, meta = intents.parse_intent(raw)
    mo_id = ids.manager_order_id(caller.tenant_id, "preview")
    order = MirrorOrderInput(caller.tenant_id, mo_id, intent, meta, "f", "api", "user:test")
    store = AdmissionStore(
        caller.database, UNLIMITED, page_size=500, max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6)
    )
    assert (await store.admit(order, datetime.now(UTC))).accepted
    await ExpansionStore(caller.database).expand(caller.tenant_id, mo_id, 0)
    return mo_id


async def test_a_preview_equals_the_order_and_stays_what_it_was(caller: Caller, follower: str):
    path = f"/v1/followers/{follower}/preview"
    asked = {**ORDER, "conviction": '{"score": 0.70, "overrides": {"growth": 0.1}}'}
    first = await caller.get(path, **asked)
    assert first.status_code == 200, first.text
    said = first.json()
    assert said["admission"] == {
        "accepted": True, "effect": "open", "code": None, "reason": None, "field": None, "waits_until": None,
    }  # fmt: skip
    assert (said["snapshot"]["price"], said["snapshot"]["nav_usd"], said["follower"]["scale"]) == (
        "200", "1000000", "0.15",
    )  # fmt: skip
    conviction = {"score": Decimal("0.70"), "overrides": {"growth": Decimal("0.1")}}
    mo_id = await placed(caller, said["vault_id"], {"conviction": conviction})
    [row] = (await caller.get("/v1/follower-orders", mo_id=mo_id)).json()["items"]
    order = (await caller.get(f"/v1/follower-orders/{row['fo_id']}")).json()
    [leg] = said["legs"]
    assert leg["qty"] == "3"
    for name in ("trace", "qty", "cap_applied", "side", "symbol", "state", "reason", "route", "leg"):
        assert leg[name] == order[name], name
    await caller.http.patch(
        f"/v1/followers/{follower}", json={"scale": "2", "kill_switch": True}, headers={"Idempotency-Key": "later"}
    )
    assert (await caller.get(path, **asked)).json()["legs"][0]["state"] == "killed"
    again = await caller.get(path, **asked, asof=said["asof"])
    assert again.text == first.text


async def test_what_is_wrong_is_named_by_its_parameter(caller: Caller, follower: str):
    path = f"/v1/followers/{follower}/preview"
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for wrong, field in (
        ({"qty": "0"}, "qty"),
        ({"side": "hold"}, "side"),
        ({"reference_price": "x"}, "reference_price"),
        ({"type": "limit"}, "limit_price"),
        ({"conviction": "{"}, "conviction"),
        ({"conviction": '{"score": 2}'}, "conviction.score"),
        ({"conviction": '{"score": NaN}'}, "conviction.score"),
        ({"asof": soon}, "asof"),
        ({"asof": "2026-01-31T12:00:00"}, "asof"),
        ({"as_of": soon}, "as_of"),
        ({"symbol": "NOSUCH"}, "symbol"),
    ):
        problem(await caller.get(path, **{**ORDER, **wrong}), 422, "invalid-input", field)
    early = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    problem(await caller.get(path, **ORDER, asof=early), 404, "not-found", "follower_id")


async def test_it_is_the_tenants_and_needs_its_scope(caller: Caller, stranger: Caller, follower: str):
    path = f"/v1/followers/{follower}/preview"
    problem(await stranger.get(path, **ORDER), 404, "not-found", "follower_id")
    refused = await caller.http.get(path, params=ORDER, headers=caller.only("vault:read"))
    assert refused.status_code == 403
