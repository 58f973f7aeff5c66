from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.admission import Halt, Intent, MarketFacts, VaultFacts, admit, effect_of, order_price
from domain.errors import OrderRefused
from domain.orders import OrderType, Side
from domain.sizing import Effect

D = Decimal
NOW = datetime(2026, 1, 30, 15, tzinfo=UTC)
BUY = Intent("V_1", "AAPL", Side.BUY, D(10))
SELL = replace(BUY, side=Side.SELL)
VAULT = VaultFacts(
    open=True, maintenance=False, halt=None, nav_usd=D(1_000_000), position=D(0), allow_short=False,
    max_order_notional_usd=D(1_000_000), max_order_qty=D(10_000),
)  # fmt: skip
LONG = replace(VAULT, position=D(10))
MARKET = MarketFacts("XNAS", tradable=True, step=D(1), price=D(200), collar_bps=D(500))


@pytest.mark.parametrize(
    ("side", "position", "effect"),
    [
        (Side.BUY, 0, Effect.OPEN),
        (Side.BUY, 5, Effect.OPEN),
        (Side.SELL, -5, Effect.OPEN),
        (Side.SELL, 0, Effect.OPEN),
        (Side.SELL, 10, Effect.REDUCE),
        (Side.SELL, 11, Effect.REDUCE),
        (Side.BUY, -10, Effect.REDUCE),
    ],
)
def test_an_order_opens_or_reduces_by_the_position_it_meets(side: Side, position: int, effect: Effect):
    assert effect_of(side, D(10), D(position)) is effect


@pytest.mark.parametrize(("side", "position"), [(Side.SELL, 9), (Side.BUY, -9)])
def test_an_order_that_would_cross_zero_is_refused_with_the_way_out(side: Side, position: int):
    with pytest.raises(OrderRefused, match="two orders") as refused:
        effect_of(side, D(10), D(position))
    assert (refused.value.code, refused.value.field) == ("crosses-zero", "qty")


def test_a_plain_order_is_admitted():
    assert admit(BUY, VAULT, MARKET, NOW).effect is Effect.OPEN
    assert admit(SELL, LONG, MARKET, NOW).effect is Effect.REDUCE


PAST = NOW - timedelta(seconds=1)
REFUSED = {
    "wrong-venue": (replace(BUY, venue="XNYS"), VAULT, MARKET, "venue"),
    "not-tradable": (BUY, VAULT, replace(MARKET, tradable=False), "symbol"),
    "qty-step": (replace(BUY, qty=D("1.5")), VAULT, MARKET, "qty"),
    "vault-closed": (BUY, replace(VAULT, open=False), MARKET, "vault_id"),
    "vault-maintenance": (BUY, replace(VAULT, maintenance=True), MARKET, "vault_id"),
    "vault-halted": (BUY, replace(VAULT, halt=Halt.HALT_OPENS), MARKET, "vault_id"),
    "max-qty": (BUY, replace(VAULT, max_order_qty=D(9)), MARKET, "qty"),
    "max-notional": (BUY, replace(VAULT, max_order_notional_usd=D(1_999)), MARKET, "qty"),
    "expired": (replace(BUY, expires_at=NOW), VAULT, MARKET, "meta.expires_at"),
    "missing-nav": (BUY, replace(VAULT, nav_usd=None), MARKET, "vault_id"),
    "missing-price": (BUY, VAULT, replace(MARKET, price=None), "meta.reference_price"),
    "nothing-held": (SELL, VAULT, MARKET, "side"),
    "price-collar": (replace(BUY, reference_price=D("210.01")), VAULT, MARKET, "meta.reference_price"),
    "crosses-zero": (replace(SELL, qty=D(11)), LONG, MARKET, "qty"),
}


@pytest.mark.parametrize(("code", "case"), REFUSED.items(), ids=REFUSED)
def test_a_refusal_has_a_stable_code_and_names_the_field(code: str, case: tuple[Intent, VaultFacts, MarketFacts, str]):
    intent, vault, market, field = case
    with pytest.raises(OrderRefused) as refused:
        admit(intent, vault, market, NOW)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize(
    "vault",
    [
        replace(LONG, halt=Halt.HALT_OPENS),
        replace(LONG, halt=Halt.FLATTEN),
        replace(LONG, nav_usd=None),
        replace(LONG, max_order_notional_usd=D(1)),
    ],
)
def test_a_reduction_passes_where_opens_are_stopped(vault: VaultFacts):
    market = replace(MARKET, price=None)
    assert admit(replace(SELL, expires_at=PAST, reference_price=D(1)), vault, market, NOW).effect is Effect.REDUCE


@pytest.mark.parametrize("vault", [replace(LONG, halt=Halt.HALT_ALL), replace(LONG, maintenance=True)])
def test_a_full_halt_stops_reductions_too(vault: VaultFacts):
    with pytest.raises(OrderRefused):
        admit(SELL, vault, MARKET, NOW)


def test_a_short_opens_where_the_risk_profile_allows_it():
    assert admit(SELL, replace(VAULT, allow_short=True), MARKET, NOW).effect is Effect.OPEN


@pytest.mark.parametrize("price", ["190", "210"])
def test_a_stated_price_at_the_collars_edge_passes(price: str):
    limit = replace(BUY, order_type=OrderType.LIMIT, limit_price=D(price))
    assert admit(limit, VAULT, MARKET, NOW).effect is Effect.OPEN


def test_a_limit_price_outside_the_collar_is_refused():
    limit = replace(BUY, order_type=OrderType.LIMIT, limit_price=D("189.9"))
    with pytest.raises(OrderRefused, match="bps") as refused:
        admit(limit, VAULT, MARKET, NOW)
    assert refused.value.field == "limit_price"


def test_a_last_price_of_zero_is_no_price():
    worthless = replace(MARKET, price=D(0))
    with pytest.raises(OrderRefused) as refused:
        admit(BUY, VAULT, worthless, NOW)
    assert refused.value.code == "missing-price"
    assert admit(replace(BUY, reference_price=D(5)), VAULT, worthless, NOW).effect is Effect.OPEN


def test_the_authors_price_comes_before_the_limit_before_the_last():
    limit = replace(BUY, limit_price=D(2))
    assert order_price(replace(limit, reference_price=D(1)), MARKET) == 1
    assert order_price(limit, MARKET) == 2
    assert order_price(BUY, MARKET) == 200


DAY = timedelta(days=1)
OLD = replace(MARKET, price_asof=NOW - DAY - timedelta(seconds=1))


def test_an_open_is_not_sized_by_an_old_price():
    with pytest.raises(OrderRefused, match="more than 1 day") as refused:
        admit(BUY, VAULT, OLD, NOW)
    assert (refused.value.code, refused.value.field) == ("stale-price", "meta.reference_price")
    assert admit(BUY, VAULT, replace(OLD, price_asof=NOW - DAY), NOW).effect is Effect.OPEN


@pytest.mark.parametrize(
    "stated",
    [
        replace(BUY, reference_price=D(201)),
        replace(BUY, order_type=OrderType.LIMIT, limit_price=D(199)),
    ],
)
def test_a_price_that_the_author_states_is_fresh(stated: Intent):
    assert admit(stated, VAULT, OLD, NOW).effect is Effect.OPEN


def test_opens_wait_for_the_prices_of_what_the_vault_holds():
    for facts, code in (
        (replace(VAULT, nav_usd=None, unpriced=("MSFT",)), "missing-nav"),
        (replace(VAULT, stale=("MSFT",)), "stale-nav"),
    ):
        with pytest.raises(OrderRefused, match="MSFT") as refused:
            admit(BUY, facts, MARKET, NOW)
        assert (refused.value.code, refused.value.field) == (code, "vault_id")


def test_a_reduction_passes_whatever_is_missing_or_old():
    bare = replace(LONG, nav_usd=None, unpriced=("MSFT",), stale=("AAPL",))
    assert admit(SELL, bare, OLD, NOW).effect is Effect.REDUCE
    assert admit(SELL, bare, replace(MARKET, price=None), NOW).effect is Effect.REDUCE
