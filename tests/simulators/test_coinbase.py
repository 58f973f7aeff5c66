"""The simulated Coinbase, by our adapter where that is enough and by hand where it is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import jwt
import pytest

from adapters.brokers.coinbase import CoinbaseBroker
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, VenueOrder, VenueStatus
from domain.venues import ConversionStatus, Flag
from simulators.coinbase import Behaviour, CoinbaseSimulator, Fault, FaultKind, Life
from tests.adapters.brokers.coinbase_canned import PRIVATE, PUBLIC, new_key

BUY = ChildOrder("FO-1", "BTC-USD", Side.BUY, Decimal("0.01"), OrderType.MARKET, TimeInForce.DAY)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Place:
    simulator: CoinbaseSimulator
    broker: CoinbaseBroker
    credentials: BrokerCredentials

    async def submit(self, order: ChildOrder = BUY, **changes: Any) -> tuple[OutcomeKind, str]:
        outcome = await self.broker.submit(self.credentials, replace(order, **changes))
        return outcome.kind, outcome.code


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with CoinbaseSimulator(rate_limit=10_000) as simulator:
        # The venue keeps the public half alone.
        simulator.add_account("K1", PUBLIC, cash=Decimal(10_000), positions={"BTC": Decimal(1)})
        broker = CoinbaseBroker(
            live_url="", paper_url=simulator.url, paper_stream_url=simulator.stream_url, timeout_ms=2_000
        )
        try:
            yield Place(simulator, broker, BrokerCredentials("cred-1", "K1", PRIVATE))
        finally:
            await broker.close()


async def test_an_order_in_the_wrong_quote_currency_finds_no_wallet(place: Place):
    assert await place.submit(symbol="BTC-USDC") == (OutcomeKind.FINAL, "insufficient_funds")
    outcome = await place.broker.submit(place.credentials, replace(BUY, symbol="BTC-USDC"))
    assert "account is not available" in outcome.detail


async def test_the_wallet_that_is_debited_follows_the_product_and_the_coin_is_the_same(place: Place):
    place.simulator.add_account("K2", PUBLIC, cash=Decimal(0), wallets={"USDC": Decimal(1_000)})
    second = replace(place.credentials, ref="cred-2", key_id="K2")
    outcome = await place.broker.submit(second, replace(BUY, symbol="BTC-USDC"))
    assert outcome.kind is OutcomeKind.ACK
    [held] = await place.broker.positions(second)
    assert (held.symbol, held.qty) == ("BTC-USD", Decimal("0.01"))
    balances = await place.broker.balances(second)
    assert (balances["USD"], balances["USDC"]) == (Decimal(0), Decimal(390))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"qty": Decimal("0.00000001")}, "below_minimum"),
        ({"qty": Decimal("0.000000015")}, "invalid_order"),
        ({"symbol": "NO-SUCH"}, "unknown_symbol"),
        ({"qty": Decimal(1)}, "insufficient_funds"),
        ({"side": Side.SELL, "qty": Decimal(2)}, "insufficient_funds"),
        ({"order_type": OrderType.LIMIT, "limit_price": Decimal("60000.001")}, "invalid_order"),
    ],
)
async def test_what_the_product_or_the_wallet_does_not_take_is_refused(place: Place, changes: Any, code: str):
    assert await place.submit(**changes) == (OutcomeKind.FINAL, code)


@pytest.mark.parametrize(
    ("flag", "code", "shown"),
    [
        ("halted", "halted", Flag.HALTED),
        ("cancel_only", "halted", Flag.CANCEL_ONLY),
        ("limit_only", "halted", Flag.LIMIT_ONLY),
        ("post_only", "halted", Flag.POST_ONLY),
    ],
)
async def test_a_products_flags_are_shown_and_enforced(place: Place, flag: str, code: str, shown: Flag):
    place.simulator.set_product("BTC-USD", Decimal(61_000), **{flag: True})
    found = await place.broker.instruments(place.credentials, ["BTC-USD"])
    assert shown in found["BTC-USD"].flags
    assert await place.submit() == (OutcomeKind.FINAL, code)


async def test_a_second_order_under_an_id_is_booked_so_that_a_test_sees_who_sends_twice(place: Place):
    assert [await place.submit() for _ in range(2)] == [(OutcomeKind.ACK, "accepted")] * 2
    assert place.simulator.orders("FO-1")[0]["booked"] == 2


async def test_money_that_is_on_hold_is_not_free(place: Place):
    await place.submit(order_type=OrderType.LIMIT, limit_price=Decimal(50_000), tif=TimeInForce.GTC)
    account = await place.broker.account(place.credentials)
    assert (account.cash, account.buying_power) == (Decimal(10_000), Decimal(9_500))
    assert account.equity == Decimal(71_000)


@pytest.mark.parametrize(("limit", "filled"), [("61000", Decimal("0.01")), ("60000", Decimal(0))])
@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
async def test_an_order_that_must_fill_at_once_does_or_is_cancelled(
    place: Place, tif: TimeInForce, limit: str, filled: Decimal
):
    await place.submit(order_type=OrderType.LIMIT, limit_price=Decimal(limit), tif=tif)
    report = await place.broker.look_up(place.credentials, "FO-1")
    assert report is not None
    assert (report.status, report.filled_qty) == (
        VenueStatus.FILLED if filled else VenueStatus.CANCELLED,
        filled,
    )


async def test_fills_carry_the_fee(place: Place):
    place.simulator.exchange.fee_rate = Decimal("0.006")
    await place.submit(qty=Decimal("0.02"), client_order_id="FO-fee")
    since = (await place.broker.orders_since(place.credentials, _LONG_AGO))[0].submitted_at
    [fill] = await place.broker.fills_since(place.credentials, since)
    assert (fill.qty, fill.price, fill.fee) == (Decimal("0.02"), Decimal(61_000), Decimal("7.32"))


async def test_lists_longer_than_a_page_are_read_whole(place: Place):
    place.simulator.add_account("K1", PUBLIC, cash=Decimal(100_000_000))
    for number in range(260):
        place.simulator.trade_by_hand("K1", "buy", "ETH-USD", Decimal(number + 1) / 100)
    assert len(await place.broker.orders_since(place.credentials, _LONG_AGO)) == 260
    assert len(await place.broker.fills_since(place.credentials, _LONG_AGO)) == 260


async def test_a_conversion_moves_money_once_and_costs_its_fee(place: Place):
    place.simulator.set_conversions(fee_bps=Decimal(10))
    quoted = await place.broker.quote_conversion(place.credentials, "USD", "USDC", Decimal(1_000))
    assert (quoted.received, quoted.fee, quoted.status) == (Decimal(999), Decimal(1), ConversionStatus.QUOTED)
    for _ in range(2):
        done = await place.broker.commit_conversion(place.credentials, quoted)
        assert done.status is ConversionStatus.COMPLETED
    balances = await place.broker.balances(place.credentials)
    assert (balances["USD"], balances["USDC"]) == (Decimal(9_000), Decimal(999))


async def test_a_commit_without_an_answer_is_found_to_have_moved_the_money(place: Place):
    quoted = await place.broker.quote_conversion(place.credentials, "USD", "USDC", Decimal(100))
    place.simulator.fail_reads(Fault(kind=FaultKind.DROP_AFTER_BOOKING))
    with pytest.raises(VenueUnavailable):
        await place.broker.commit_conversion(place.credentials, quoted)
    assert (await place.broker.look_up_conversion(place.credentials, quoted)).status is ConversionStatus.COMPLETED


async def test_a_depeg_shows_in_what_a_conversion_brings(place: Place):
    place.simulator.set_conversions(usdc_price=Decimal("0.97"))
    quoted = await place.broker.quote_conversion(place.credentials, "USD", "USDC", Decimal(97))
    assert quoted.received == Decimal(100)


@pytest.mark.parametrize(
    ("source", "target", "amount"), [("USD", "BRL", 1), ("USDC", "USD", 1), ("USD", "USDC", 10**6)]
)
async def test_a_conversion_that_cannot_be_is_refused(place: Place, source: str, target: str, amount: int):
    with pytest.raises(VenueRefused):
        await place.broker.quote_conversion(place.credentials, source, target, Decimal(amount))


def _token(key: str = PRIVATE, **changes: Any) -> str:
    claims = {"sub": "K1", "iss": "cdp", "nbf": 0, "exp": 4_102_444_800, "uri": "", **changes}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "K1"})


def _good(url: str) -> dict[str, Any]:
    now = int(time.time())
    return {"nbf": now, "exp": now + 120, "uri": f"GET {url.removeprefix('http://')}/api/v3/brokerage/accounts"}


@pytest.mark.parametrize(
    "changes",
    [
        {"uri": "GET api.coinbase.com/api/v3/brokerage/accounts"},
        {"uri": None},
        {"sub": "K2"},
        {"iss": "me"},
        {"exp": 4_102_444_800},
        {"nbf": 1, "exp": 121},
        {"nbf": 4_102_444_000, "exp": 4_102_444_100},
        {"key": new_key()[0]},
    ],
    ids=["another host", "no uri", "another key's name", "issuer", "too long", "expired", "early", "another key"],
)
async def test_a_token_that_is_not_for_this_request_is_refused(place: Place, changes: dict[str, Any]):
    url = f"{place.simulator.url}/api/v3/brokerage/accounts"
    async with aiohttp.ClientSession() as session:
        for more, status in (({}, 200), (changes, 401)):
            headers = {"Authorization": f"Bearer {_token(**{**_good(place.simulator.url), **more})}"}
            async with session.get(url, headers=headers) as response:
                assert response.status == status


async def test_more_requests_than_thirty_a_second_are_too_many():
    clock = [0.0]
    async with CoinbaseSimulator(clock=lambda: clock[0]) as simulator:
        simulator.add_account("K1", PRIVATE)
        broker = CoinbaseBroker(live_url="", paper_url=simulator.url)
        credentials = BrokerCredentials("cred-1", "K1", PRIVATE)
        url = f"{simulator.url}/api/v3/brokerage/accounts"
        statuses = []
        async with aiohttp.ClientSession() as session:
            for _ in range(31):
                headers = {"Authorization": f"Bearer {_token(**_good(simulator.url))}"}
                async with session.get(url, headers=headers) as response:
                    statuses.append(response.status)
            clock[0] = 1.0
            assert statuses == [200] * 30 + [429]
            assert "USD" in await broker.balances(credentials)
        await broker.close()


async def _heard(place: Place, count: int) -> Sequence[VenueOrder | None]:
    found: list[VenueOrder | None] = []
    async with asyncio.timeout(60), aclosing(place.broker.reports(place.credentials)) as reports:
        async for report in reports:
            found.append(report)
            if len(found) == 1:
                await place.submit()
            if len(found) == count:
                break
    return found


async def test_the_stream_tells_an_order_as_it_fills(place: Place):
    place.simulator.script(Behaviour(life=Life(steps=2)))
    opened, *told = await _heard(place, 5)
    assert opened is None
    assert [(o.status, o.filled_qty) for o in told if o is not None] == [
        (VenueStatus.WORKING, Decimal(0)),
        (VenueStatus.WORKING, Decimal(0)),
        (VenueStatus.PARTIALLY_FILLED, Decimal("0.005")),
        (VenueStatus.FILLED, Decimal("0.01")),
    ]


async def test_the_stream_begins_with_the_orders_that_are_open(place: Place):
    for number in range(60):
        await place.submit(client_order_id=f"FO-{number}", order_type=OrderType.LIMIT, limit_price=Decimal(1_000))
    reports = await _heard(place, 61)
    assert {o.client_order_id for o in reports[1:] if o is not None} == {f"FO-{n}" for n in range(60)}


async def test_a_lost_event_is_a_gap_that_ends_the_stream(place: Place):
    place.simulator.lose_events(1)
    with pytest.raises(VenueUnavailable) as ended:
        await _heard(place, 10)
    assert ended.value.code == "stream_gap"


async def test_a_revoked_key_ends_its_stream_and_is_refused_afterwards(place: Place):
    async with aclosing(place.broker.reports(place.credentials)) as reports:
        assert await anext(reports) is None
        place.simulator.revoke("K1")
        with pytest.raises(VenueUnavailable):
            await anext(reports)
    async with aclosing(place.broker.reports(place.credentials)) as reports:
        with pytest.raises(VenueRefused):
            await anext(reports)
    assert await place.submit() == (OutcomeKind.FINAL, "bad_credentials")
