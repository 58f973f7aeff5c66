"""What a snapshot freezes besides a follower's settings: overlays, residues, orders under way, money, hedges."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.admission import AdmissionStore
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.registry import Registry
from adapters.store.waves import WaveStore
from domain.errors import ExitBreach
from domain.mirroring import CORRECTION, FLATTEN, Admission
from domain.orders import FollowerState
from domain.ports import OutcomeKind, SendOutcome
from models import Instrument, Price
from tests.adapters.store.orders import COIN, EQUITY, Floor, admission_store, manager_order

D = Decimal
ACK = SendOutcome(OutcomeKind.ACK, "ack")
SILENT = SendOutcome(OutcomeKind.AMBIGUOUS, "timeout")


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def expand(floor: Floor, admission: Admission) -> dict[str, dict[str, Any]]:
    """The follower orders by follower and leg: `F_1` and `F_1/1`."""
    await ExpansionStore(floor.database).expand(floor.tenant_id, admission.mo_id, 0)
    rows = await floor.rows("SELECT * FROM follower_orders WHERE mo_id = %s", admission.mo_id)
    return {r["follower_id"] + (f"/{r['leg']}" if r["leg"] else ""): r for r in rows}


async def deliver(floor: Floor, fo_id: str, outcome: SendOutcome = ACK) -> FollowerState:
    """One attempt of the order's owner."""
    store = DispatchStore(floor.database)
    order = await store.take(floor.tenant_id, fo_id, datetime.now(UTC))
    if order.state is FollowerState.SENT:
        [change] = await store.record(floor.tenant_id, [(order, outcome)])
        return change.target
    return order.state


async def fill(floor: Floor, orders: Mapping[str, dict[str, Any]]) -> None:
    for row in orders.values():
        if row["state"] == "sized":
            assert await deliver(floor, row["fo_id"]) is FollowerState.CONFIRMED


async def set_risk_profile(floor: Floor, profile: str) -> None:
    await floor.rows("UPDATE vaults SET risk_profile = %s::jsonb WHERE vault_id = %s", profile, floor.vault_id)


async def over(floor: Floor, mo_id: str) -> None:
    await floor.rows("UPDATE manager_orders SET live = false WHERE mo_id = %s", mo_id)


async def test_what_rounding_leaves_over_is_carried_to_the_next_order(floor: Floor) -> None:
    follower = await floor.follower(scale=D("0.15"))
    sizes = []
    for _ in range(4):  # 1.5 each
        admission = await floor.admit()
        orders = await expand(floor, admission)
        await fill(floor, orders)
        sizes.append(orders[follower]["qty"])
    assert sizes == [1, 2, 1, 2]
    [left] = await floor.rows("SELECT qty FROM residues WHERE follower_id = %s", follower)
    assert left["qty"] == 0


async def test_a_wave_carries_as_an_expansion_does(floor: Floor) -> None:
    follower = await floor.follower(scale=D("0.15"))
    admission = await floor.admit()
    page = await floor.page(admission.mo_id)
    assert len(await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))) == 1
    await expand(floor, admission)
    [left] = await floor.rows("SELECT qty FROM residues WHERE follower_id = %s", follower)
    assert left["qty"] == D("0.5")


@pytest.mark.parametrize("stored", [True, False])
async def test_orders_under_way_count_for_the_cap_whether_or_not_they_are_stored(floor: Floor, stored: bool) -> None:
    follower = await floor.follower(max_pos_usd=D(3_000))  # 15 at 200 USD
    first = await floor.admit()
    if stored:
        row = (await expand(floor, first))[follower]
        assert await deliver(floor, row["fo_id"], SILENT) is FollowerState.UNKNOWN
    second = await expand(floor, await floor.admit(qty="20"))
    assert (second[follower]["qty"], second[follower]["cap_applied"]) == (5, True)


async def test_two_exits_under_way_never_sell_more_than_is_held(floor: Floor) -> None:
    follower = await floor.follower()
    await fill(floor, await expand(floor, await floor.admit()))
    half = await expand(floor, await floor.admit(side="sell", qty="5"))
    assert half[follower]["qty"] == 5
    rest = await expand(floor, await floor.admit(side="sell", qty="5"))
    assert rest[follower]["qty"] == 5
    held = await floor.rows("SELECT qty FROM positions WHERE holder_id = %s", follower)
    assert [row["qty"] for row in held] == [10]


async def test_a_balance_that_was_read_before_an_order_is_not_spent_twice(floor: Floor) -> None:
    follower = await floor.follower()
    await floor.rows("UPDATE followers SET funds_usd = 2500, funds_asof = now() WHERE follower_id = %s", follower)
    first = await floor.admit()
    await fill(floor, await expand(floor, first))
    await over(floor, first.mo_id)
    second = await expand(floor, await floor.admit())
    assert second[follower]["qty"] == 2  # 500 USD are left of 2,500
    third = await expand(floor, await floor.admit())
    assert (third[follower]["state"], third[follower]["reason"]) == ("skipped", "no_funds")


async def overlay(floor: Floor, kind: str, params: str, follower: str | None = None, minutes: int = 30) -> str:
    overlay_id = f"O_{kind}_{floor.vault_id}_{follower}"[:64]
    await floor.rows(
        "INSERT INTO overlays (overlay_id, tenant_id, vault_id, follower_id, kind, params, expires_at, actor, reason) "
        "VALUES (%s, %s, %s, %s, %s, %s, now() + make_interval(mins => %s), 'user:test', '')",
        overlay_id, floor.tenant_id, floor.vault_id, follower, kind, params, minutes,
    )  # fmt: skip
    return overlay_id


async def test_flips_and_boosts_are_part_of_the_snapshot(floor: Floor) -> None:
    calm, other = await floor.follower(persona="athena"), await floor.follower()
    before = await floor.admit(meta={"conviction": {"score": D("0.9")}})
    flip = await overlay(floor, "flip", '{"amplify": "0.35"}', follower=other)
    await overlay(floor, "boost", '{"persona": "athena", "delta": "0.5"}')
    await overlay(floor, "flip", '{"persona": "apollo"}', minutes=-1)
    after = await expand(floor, await floor.admit())
    assert (after[calm]["qty"], after[other]["qty"]) == (9, 13)  # 10 × 0.6 × 1.5, 10 × 1.35
    assert any(step["rule"] == "flip" and flip in step["why"] for step in after[other]["trace"])
    earlier = await expand(floor, before)
    assert (earlier[calm]["qty"], earlier[other]["qty"]) == (6, 10)


HEDGED = f'{{"hedge": {{"symbol": "{COIN}H", "ratio": "0.5"}}}}'


@pytest.fixture
async def hedged(floor: Floor) -> Floor:
    await hedge(floor)
    return floor


async def hedge(floor: Floor) -> None:
    """Have the vault hedge with an instrument at 100 USD."""
    symbol, registry = f"{COIN}H", floor.registry
    await registry.upsert_instrument(
        Instrument(symbol=symbol, venue="TEST", rail="fiat", qty_step=D(1), fine_step=D("0.001"), min_qty=D(0),
                   min_notional=D(0), tradable=True)
    )  # fmt: skip
    await registry.upsert_price(Price(symbol=symbol, price=D(100), asof=datetime.now(UTC), source="test"))
    await set_risk_profile(floor, HEDGED)


async def test_a_hedge_waits_for_what_it_hedges_and_is_unwound_with_it(hedged: Floor) -> None:
    follower = await hedged.follower(persona="nemesis")
    await hedged.rows("UPDATE followers SET allow_short = true WHERE follower_id = %s", follower)
    orders = await expand(hedged, await hedged.admit())
    main, leg = orders[follower], orders[f"{follower}/1"]
    assert (main["qty"], leg["symbol"], leg["side"], leg["qty"]) == (8, f"{COIN}H", "sell", 8)
    assert await deliver(hedged, leg["fo_id"]) is FollowerState.SIZED
    assert await deliver(hedged, main["fo_id"]) is FollowerState.CONFIRMED
    assert await deliver(hedged, leg["fo_id"]) is FollowerState.CONFIRMED
    [held] = await hedged.rows("SELECT symbol, hedge_symbol, qty FROM hedges WHERE follower_id = %s", follower)
    assert held == {"symbol": EQUITY, "hedge_symbol": f"{COIN}H", "qty": -8}
    out = await expand(hedged, await hedged.admit(side="sell", qty="10"))
    assert (out[f"{follower}/1"]["side"], out[f"{follower}/1"]["qty"]) == ("buy", 8)
    await fill(hedged, {"main": out[follower]})
    await fill(hedged, {"leg": out[f"{follower}/1"]})
    positions = await hedged.rows("SELECT qty FROM positions WHERE holder_id = %s", follower)
    assert [row["qty"] for row in positions] == [0, 0]


async def test_a_hedge_of_nothing_is_cancelled(hedged: Floor) -> None:
    follower = await hedged.follower(persona="nemesis")
    await hedged.rows("UPDATE followers SET allow_short = true WHERE follower_id = %s", follower)
    orders = await expand(hedged, await hedged.admit())
    refused = SendOutcome(OutcomeKind.FINAL, "http_400")
    assert await deliver(hedged, orders[follower]["fo_id"], refused) is FollowerState.REJECTED
    assert await deliver(hedged, orders[f"{follower}/1"]["fo_id"]) is FollowerState.CANCELLED


async def test_a_wave_leaves_hedges_to_their_owners(hedged: Floor) -> None:
    await hedged.follower(persona="nemesis")
    admission = await hedged.admit()
    page = await hedged.page(admission.mo_id)
    assert [order.leg for order in page.orders] == [0]
    assert [order.leg for order in page.everything] == [0, 1]


async def admit_kind(floor: Floor, kind: str, only: str | None = None, **more: Any) -> Admission:
    order = manager_order(floor.tenant_id, floor.vault_id, kind=kind, only_follower_id=only, **more)
    store: AdmissionStore = admission_store(floor.database)
    return await store.admit(order, datetime.now(UTC))


async def test_a_flatten_closes_what_each_follower_holds_and_leaves_the_vault(floor: Floor) -> None:
    small, none = await floor.follower(scale=D("0.3")), await floor.follower(scale=D("0.01"))
    await fill(floor, await expand(floor, await floor.admit()))
    orders = await expand(floor, await admit_kind(floor, FLATTEN, side="sell", qty="10"))
    assert (orders[small]["side"], orders[small]["qty"]) == ("sell", 3)
    assert orders[none]["state"] == "skipped"
    [vault] = await floor.rows("SELECT qty FROM positions WHERE holder_id = %s", floor.vault_id)
    assert vault["qty"] == 10


async def test_a_correction_concerns_one_follower_and_exactly_its_quantity(floor: Floor) -> None:
    one, other = await floor.follower(scale=D("0.5")), await floor.follower()
    await fill(floor, await expand(floor, await floor.admit()))
    sell = await expand(floor, await admit_kind(floor, CORRECTION, one, side="sell", qty="2"))
    assert {f: row["qty"] for f, row in sell.items()} == {one: 2}
    await fill(floor, sell)
    too_much = await expand(floor, await admit_kind(floor, CORRECTION, one, side="sell", qty="50"))
    assert too_much[one]["qty"] == 3
    buy = await expand(floor, await admit_kind(floor, CORRECTION, other, side="buy", qty="1"))
    assert buy[other]["qty"] == 1


async def test_more_than_was_allotted_does_not_leave(floor: Floor) -> None:
    follower = await floor.follower()
    orders = await expand(floor, await floor.admit())
    # A worker gone wrong has made itself a second order of the same page.
    await floor.rows(
        "INSERT INTO follower_orders (fo_id, tenant_id, mo_id, follower_id, vault_id, shard, leg, symbol, side, qty, "
        "cap_applied, state, route) SELECT fo_id || 'X', tenant_id, mo_id, follower_id, vault_id, shard, 0, symbol, "
        "side, qty, false, 'sized', route FROM follower_orders WHERE fo_id = %s",
        orders[follower]["fo_id"],
    )
    assert await deliver(floor, orders[follower]["fo_id"]) is FollowerState.CONFIRMED
    with pytest.raises(ExitBreach, match="exceed"):
        await deliver(floor, orders[follower]["fo_id"] + "X")
    [row] = await floor.rows("SELECT state FROM follower_orders WHERE fo_id = %s", orders[follower]["fo_id"] + "X")
    assert row["state"] == "sized"
    [vault] = await floor.rows("SELECT halt FROM vaults WHERE vault_id = %s", floor.vault_id)
    assert vault["halt"] == "halt_all"
    assert await deliver(floor, orders[follower]["fo_id"] + "X") is FollowerState.KILLED
    told = await floor.rows("SELECT action FROM audit_events WHERE actor = 'system:router-exit' ORDER BY event_id")
    assert [event["action"] for event in told] == ["exit_breach", "overlay_started"]
