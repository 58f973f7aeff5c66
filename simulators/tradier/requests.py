"""Reads the form of `POST /v1/accounts/{id}/orders` and refuses what the vendor refuses, in its words."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from simulators.market.ledger import Account, Instruments
from simulators.market.orders import OrderRequest
from simulators.market.refusals import Reason, Refusal
from simulators.tradier.errors import invalid, rejected

_SIDES = {"buy": "buy", "buy_to_cover": "buy", "sell": "sell", "sell_short": "sell"}
_DURATIONS = frozenset({"day", "gtc", "pre", "post"})
_TYPES = frozenset({"market", "limit"})  # stops are refused rather than half simulated
_TAG = re.compile(r"[A-Za-z0-9-]{0,255}")


def parse_order(form: Mapping[str, str], account: Account, instruments: Instruments) -> OrderRequest:
    """A complete order, or the vendor's refusal."""
    if form.get("class") != "equity":
        raise invalid("class is invalid; only equity is simulated")
    symbol = form.get("symbol", "")
    if symbol not in instruments:
        raise Refusal(Reason.UNKNOWN_SYMBOL, f"symbol {symbol!r} is invalid")
    side = _word(form, "side", frozenset(_SIDES))
    kind, duration = _word(form, "type", _TYPES), _word(form, "duration", _DURATIONS)
    qty = _number(form, "quantity")
    if qty != qty.to_integral_value():
        raise invalid("quantity must be a whole number")
    if _TAG.fullmatch(form.get("tag", "")) is None:
        raise invalid("tag must be letters, numbers and -, at most 255")
    _check_side(side, qty, account, symbol)
    limit = _number(form, "price") if kind == "limit" else None
    return OrderRequest(form.get("tag", ""), symbol, _SIDES[side], kind, duration, qty, limit, extras={"side": side})


def _check_side(side: str, qty: Decimal, account: Account, symbol: str) -> None:
    """The vendor has a word for each way in which a side does not go with what is held."""
    held = account.position_qty(symbol)
    match side:
        case "buy" if held < 0:
            raise rejected("UnexpectedBuyOrder")
        case "buy_to_cover" if held >= 0:
            raise rejected("UnexpectedBuyToCoverOrder")
        case "buy_to_cover" if qty > -held:
            raise rejected("ShortPositionCrossZero")
        case "sell" if held <= 0:
            raise rejected("UnexpectedSellOrder")
        case "sell" if qty > held:
            raise rejected("LongPositionCrossZero")
        case "sell_short" if held > 0:
            raise rejected("UnexpectedSellShortOrder")
        case "sell_short" if not account.shorting_enabled:
            raise rejected("ShortStockTradingDeniedForAccount")


def _word(form: Mapping[str, str], name: str, allowed: frozenset[str]) -> str:
    value = form.get(name, "")
    if value not in allowed:
        raise invalid(f"{name} is invalid")
    return value


def _number(form: Mapping[str, str], name: str) -> Decimal:
    try:
        number = Decimal(form.get(name, ""))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number <= 0:
        raise invalid(f"{name} is required and must be greater than zero")
    return number
