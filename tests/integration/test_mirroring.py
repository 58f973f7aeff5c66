"""A manager order through the real workflows, workers, database and sockets."""

from decimal import Decimal
from typing import Any

from domain.sizing import Mode
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Life
from simulators.receiver import Behaviour
from temporal import ids, search_attributes
from tests.integration.workers import workers_with
from tests.world import World


async def test_an_order_reaches_every_follower_in_its_size(world: World):
    vault = await world.vault()
    plain = await world.webhook(vault)
    half = await world.webhook(vault, scale=Decimal("0.5"))
    capped = await world.webhook(vault, mode=Mode.CAPPED, max_pos_usd=Decimal(1_000))
    killed = await world.webhook(vault, kill_switch=True)
    shadow = await world.shadow(vault)
    bridged = await world.bridged(vault)

    admission = await world.submit(vault, "buy", 10)
    result = await world.settled(admission.mo_id)

    orders = await world.follower_orders(admission.mo_id)
    assert {f: (o["state"], o["qty"]) for f, o in orders.items()} == {
        plain: ("confirmed", 10),
        half: ("confirmed", 5),
        capped: ("confirmed", 5),
        killed: ("killed", 0),
        shadow: ("shadowed", 10),
        bridged: ("confirmed", 10),
    }
    assert result.state == "settled"
    assert await world.holding(plain) == 10
    assert await world.holding(bridged) == 10
    assert await world.holding(vault) == 10
    assert len(world.receiver.deliveries(killed)) == 0


async def test_a_failing_endpoint_recovers_on_its_third_attempt(world: World):
    vault = await world.vault()
    flaky = await world.webhook(vault, Behaviour(kind="fail", times=2))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[flaky]
    assert (order["state"], order["dispatch_attempts"]) == ("confirmed", 3)
    attempts = await world.rows("SELECT * FROM attempts WHERE fo_id = %s ORDER BY attempt_no", order["fo_id"])
    assert [(a["via"], a["code"]) for a in attempts] == [("wave", "http_500"), ("order", "http_500"), ("order", "ack")]
    delivery = world.receiver.delivery(order["fo_id"])
    assert delivery is not None
    first, second, third = delivery.receptions
    # Never early; late by as long as a busy machine takes, but each within the next one's wait.
    assert 0.85 < second.at - first.at < 4.4
    assert 4.4 < third.at - second.at < 13
    assert all(r.vanta_valid and r.standard_valid for r in delivery.receptions)


async def test_a_partial_sell_reduces_every_holding_by_the_managers_fraction(world: World):
    vault = await world.vault()
    whole = await world.webhook(vault)
    third = await world.webhook(vault, scale=Decimal("0.3"))
    bridged = await world.bridged(vault)
    await world.settled((await world.submit(vault, "buy", 10)).mo_id)
    sale = await world.submit(vault, "sell", 4)
    await world.settled(sale.mo_id)
    assert [await world.holding(f) for f in (whole, third, bridged, vault)] == [6, 2, 6, 6]
    leaving = await world.submit(vault, "sell", 6)
    await world.settled(leaving.mo_id)
    assert [await world.holding(f) for f in (whole, third, bridged, vault)] == [0, 0, 0, 0]


async def test_the_same_key_is_the_same_order_while_it_runs_and_after_it_has_ended(world: World):
    vault = await world.vault()
    await world.webhook(vault)
    first = await world.submit(vault, "buy", 10, key="only-once")
    again = await world.submit(vault, "buy", 10, key="only-once")
    assert again == first
    await world.settled(first.mo_id)
    assert await world.resubmit_ended(vault, "buy", 10, key="only-once") is None
    assert await world.holding(vault) == 10
    assert len(await world.rows("SELECT 1 FROM manager_orders WHERE vault_id = %s", vault)) == 1


async def test_a_refused_order_is_recorded_with_its_reason_and_reaches_nobody(world: World):
    vault = await world.vault(max_order_qty="5")
    await world.webhook(vault)
    admission = await world.submit(vault, "buy", 10)
    assert (admission.accepted, admission.code, admission.field) == (False, "max-qty", "qty")
    [mo] = await world.rows("SELECT state, reason FROM manager_orders WHERE mo_id = %s", admission.mo_id)
    assert mo["state"] == "rejected"
    assert await world.follower_orders(admission.mo_id) == {}
    assert await world.holding(vault) == 0


async def test_a_follower_that_is_killed_while_its_order_waits_for_a_retry_gets_no_further_attempt(world: World):
    vault = await world.vault()
    failing = await world.webhook(vault, Behaviour(kind="fail"))
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: o[failing]["dispatch_attempts"] == 2)
    await world.rows("UPDATE followers SET kill_switch = true WHERE follower_id = %s RETURNING 1", failing)
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[failing]
    assert (order["state"], order["reason"], order["dispatch_attempts"]) == ("killed", "kill_switch", 2)


async def test_an_endpoint_that_is_gone_is_disabled_and_skipped_next_time(world: World):
    vault = await world.vault()
    gone = await world.webhook(vault, Behaviour(kind="fail", status=410))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    assert (await world.follower_orders(admission.mo_id))[gone]["state"] == "rejected"
    events = await world.rows("SELECT action FROM audit_events WHERE entity_id = %s ORDER BY event_id", gone)
    assert [e["action"] for e in events] == ["created", "endpoint_disabled"]
    second = await world.submit(vault, "buy", 10)
    await world.settled(second.mo_id)
    order = (await world.follower_orders(second.mo_id))[gone]
    assert (order["state"], order["reason"]) == ("skipped", "endpoint_disabled")


async def test_a_receiver_that_confirms_a_part_leaves_the_order_partially_filled_until_a_cancel(world: World):
    vault = await world.vault()
    answer = '{"fills": [{"fill_id": "a", "qty": "4", "price": "199.5"}]}'
    part = await world.webhook(vault, Behaviour(answer=answer))
    admission = await world.submit(vault, "buy", 10)
    await world.until(admission.mo_id, lambda o: o[part]["state"] == "partially_filled")
    assert await world.holding(part) == 4
    assert await world.orders.cancel(admission.mo_id, actor="user:test") is not None
    await world.settled(admission.mo_id)
    order = (await world.follower_orders(admission.mo_id))[part]
    assert (order["state"], order["reason"]) == ("dead_letter", "unconfirmed")


async def test_a_cancel_in_mid_wave_stops_the_pages_to_come_and_reaches_what_is_open_at_the_broker(world: World):
    vault = await world.vault()
    stuck = Trading(life=Life(ending="stuck", steps=2, fill_steps=1))
    webhooks = {await world.webhook(vault, Behaviour(delay_ms=1_500)) for _ in range(36)}
    accounts = {await world.bridged(vault, stuck) for _ in range(12)}

    def in_mid_wave(orders: dict[str, dict[str, Any]]) -> bool:
        states = {(o["route"], o["state"]) for o in orders.values()}
        return ("webhook", "confirmed") in states and ("alpaca", "sent") in states

    async with workers_with(world, {"VANTA_DISPATCH__PAGE_SIZE": "8", "VANTA_DISPATCH__WAVES_AT_ONCE": "2"}):
        mo_id = (await world.submit(vault, "buy", 10, tif="gtc")).mo_id
        await world.until(mo_id, in_mid_wave)
        before = await world.follower_orders(mo_id)
        answer = await world.orders.cancel(mo_id, actor="user:test")
        after = await world.follower_orders(mo_id)
        await world.settled(mo_id)

    assert answer is not None
    orders = await world.follower_orders(mo_id)
    assert set(after) == set(orders) == webhooks | accounts
    ended = len(orders) - answer.cancelled - answer.in_flight
    assert 0 < _confirmed(before) <= ended <= _confirmed(after)
    # Whom the answer called cancelled is never sent to, and all the others' attempts had begun before it.
    unsent = {f for f, o in orders.items() if o["dispatch_attempts"] == 0}
    assert unsent == {f for f, o in after.items() if o["dispatch_attempts"] == 0}
    assert len(unsent) == answer.cancelled > 0
    for follower_id, order in orders.items():
        delivery, booked = world.receiver.delivery(order["fo_id"]), world.alpaca.control.orders(order["fo_id"])
        if follower_id in unsent:
            assert (order["state"], order["reason"]) == ("cancelled", "manager_order_cancelled")
            assert (delivery, booked) == (None, [])
        elif follower_id in webhooks:
            assert (order["state"], order["dispatch_attempts"]) == ("confirmed", 1)
        else:
            assert (order["state"], order["filled_qty"], order["dispatch_attempts"]) == ("cancelled", 5, 1)


def _confirmed(orders: dict[str, dict[str, Any]]) -> int:
    return sum(o["state"] == "confirmed" for o in orders.values())


async def test_the_console_says_what_the_order_is_and_why_it_was_given(world: World):
    vault = await world.vault()
    meta = {"reason_vector": ["breakout"], "conviction": {"score": "0.8", "band": "high"}}
    admission = await world.submit(vault, "buy", 10, meta=meta)
    await world.settled(admission.mo_id)
    described = await world.temporal.get_workflow_handle(ids.mirror(admission.mo_id)).describe()
    assert await described.static_summary() == f"buy 10 AAPL on {vault}"
    details = await described.static_details()
    assert details == "by user:test through api\n\n- breakout\n- conviction: score 0.8, band high"
    assert described.typed_search_attributes[search_attributes.STATE] == "settled"
