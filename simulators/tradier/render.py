"""The vendor's bodies: numbers are JSON numbers, none of a list is "null", one of it is no list; XML unless asked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from xml.sax.saxutils import escape

from aiohttp import web

from simulators.market.instruments import Instrument
from simulators.market.ledger import Account, Instruments, Position
from simulators.market.orders import Order, State

_CENT = Decimal("0.01")
_STATES = {
    State.ACCEPTED: "pending",
    State.NEW: "open",
    State.PARTIALLY_FILLED: "partially_filled",
    State.PENDING_CANCEL: "open",  # the vendor lists no word for it
    State.FILLED: "filled",
    State.CANCELED: "canceled",
    State.EXPIRED: "expired",
    State.REJECTED: "rejected",
}


def answer(request: web.Request, body: dict[str, object]) -> web.Response:
    """As the request accepts it; without a word about it the vendor sends XML."""
    if "application/json" in request.headers.get("Accept", ""):
        return web.json_response(body)
    return web.Response(text=f'<?xml version="1.0" encoding="UTF-8"?>{_xml(body)}', content_type="application/xml")


def wrapped(name: str, item: str, items: Sequence[object]) -> dict[str, object]:
    """`{"orders": {"order": […]}}`, with the vendor's two exceptions."""
    if not items:
        return {name: "null"}
    return {name: {item: items[0] if len(items) == 1 else list(items)}}


def order_json(order: Order, *, tags: bool) -> dict[str, object]:
    request = order.request
    told: dict[str, object] = {
        "id": int(order.id),
        "type": request.type,
        "symbol": request.symbol,
        "side": request.extras.get("side", request.side),
        "quantity": float(request.qty),
        "status": _STATES[order.status],
        "duration": request.time_in_force,
        **_price(order),
        **_executions(order),
        "create_date": _millis(order.created_ns),
        "transaction_date": _millis(order.updated_ns or order.created_ns),
        "class": "equity",
    }
    if order.status is State.REJECTED:
        told["reason_description"] = "rejected by the simulated back office"
    if tags and request.client_order_id:
        told["tag"] = request.client_order_id
    return told


def event_json(order: Order, account: str, at_ns: int) -> dict[str, object]:
    """What the account's stream says of an order: neither symbol nor side."""
    return {
        "id": int(order.id),
        "event": "order",
        "status": _STATES[order.status],
        "type": order.request.type,
        "price": float(order.request.limit_price or 0),
        "stop_price": 0.0,
        **_executions(order),
        "transaction_date": _millis(at_ns),
        "create_date": _millis(order.created_ns),
        "account": account,
        **({"tag": order.request.client_order_id} if order.request.client_order_id else {}),
    }


def position_json(symbol: str, position: Position, number: int) -> dict[str, object]:
    return {
        "cost_basis": float((position.qty * position.avg_entry_price).quantize(_CENT)),
        "date_acquired": _millis(0),
        "id": number,
        "quantity": float(position.qty),
        "symbol": symbol,
    }


def balances_json(account: Account, instruments: Instruments) -> dict[str, object]:
    values = [p.qty * instruments[s].price for s, p in account.positions.items()]
    longs = sum((v for v in values if v > 0), Decimal(0))
    shorts = sum((v for v in values if v < 0), Decimal(0))
    power = float(account.buying_power(instruments).quantize(_CENT))
    kind = "margin" if account.shorting_enabled else "cash"
    margin = {"fed_call": 0, "maintenance_call": 0, "option_buying_power": power, "stock_buying_power": power}
    return {
        "balances": {
            "account_number": account.key_id,
            "account_type": kind,
            "total_equity": float((account.cash + longs + shorts).quantize(_CENT)),
            "total_cash": float(account.cash.quantize(_CENT)),
            "long_market_value": float(longs),
            "short_market_value": float(shorts),
            "market_value": float(longs + shorts),
            "pending_orders_count": len(account.open_orders),
            "uncleared_funds": 0,
            "pending_cash": 0,
            kind: margin if kind == "margin" else {"cash_available": power, "sweep": 0, "unsettled_funds": 0},
        }
    }


def quote_json(share: Instrument) -> dict[str, object]:
    at = int((share.traded_at or datetime.now(UTC)).timestamp() * 1_000)
    price = float(share.price)
    return {
        "symbol": share.symbol,
        "description": f"{share.symbol} (simulated)",
        "exch": "Q",
        "type": "stock",
        "last": price,
        "bid": price,
        "ask": price,
        "trade_date": at,
        "bid_date": at,
        "ask_date": at,
    }


def _price(order: Order) -> dict[str, object]:
    return {} if order.request.limit_price is None else {"price": float(order.request.limit_price)}


def _executions(order: Order) -> dict[str, object]:
    last = order.executions[-1] if order.executions else None
    return {
        "avg_fill_price": float(order.average_price or 0),
        "exec_quantity": float(order.filled_qty),
        "last_fill_price": float(last.price) if last else 0.0,
        "last_fill_quantity": float(last.qty) if last else 0.0,
        "remaining_quantity": float(order.remaining) if order.is_open else 0.0,
    }


def _millis(at_ns: int) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    return f"{datetime.fromtimestamp(at_ns // 1_000_000 / 1_000, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _xml(value: object) -> str:
    if not isinstance(value, Mapping):
        return escape(str(value))
    parts = [(name, one) for name, held in value.items() for one in (held if isinstance(held, list) else [held])]
    return "".join(f"<{name}>{_xml(one)}</{name}>" for name, one in parts)
