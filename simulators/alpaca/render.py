"""The vendor's JSON: numbers are decimal strings, absent values are nulls, times are RFC 3339."""

import uuid
from decimal import Decimal

from simulators.market.instruments import Instrument
from simulators.market.ledger import Account, Instruments, Position
from simulators.market.orders import Execution, Order
from simulators.market.text import decimal_text, timestamp

_CENT = Decimal("0.01")


def asset_id(symbol: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{symbol}.alpaca.simulated"))


def order_json(order: Order) -> dict[str, object]:
    request = order.request
    average = order.average_price
    ended_at = None if order.ended_ns is None else timestamp(order.ended_ns)
    ended = {f"{s}_at": ended_at if order.status == s else None for s in ("filled", "expired", "canceled")}
    return {
        "id": order.id,
        "client_order_id": request.client_order_id,
        "created_at": timestamp(order.created_ns),
        "updated_at": timestamp(order.updated_ns or order.created_ns),
        "submitted_at": timestamp(order.created_ns),
        **ended,
        "failed_at": ended_at if order.status == "rejected" else None,
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": asset_id(request.symbol),
        "symbol": request.symbol,
        "asset_class": asset_class(request.symbol),
        "notional": None,
        "qty": decimal_text(request.qty),
        "filled_qty": decimal_text(order.filled_qty),
        "filled_avg_price": None if average is None else decimal_text(average.quantize(Decimal("0.000001"))),
        "order_class": "",
        "order_type": request.type,
        "type": request.type,
        "side": request.side,
        "time_in_force": request.time_in_force,
        "limit_price": None if request.limit_price is None else decimal_text(request.limit_price),
        "stop_price": None,
        "status": order.status.value,
        "extended_hours": request.extras.get("extended_hours") is True,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


def position_json(account: Account, symbol: str, position: Position, instruments: Instruments) -> dict[str, object]:
    price = instruments[symbol].price
    value = position.qty * price
    basis = position.qty * position.avg_entry_price
    gain = value - basis
    gain_share = (gain / abs(basis)).quantize(Decimal("0.00000001")) if basis else Decimal(0)
    available = position.qty - account.held(symbol, instruments) if position.qty > 0 else position.qty
    return {
        "asset_id": asset_id(symbol),
        "symbol": symbol,
        "exchange": "NASDAQ",
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": decimal_text(position.qty),
        "qty_available": decimal_text(available),
        "avg_entry_price": decimal_text(position.avg_entry_price.quantize(Decimal("0.000001"))),
        "side": "long" if position.qty > 0 else "short",
        "market_value": decimal_text(value),
        "cost_basis": decimal_text(basis.quantize(Decimal("0.000001"))),
        "unrealized_pl": decimal_text(gain.quantize(Decimal("0.000001"))),
        "unrealized_plpc": decimal_text(gain_share),
        "unrealized_intraday_pl": "0",
        "unrealized_intraday_plpc": "0",
        "current_price": decimal_text(price),
        "lastday_price": decimal_text(price),
        "change_today": "0",
    }


def account_json(account: Account, instruments: Instruments) -> dict[str, object]:
    longs = sum((p.qty * instruments[s].price for s, p in account.positions.items() if p.qty > 0), Decimal(0))
    shorts = sum((p.qty * instruments[s].price for s, p in account.positions.items() if p.qty < 0), Decimal(0))
    equity = decimal_text((account.cash + longs + shorts).quantize(_CENT))
    power = decimal_text(account.buying_power(instruments).quantize(_CENT))
    return {
        "id": account.id,
        "account_number": f"PA{uuid.UUID(account.id).int % 10**9:09d}",
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": decimal_text(account.cash.quantize(_CENT)),
        "buying_power": power,
        "regt_buying_power": power,
        "daytrading_buying_power": "0",
        "non_marginable_buying_power": power,
        "equity": equity,
        "last_equity": equity,
        "portfolio_value": equity,
        "long_market_value": decimal_text(longs),
        "short_market_value": decimal_text(shorts),
        "initial_margin": "0",
        "maintenance_margin": "0",
        "multiplier": "1",
        "pattern_day_trader": False,
        "shorting_enabled": account.shorting_enabled,
        "trading_blocked": account.trading_blocked,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "daytrade_count": 0,
    }


def asset_json(asset: Instrument) -> dict[str, object]:
    """Equities have steps and minimums only where somebody gave them some; pairs always say theirs."""
    is_pair = asset_class(asset.symbol) == "crypto"
    trades = asset.tradable and not asset.halted
    return {
        "id": asset_id(asset.symbol),
        "class": asset_class(asset.symbol),
        "exchange": "CRYPTO" if is_pair else "NASDAQ",
        "symbol": asset.symbol,
        "name": f"{asset.symbol} (simulated)",
        "status": "active",
        "tradable": trades,
        "marginable": not is_pair,
        "shortable": not is_pair,
        "easy_to_borrow": not is_pair,
        "fractionable": asset.qty_step is None or asset.qty_step < 1,
        "min_order_size": _maybe(asset.min_qty),
        "min_trade_increment": _maybe(asset.qty_step if is_pair else None),
        "price_increment": _maybe(asset.price_step),
    }


def fill_json(order: Order, execution: Execution) -> dict[str, object]:
    """A `TradeActivity`; its id begins with its time, so that ids are in the order of executions."""
    left = order.request.qty - execution.filled_qty
    return {
        "activity_type": "FILL",
        "id": f"{execution.at_ns // 1_000_000:017d}::{execution.id}",
        "cum_qty": decimal_text(execution.filled_qty),
        "leaves_qty": decimal_text(left),
        "price": decimal_text(execution.price),
        "qty": decimal_text(execution.qty),
        "side": order.request.side,
        "symbol": order.request.symbol,
        "transaction_time": timestamp(execution.at_ns),
        "order_id": order.id,
        "order_status": order.status.value,
        "type": "partial_fill" if left else "fill",
    }


def asset_class(symbol: str) -> str:
    return "crypto" if "/" in symbol else "us_equity"


def _maybe(number: Decimal | None) -> str | None:
    return None if number is None else decimal_text(number)
