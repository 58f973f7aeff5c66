from datetime import UTC, datetime
from decimal import Decimal

import pytest

from domain.books import FollowerBooks, Statement, SymbolBooks, evidence
from domain.ports import VenuePosition
from domain.reconciliation import Policy
from domain.venues import dollar_coin

NOW = datetime(2024, 5, 2, tzinfo=UTC)
WALLET = {"coinbase": Statement((VenuePosition("BTC-USD", Decimal("0.4")), VenuePosition("ETH-USD", Decimal(2))))}


def held(symbol: str, *others: str) -> Decimal | None:
    """What the account is taken to hold of the symbol, by a follower who trades the others, too."""
    symbols = tuple(
        SymbolBooks(name, Decimal(0), Decimal("0.00000001"), None, "coinbase", (), ()) for name in (symbol, *others)
    )
    books = FollowerBooks("F_1", Policy.OBSERVE, False, False, None, NOW, (), symbols)
    account = evidence(books, symbols[0], WALLET, NOW).account
    return None if account is None else account.qty


@pytest.mark.parametrize(
    ("symbol", "others", "qty"),
    [
        ("BTC-USD", (), "0.4"),
        ("BTC-USDC", (), "0.4"),
        ("BTC-USDC", ("ETH-USDC",), "0.4"),
        ("BTC-USDC", ("BTC-USD",), "0"),  # the wallet counts once
        ("BTC-EUR", (), "0"),
        ("SOL-USD", (), "0"),
        ("AAPL", (), "0"),
    ],
)
def test_a_coin_is_one_holding_whatever_dollars_it_was_paid_with(symbol: str, others: tuple[str, ...], qty: str):
    assert held(symbol, *others) == Decimal(qty)


@pytest.mark.parametrize(
    ("symbol", "coin"), [("BTC-USD", "BTC"), ("BTC-USDC", "BTC"), ("BTC-EUR", None), ("AAPL", None), ("-USD", None)]
)
def test_pairs_against_dollars_have_a_coin(symbol: str, coin: str | None):
    assert dollar_coin(symbol) == coin
