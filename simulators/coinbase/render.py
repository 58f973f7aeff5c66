"""The vendor's JSON: numbers are decimal strings, times are RFC 3339."""

import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal

from simulators.market.instruments import Instrument
from simulators.market.ledger import Account, Instruments
from simulators.market.orders import Execution, Order, State
from simulators.market.text import decimal_text, timestamp

STATES: dict[State, str] = {
    State.ACCEPTED: "PENDING",
    State.NEW: "OPEN",
    State.PARTIALLY_FILLED: "OPEN",  # the vendor has no word for it
    State.PENDING_CANCEL: "CANCEL_QUEUED",
    State.FILLED: "FILLED",
    State.CANCELED: "CANCELLED",
    State.EXPIRED: "EXPIRED",
    State.REJECTED: "FAILED",
}
_TIFS = {
    "market_market_ioc": "IMMEDIATE_OR_CANCEL",
    "sor_limit_ioc": "IMMEDIATE_OR_CANCEL",
    "limit_limit_gtc": "GOOD_UNTIL_CANCELLED",
    "limit_limit_gtd": "GOOD_UNTIL_DATE_TIME",
    "limit_limit_fok": "FILL_OR_KILL",
}
_PLACES = Decimal("0.00000001")
_FIAT = frozenset({"USD", "EUR", "GBP"})


def created_json(order: Order) -> dict[str, object]:
    request = order.request
    return {
        "success": True,
        "failure_reason": "UNKNOWN_FAILURE_REASON",
        "order_id": order.id,
        "success_response": {
            "order_id": order.id,
            "product_id": request.symbol,
            "side": request.side.upper(),
            "client_order_id": request.client_order_id,
        },
        "order_configuration": _configuration(order),
    }


def order_json(order: Order) -> dict[str, object]:
    request = order.request
    return {
        "order_id": order.id,
        "product_id": request.symbol,
        "order_configuration": _configuration(order),
        "side": request.side.upper(),
        "client_order_id": request.client_order_id,
        "status": STATES[order.status],
        "time_in_force": _TIFS.get(str(request.extras.get("form")), "IMMEDIATE_OR_CANCEL"),
        "created_time": timestamp(order.created_ns),
        "completion_percentage": decimal_text((100 * order.filled_qty / request.qty).quantize(Decimal("0.01"))),
        "filled_size": decimal_text(order.filled_qty),
        "average_filled_price": _average(order),
        "fee": "",
        "number_of_fills": str(len(order.executions)),
        "filled_value": decimal_text(order.cost),
        "pending_cancel": order.status is State.PENDING_CANCEL,
        "size_in_quote": False,
        "total_fees": decimal_text(order.fees),
        "size_inclusive_of_fees": False,
        "order_type": request.type.upper(),
        "reject_reason": "REJECT_REASON_UNSPECIFIED",
        "reject_message": "the order was rejected" if order.status is State.REJECTED else "",
        "cancel_message": "User requested cancel" if order.status is State.CANCELED else "",
        "settled": not order.is_open,
        "product_type": "SPOT",
        "last_fill_time": timestamp(order.executions[-1].at_ns) if order.executions else None,
        "edit_history": [],
    }


def update_json(order: Order) -> dict[str, object]:
    """Of the `user` channel."""
    request = order.request
    return {
        "order_id": order.id,
        "client_order_id": request.client_order_id,
        "product_id": request.symbol,
        "order_side": request.side.upper(),
        "order_type": request.type.title(),
        "status": STATES[order.status],
        "cumulative_quantity": decimal_text(order.filled_qty),
        "leaves_quantity": decimal_text(order.remaining),
        "avg_price": _average(order),
        "filled_value": decimal_text(order.cost),
        "total_fees": decimal_text(order.fees),
        "number_of_fills": str(len(order.executions)),
        "limit_price": "" if request.limit_price is None else decimal_text(request.limit_price),
        "cancel_reason": "",
        "reject_reason": "",
        "creation_time": timestamp(order.created_ns),
        "product_type": "SPOT",
    }


def fill_json(order: Order, execution: Execution) -> dict[str, object]:
    at = timestamp(execution.at_ns)
    return {
        "entry_id": execution.id,
        "trade_id": str(uuid.uuid5(uuid.NAMESPACE_OID, execution.id)),
        "order_id": order.id,
        "trade_time": at,
        "trade_type": "FILL",
        "price": decimal_text(execution.price),
        "size": decimal_text(execution.qty),
        "commission": decimal_text(execution.fee),
        "product_id": order.request.symbol,
        "sequence_timestamp": at,
        "liquidity_indicator": "TAKER",
        "size_in_quote": False,
        "side": order.request.side.upper(),
    }


def accounts_json(account: Account, instruments: Instruments) -> Iterator[dict[str, object]]:
    """One for each currency, money first."""
    for currency, total in account.wallets.items():
        yield _account_json(account, currency, total, account.reserved(currency, instruments))
    for currency, position in account.positions.items():
        yield _account_json(account, currency, position.qty, account.held(currency, instruments))


def _account_json(account: Account, currency: str, total: Decimal, hold: Decimal) -> dict[str, object]:
    return {
        "uuid": str(uuid.uuid5(uuid.UUID(account.id), currency)),
        "name": f"{currency} Wallet",
        "currency": currency,
        "available_balance": {"value": decimal_text(total - hold), "currency": currency},
        "default": True,
        "active": True,
        "type": "ACCOUNT_TYPE_FIAT" if currency in _FIAT else "ACCOUNT_TYPE_CRYPTO",
        "ready": True,
        "hold": {"value": decimal_text(hold), "currency": currency},
    }


def product_json(product: Instrument) -> dict[str, object]:
    return {
        "product_id": product.symbol,
        "price": decimal_text(product.price),
        "base_increment": _step(product.qty_step),
        "quote_increment": _step(product.price_step),
        "price_increment": _step(product.price_step),
        "base_min_size": _step(product.min_qty),
        "quote_min_size": _step(product.min_notional),
        "base_currency_id": product.held_as,
        "quote_currency_id": product.quote_currency,
        "status": "online" if product.tradable else "delisted",
        "product_type": "SPOT",
        "is_disabled": False,
        "trading_disabled": product.halted,
        "cancel_only": product.cancel_only,
        "limit_only": product.limit_only,
        "post_only": product.post_only,
        "auction_mode": False,
        "view_only": False,
    }


def book_json(product: Instrument, at_ns: int) -> dict[str, object]:
    """One price on both sides, unlimited liquidity."""
    level = [{"price": decimal_text(product.price), "size": "1000000"}]
    return {"product_id": product.symbol, "bids": level, "asks": level, "time": timestamp(at_ns)}


def _configuration(order: Order) -> object:
    given = order.request.extras.get("configuration")
    return (
        given if isinstance(given, Mapping) else {"market_market_ioc": {"base_size": decimal_text(order.request.qty)}}
    )


def _average(order: Order) -> str:
    average = order.average_price
    return "0" if average is None else decimal_text(average.quantize(_PLACES))


def _step(value: Decimal | None) -> str:
    return "" if value is None else decimal_text(value)
