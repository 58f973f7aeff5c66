"""The wave is an accelerator: with and without it, every follower's order takes the same path to the same end."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from domain import signing
from domain.enrolment import BrokerAccount, NewFollower
from domain.orders import FOLLOWER_ENDS
from domain.sizing import Mode
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
from simulators.receiver import Behaviour
from tests.adapters.store.subscribers import CORE, subscribe, subscriber
from tests.integration.workers import workers_with
from tests.world import ACTOR, World

PAGE_SIZE = 4
# Each one's trouble is over within seconds. What is left open in part ends with the cancel.
WEBHOOKS: dict[str, Behaviour] = {
    "confirming": Behaviour(),
    "confirming_with_fills": Behaviour(fill_price="201.25"),
    "confirming_a_part": Behaviour(answer='{"fills": [{"fill_id": "a", "qty": "3", "price": "199.5"}]}'),
    "slow": Behaviour(delay_ms=1200),
    "failing_once": Behaviour(kind="fail", times=1),
    "failing_twice": Behaviour(kind="fail", status=503, times=2),
    "busy_once": Behaviour(kind="fail", status=429, retry_after="2", times=1),
    "dropping_once": Behaviour(kind="drop", times=1),
    "silent_once": Behaviour(kind="hang", times=1),
    "silent_once_after_processing": Behaviour(kind="process_then_hang", times=1),
    "answering_too_much_once": Behaviour(kind="huge", huge_bytes=1_000_000, times=1),
    "answering_too_slowly_once": Behaviour(kind="drip", times=1),
    "refusing": Behaviour(kind="fail", status=400),
    "gone": Behaviour(kind="fail", status=410),
    "redirecting": Behaviour(kind="redirect"),
}
ACCOUNTS: dict[str, Trading] = {
    "broker_filling": Trading(),
    "broker_rejecting": Trading(life=Life(ending="rejected")),
    "broker_expiring": Trading(life=Life(ending="expired")),
    "broker_stuck_in_part": Trading(life=Life(ending="stuck", steps=2, fill_steps=1)),
    **{
        f"broker_{kind}": Trading(fault=Fault(kind=kind, delay_ms=200, retry_after_s=1))
        for kind in FaultKind
        if kind != FaultKind.NONE
    },
}
TERMS: dict[str, dict[str, Any]] = {
    "half": {"scale": Decimal("0.5")},
    "fractional_third": {"scale": Decimal("0.3333"), "fractional": True},
    "capped": {"mode": Mode.CAPPED, "max_pos_usd": Decimal(1_000)},
    "at_its_cap": {"mode": Mode.CAPPED, "max_pos_usd": Decimal(1_000)},
    "killed": {"kill_switch": True},
}
OTHERS = ("shadow", "without_a_route")
# They hold five, which they may reduce, whatever their subscribers have.
SUBSCRIBERS: dict[str, dict[str, Any]] = {
    "closed": {"status": "unpaid", "close_only": True},
    "without_its_mode": {"status": "active", "plan": replace(CORE, modes=())},
}
UNSENT = {
    "at_its_cap": "at_cap", "killed": "kill_switch", "shadow": None, "without_a_route": "no_route",
    "closed": "close_only", "without_its_mode": "not_entitled",
}  # fmt: skip
LABELS = (*WEBHOOKS, *ACCOUNTS, *TERMS, *OTHERS, *SUBSCRIBERS)

_FIELDS = ("state", "qty", "cap_applied", "reason", "route", "trace", "dispatch_attempts", "filled_qty", "avg_price")
_DONE = {state.value for state in FOLLOWER_ENDS} | {"partially_filled"}


@dataclass(frozen=True)
class Crowd:
    """A vault with a follower of every kind, under names that sort alike wherever it is built: pages are by name."""

    world: World
    vault: str
    labels: dict[str, str]  # follower id → label


@dataclass(frozen=True)
class Outcome:
    """What became of one manager order: by follower, and who made each follower's attempts."""

    state: str
    counts: dict[str, int]
    shards: int
    orders: dict[str, dict[str, Any]]
    via: dict[str, list[str]]


@pytest.mark.timeout(900)  # mostly waits for real time-outs, twice; on a machine with other work they grow with it
async def test_without_the_wave_every_follower_order_ends_the_same(world: World):
    page_size = {"VANTA_DISPATCH__PAGE_SIZE": str(PAGE_SIZE)}
    async with workers_with(world, page_size):
        waved, held_then = await _trade(world)
    async with workers_with(world, {**page_size, "VANTA_DISPATCH__WAVE": "false"}):
        alone, held_now = await _trade(world)

    unsent = {label for label, via in waved[0].via.items() if not via}
    assert {label: waved[0].orders[label]["reason"] for label in unsent} == UNSENT
    for one, other in zip(waved, alone, strict=True):
        _check_ways(one, first="wave")
        _check_ways(other, first="order")
        for label in LABELS:
            assert one.orders[label] == other.orders[label], label
        assert (one.state, one.counts) == (other.state, other.counts)
        assert one.shards == other.shards == -(-len(LABELS) // PAGE_SIZE)
    assert held_then == held_now
    assert {held_now[label][1] for label in SUBSCRIBERS} == {0}


def _check_ways(outcome: Outcome, *, first: str) -> None:
    """The comparison means nothing unless the two runs went different ways."""
    attempted = {label: via for label, via in outcome.via.items() if via}
    assert len(attempted) >= len(WEBHOOKS) - 1
    assert {label: via[0] for label, via in attempted.items()} == dict.fromkeys(attempted, first)
    assert {later for via in attempted.values() for later in via[1:]} == {"order"}


async def _trade(world: World) -> tuple[list[Outcome], dict[str, Any]]:
    crowd = await _enrol(world)
    outcomes = [await _order(crowd, side, qty) for side, qty in (("buy", 10), ("sell", 4), ("sell", 6))]
    return outcomes, await _positions(crowd)


async def _order(crowd: Crowd, side: str, qty: int) -> Outcome:
    world = crowd.world
    admission = await world.submit(crowd.vault, side, qty)
    assert admission.accepted
    await _until_done(crowd, admission.mo_id)
    if any(o["state"] == "partially_filled" for o in (await world.follower_orders(admission.mo_id)).values()):
        await world.orders.cancel(admission.mo_id, actor=ACTOR)
    result = await world.settled(admission.mo_id)
    return await _outcome(crowd, admission.mo_id, result.state, result.counts, admission.shards)


async def _until_done(crowd: Crowd, mo_id: str) -> None:
    """Until all that is left to wait for is a cancel; fails the test with the states of those that are on their way."""

    def done(orders: dict[str, dict[str, Any]]) -> bool:
        return len(orders) == len(LABELS) and all(o["state"] in _DONE for o in orders.values())

    try:
        await crowd.world.until(mo_id, done)
    except TimeoutError:
        orders = await crowd.world.follower_orders(mo_id)
        states = {crowd.labels[name]: (o["state"], o["last_error"]) for name, o in orders.items()}
        pytest.fail(f"{len(orders)} orders: { ({k: v for k, v in states.items() if v[0] not in _DONE}) }")


async def _outcome(crowd: Crowd, mo_id: str, state: str, counts: dict[str, int], shards: int) -> Outcome:
    orders: dict[str, dict[str, Any]] = {}
    via: dict[str, list[str]] = {}
    for follower_id, order in (await crowd.world.follower_orders(mo_id)).items():
        label, fo_id = crowd.labels[follower_id], order["fo_id"]
        attempts = await crowd.world.rows(
            "SELECT via, outcome, code, http_status FROM attempts WHERE fo_id = %s ORDER BY attempt_no", fo_id
        )
        events = await crowd.world.rows(
            "SELECT action, payload FROM audit_events WHERE entity = 'follower_order' AND entity_id = %s "
            "AND action <> 'fill' ORDER BY event_id",
            fo_id,
        )
        via[label] = [attempt.pop("via") for attempt in attempts]
        delivery = crowd.world.receiver.delivery(fo_id)
        orders[label] = {name: order[name] for name in _FIELDS} | {
            "shard": order["shard"],
            "attempts": attempts,
            "path": [event["action"] for event in events],
            "steps": [(event["payload"].get("from"), event["payload"]["to"]) for event in events],
            "received": None if delivery is None else (delivery.received, delivery.processed),
            "booked": [row["booked"] for row in crowd.world.alpaca.control.orders(fo_id)],
        }
    return Outcome(state, counts, shards, orders, via)


async def _positions(crowd: Crowd) -> dict[str, Any]:
    names = {**crowd.labels, crowd.vault: "vault"}
    found = await crowd.world.rows(
        "SELECT holder_id, symbol, qty, avg_price FROM positions WHERE holder_id = ANY(%s)", list(names)
    )
    return {names[row["holder_id"]]: (row["symbol"], row["qty"], row["avg_price"]) for row in found}


async def _enrol(world: World) -> Crowd:
    vault = await world.vault()
    labels: dict[str, str] = {}
    for number, label in enumerate(LABELS):
        # Neighbours on a page are of different kinds: webhooks, accounts and those that get nothing.
        follower_id = f"F_{number * 97 % len(LABELS):02}-{vault[-12:]}"
        assert follower_id not in labels
        labels[follower_id] = label
        await _enrol_one(world, vault, label, follower_id)
    return Crowd(world, vault, labels)


async def _enrol_one(world: World, vault: str, label: str, follower_id: str) -> None:
    terms: dict[str, Any] = dict(TERMS.get(label, {}))
    account = BrokerAccount("alpaca", follower_id, "secret")
    if label in ACCOUNTS:
        world.alpaca.add_account(follower_id, "secret", behaviour=ACCOUNTS[label])
        terms["equities"] = account
    elif label == "without_a_route":
        terms["crypto"] = account  # for another rail than the order's
    elif label == "shadow":
        terms["mode"] = Mode.SHADOW
    else:
        if label in SUBSCRIBERS:
            terms["subscriber_tenant_id"] = await subscriber(world.database, world.registry)
        terms["webhook_url"] = world.receiver.url(follower_id)
    new = NewFollower(vault_id=vault, label=label, follower_id=follower_id, **terms)
    made = await world.registry.create_follower(world.tenant_id, new, actor=ACTOR, once=world.once())
    if made.signing_secret is not None:
        key = signing.parse_secret(made.signing_secret)
        world.receiver.expect(follower_id, key=key, behaviour=WEBHOOKS.get(label))
    if label in SUBSCRIBERS:
        await subscribe(world.database, terms["subscriber_tenant_id"], **SUBSCRIBERS[label])
    if label in {"at_its_cap", *SUBSCRIBERS}:
        await world.rows(
            "INSERT INTO positions (tenant_id, holder_id, symbol, qty, avg_price) VALUES (%s, %s, 'AAPL', 5, 200) "
            "RETURNING 1",
            world.tenant_id,
            follower_id,
        )
