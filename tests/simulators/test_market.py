"""What the simulated market can do beyond Alpaca's: instruments' rules, wallets, cancels that take their time."""

from decimal import Decimal
from typing import Any

import pytest

from simulators.market.behaviour import Behaviour, Life
from simulators.market.exchange import Duplicates, Exchange, Tally
from simulators.market.instruments import Instrument
from simulators.market.ledger import Account
from simulators.market.orders import Order, OrderRequest
from simulators.market.refusals import Refusal

D = Decimal
BTC = {"base": "BTC", "qty_step": D("0.00000001"), "price_step": D("0.01"), "min_notional": D(1)}


class Market:
    def __init__(self, **how: object) -> None:
        self.now = 0.0
        instruments = [
            Instrument("BTC-USD", D(100), quote_currency="USD", **BTC),  # type: ignore[arg-type]
            Instrument("BTC-USDC", D(100), quote_currency="USDC", **BTC),  # type: ignore[arg-type]
        ]
        self.exchange = Exchange(lambda: self.now, instruments, **how)  # type: ignore[arg-type]
        self.account = Account("K1", "s1", {"USD": D(1_000)})
        self.exchange.add_account(self.account, {"BTC": D(2)})

    def place(self, side: str = "buy", symbol: str = "BTC-USD", life: Life | None = None, **more: object) -> Order:
        given = {"qty": D(1), "client_order_id": "", "type": "market", "time_in_force": "gtc"} | more
        request = OrderRequest(symbol=symbol, side=side, **given)  # type: ignore[arg-type]
        return self.exchange.submit(self.account, request, Tally(Behaviour(life=life or Life())))

    def flag(self, **flags: object) -> None:
        self.exchange.set_instrument(Instrument("BTC-USD", D(100), **(BTC | flags)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "order", "reason"),
    [
        ({"halted": True}, {}, "halted"),
        ({"tradable": False}, {}, "halted"),
        ({"cancel_only": True}, {}, "cancel_only"),
        ({"limit_only": True}, {}, "limit_only"),
        ({"post_only": True}, {"limit_price": D(90)}, "post_only"),
        ({}, {"limit_price": D(100), "post_only": True}, "post_only"),
        ({}, {"qty": D("0.000000001")}, "qty_step"),
        ({}, {"limit_price": D("90.001")}, "price_step"),
        ({"min_qty": D(2)}, {}, "below_min_qty"),
        ({}, {"qty": D("0.009")}, "below_min_notional"),
        ({}, {"qty": D("10.1")}, "insufficient_funds"),
        ({}, {"side": "sell", "qty": D("2.1")}, "insufficient_qty"),
        ({}, {"symbol": "BTC-USDC"}, "no_wallet"),
        ({}, {"symbol": "ETH-USD"}, "unknown_symbol"),
    ],
)
def test_what_an_instrument_or_account_does_not_allow_is_refused(
    flags: dict[str, object], order: dict[str, Any], reason: str
):
    market = Market()
    market.flag(**flags)
    with pytest.raises(Refusal) as refused:
        market.place(**order)
    assert refused.value.reason == reason
    assert market.exchange.orders_of(market.account) == []


def test_two_quotes_of_one_base_share_the_holding_and_not_the_wallet():
    market = Market(fee_rate=D("0.01"))
    market.account.wallets["USDC"] = D(500)
    market.place(symbol="BTC-USDC", qty=D(3))
    market.place("sell", qty=D(5))
    market.exchange.settle(market.account)
    assert market.account.wallets == {"USD": D(1_000) + D(495), "USDC": D(500) - D(303)}
    assert market.account.positions == {}


def test_fees_count_into_what_an_open_order_holds_back():
    market = Market(fee_rate=D("0.01"))
    market.place(limit_price=D(50), qty=D(10))
    assert market.account.buying_power(market.exchange.instruments) == D(495)


@pytest.mark.parametrize(
    ("late_steps", "status", "filled"), [(0, "canceled", 2), (1, "canceled", 4), (4, "filled", 10)]
)
def test_a_cancel_takes_its_time_and_fills_may_come_before_it(late_steps: int, status: str, filled: int):
    market = Market()
    life = Life(ending="stuck", steps=5, fill_steps=1, cancel_delay_ms=5_000, late_steps=late_steps)
    order = market.place(qty=D(10), limit_price=D(100), life=life)
    market.exchange.settle(market.account)
    assert market.exchange.cancel(market.account, order.id).status == "pending_cancel"
    assert market.exchange.cancel(market.account, order.id).status == "pending_cancel"
    market.now = 5.0
    found = market.exchange.find(market.account, order.id)
    assert (found.status.value, int(found.filled_qty)) == (status, filled)


def test_a_second_order_under_an_id_is_what_the_venue_makes_of_it():
    refusing, booking, returning = (Market(duplicates=kind) for kind in Duplicates)
    first = [m.place(client_order_id="FO-1", qty=D(1)) for m in (refusing, booking, returning)]
    with pytest.raises(Refusal, match="unique"):
        refusing.place(client_order_id="FO-1")
    assert returning.place(client_order_id="FO-1") is first[2]
    assert booking.place(client_order_id="FO-1") is not first[1]


def test_orders_without_an_id_are_never_duplicates():
    market = Market(duplicates=Duplicates.REFUSE)
    assert market.place().id != market.place().id
