"""Coins that are paid for with money that has to be changed first: USD into USDC, and then the order, at Coinbase."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from models import Instrument, Price
from stack.dev_token import dev_token
from tests.api.conftest import SCOPES, serve
from tests.world import World

COIN, PEG = "BTC-USDC", "USDC-USD"
PRICE = Decimal(61_000)
USD_ONLY: dict[str, Any] = {"cash": Decimal(10_000), "wallets": {"USD": Decimal(10_000), "USDC": Decimal(0)}}


@pytest.fixture
async def market(world: World) -> AsyncIterator[World]:
    for symbol, price, tradable in ((COIN, PRICE, True), (PEG, Decimal(1), False)):
        await world.registry.upsert_instrument(
            Instrument(symbol=symbol, venue="coinbase", rail="crypto", qty_step=Decimal(1),
                       fine_step=Decimal("0.00000001"), min_qty=Decimal(0), min_notional=Decimal(1), tradable=tradable)
        )  # fmt: skip
        await world.registry.upsert_price(Price(symbol=symbol, price=price, asof=datetime.now(UTC), source="test"))
    world.coinbase.set_product(COIN, PRICE)
    yield world
    world.coinbase.set_conversions()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    token = dev_token(
        world.settings, tenant_id=uuid.UUID(world.tenant_id), role="owner", scopes=" ".join(SCOPES), subject="ops"
    )
    async with serve(world.settings) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


async def bought(world: World, follower: str, vault: str, qty: str = "0.1") -> dict[str, Any]:
    """The follower's order, when the manager's is over."""
    admission = await world.submit(vault, "buy", qty, COIN)
    await world.settled(admission.mo_id)
    return (await world.follower_orders(admission.mo_id))[follower]


def wallet(world: World, follower: str, currency: str) -> Decimal:
    return world.coinbase.exchange.accounts[follower].wallets[currency]


async def test_an_account_with_usd_only_buys_for_usdc(market: World, http: httpx.AsyncClient):
    market.coinbase.set_conversions(fee_bps=Decimal(10))
    vault = await market.vault()
    routed = await market.coiner(vault, account=USD_ONLY, convert=True)
    plain = await market.coiner(vault, account={**USD_ONLY, "wallets": {"USDC": Decimal(20_000)}})
    admission = await market.submit(vault, "buy", "0.1", COIN)
    await market.settled(admission.mo_id)
    orders = await market.follower_orders(admission.mo_id)
    assert {f: (o["state"], o["filled_qty"]) for f, o in orders.items()} == {
        routed: ("confirmed", Decimal("0.1")), plain: ("confirmed", Decimal("0.1")),
    }  # fmt: skip
    # 6,100 with 1 % of room for the price and 1.2 % for the venue's fee.
    assert wallet(market, routed, "USD") == Decimal(10_000) - Decimal("6234.94")
    assert len(market.coinbase.conversions(routed)) == 1
    assert await market.holding(routed, COIN) == Decimal("0.1")

    shown = (await http.get(f"/v1/follower-orders/{orders[routed]['fo_id']}")).json()
    assert [(leg["kind"], leg["state"]) for leg in shown["legs"]] == [("convert", "done"), ("trade", "planned")]
    assert (shown["legs"][0]["amount"], shown["legs"][0]["fee"]) == ("6234.94", "6.23494")
    assert (shown["legs"][1]["received"], shown["legs"][1]["fee"]) == ("0.1", "0")
    assert shown["explanation"]["money"][0]["text"] == (
        "Leg 1 of 2: 6,234.94 USD were changed into 6,228.71 USDC, for a fee of 6.23 USDC."
    )
    preview = (
        await http.get(f"/v1/followers/{routed}/preview", params={"symbol": COIN, "side": "buy", "qty": "0.1"})
    ).json()
    assert preview["money"]["balances_asof"] is not None


async def test_off_its_peg_the_order_is_refused_in_words(market: World, http: httpx.AsyncClient):
    await market.registry.upsert_price(Price(symbol=PEG, price=Decimal("0.97"), asof=datetime.now(UTC), source="test"))
    vault = await market.vault()
    follower = await market.coiner(vault, account=USD_ONLY, convert=True)
    order = await bought(market, follower, vault)
    assert (order["state"], order["reason"]) == ("dead_letter", "depegged")
    shown = (await http.get(f"/v1/follower-orders/{order['fo_id']}")).json()
    assert "USDC is at 0.97 USD, 300 bps off its peg" in shown["explanation"]["text"]
    assert wallet(market, follower, "USD") == Decimal(10_000)


async def test_a_conversion_whose_answer_is_lost_is_not_made_twice(market: World):
    market.coinbase.set_conversions(lost_answers=1)
    vault = await market.vault()
    follower = await market.coiner(vault, account=USD_ONLY, convert=True)
    order = await bought(market, follower, vault)
    assert order["state"] == "confirmed"
    assert len(market.coinbase.conversions(follower)) == 1
    assert wallet(market, follower, "USD") == Decimal(10_000) - Decimal("6234.94")
    told = await market.rows(
        "SELECT action FROM audit_events WHERE entity = 'order_leg' AND entity_id = %s ORDER BY event_id",
        order["fo_id"],
    )
    assert [event["action"] for event in told] == ["planned", "planned", "quoted", "committing", "done", "traded"]


async def test_an_order_that_fails_leaves_usdc_says_so_and_a_redrive_buys_with_it(
    market: World, http: httpx.AsyncClient
):
    vault = await market.vault()
    follower = await market.coiner(vault, account={**USD_ONLY, "trading_blocked": True}, convert=True)
    order = await bought(market, follower, vault)
    assert (order["state"], order["reason"]) == ("dead_letter", "leg_failed")
    assert order["last_error"].startswith("leg 2 of 2 failed: ")
    assert order["last_error"].endswith("the account holds 6,234.94 USDC of it")
    assert wallet(market, follower, "USDC") == Decimal("6234.94")

    market.coinbase.exchange.accounts[follower].trading_blocked = False
    [letter] = (await http.get("/v1/dead-letters", params={"mo_id": order["mo_id"], "state": "open"})).json()["items"]
    body = {"dead_letter_ids": [letter["dead_letter_id"]]}
    answer = await http.post("/v1/dead-letters/redrive", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    assert answer.status_code == 200, answer.text
    await market.until(order["mo_id"], lambda orders: orders[follower]["state"] == "confirmed", timeout_s=60)
    assert len(market.coinbase.conversions(follower)) == 1
    assert await market.holding(follower, COIN) == Decimal("0.1")
