"""A manager order through the real workflows, workers, database and sockets."""

from decimal import Decimal

from domain.sizing import Mode
from simulators.receiver import Behaviour
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
    assert 0.85 < second.at - first.at < 2.5
    assert 4.4 < third.at - second.at < 7.5
    assert all(r.vanta_valid and r.standard_valid for r in delivery.receptions)
