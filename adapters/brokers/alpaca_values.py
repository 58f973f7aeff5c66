"""Single values of Alpaca's JSON: symbols, sides, times. No I/O."""

import re
from datetime import datetime

from domain.orders import Side

_STOCK = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,3})?")
_PAIR = re.compile(r"[A-Z0-9]{2,10}[/-](USD|USDC|USDT|BTC)")


def is_stock(symbol: str) -> bool:
    return _STOCK.fullmatch(symbol) is not None


def is_pair(symbol: str) -> bool:
    """Whether it names crypto: ours is `BTC-USD`, the vendor's `BTC/USD`."""
    return _PAIR.fullmatch(symbol) is not None


def vendor_symbol(symbol: str) -> str:
    return symbol.replace("-", "/") if is_pair(symbol) else symbol


def our_symbol(symbol: str, asset_class: object = None) -> str:
    """Some of the vendor's answers still name a pair without its slash (`BTCUSD`); its class tells it from a stock."""
    if asset_class == "crypto" and "/" not in symbol and symbol.endswith("USD"):
        return f"{symbol.removesuffix('USD')}-USD"
    return symbol.replace("/", "-") if is_pair(symbol) else symbol


def read_side(word: object) -> Side | None:
    """The vendor's `OrderSide` has eight words; what begins so changes a position in this direction."""
    text = str(word)
    return Side.BUY if text.startswith("buy") else Side.SELL if text.startswith("sell") else None


def read_moment(value: object) -> datetime | None:
    """The vendor's nanoseconds are cut to microseconds; None for what is no time, or has no zone."""
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return read if read.tzinfo is not None else None
