"""Reads the body of `POST /v2/orders` and refuses what the vendor refuses, in the vendor's words."""

import json
import uuid
from decimal import Decimal, InvalidOperation

from simulators.alpaca.errors import invalid, unprocessable
from simulators.market.instruments import Instrument
from simulators.market.ledger import Instruments
from simulators.market.orders import OrderRequest
from simulators.market.refusals import Reason, Refusal

_TIFS = frozenset({"day", "gtc", "opg", "cls", "ioc", "fok"})
_SIMULATED_TYPES = frozenset({"market", "limit"})
_TYPES = _SIMULATED_TYPES | {"stop", "stop_limit", "trailing_stop"}
_MAX_QTY_PLACES = 9


def read_fields(raw: bytes) -> dict[str, object]:
    """The JSON object of a request body."""
    try:
        fields = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refusal(Reason.UNREADABLE, "request body format is invalid")
    return fields


def parse_order(fields: dict[str, object], assets: Instruments) -> OrderRequest:
    """A complete order, or the vendor's refusal."""
    asset = _asset(fields, assets)
    side = _word(fields, "side", frozenset({"buy", "sell"}))
    order_type = _word(fields, "type", _TYPES)
    tif = _word(fields, "time_in_force", _TIFS)
    order_class = fields.get("order_class") or "simple"
    # Kinds that no one here sends are refused rather than half simulated.
    if order_type not in _SIMULATED_TYPES or order_class != "simple" or fields.get("notional") is not None:
        raise unprocessable("not simulated: only simple market and limit orders by qty")
    qty = _quantity(fields, asset, tif)
    return OrderRequest(
        client_order_id=_client_order_id(fields),
        symbol=asset.symbol,
        side=side,
        type=order_type,
        time_in_force=tif,
        qty=qty,
        limit_price=_limit_price(fields, order_type),
        extras={"extended_hours": fields.get("extended_hours") is True},
    )


def _asset(fields: dict[str, object], assets: Instruments) -> Instrument:
    symbol = fields.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise invalid("symbol is required")
    asset = assets.get(symbol)
    if asset is None:
        raise Refusal(Reason.UNKNOWN_SYMBOL, f'asset "{symbol}" not found')
    if not asset.tradable or asset.halted:
        raise Refusal(Reason.HALTED, f'asset "{symbol}" is not tradable')
    return asset


def _word(fields: dict[str, object], name: str, allowed: frozenset[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise invalid(f"invalid {name}")
    return value


def _number(value: object, name: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str | Decimal) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise invalid(f"{name} must be a number")
    if number <= 0:
        raise unprocessable(f"{name} must be > 0")
    return number


def _places(number: Decimal) -> int:
    return max(0, -int(number.normalize().as_tuple().exponent))


def _quantity(fields: dict[str, object], asset: Instrument, tif: str) -> Decimal:
    if fields.get("qty") is None:
        raise invalid("qty is required")
    qty = _number(fields["qty"], "qty")
    if _places(qty) > _MAX_QTY_PLACES:
        raise unprocessable("qty is limited to 9 decimal places")
    if _places(qty):
        if asset.qty_step is not None and qty % asset.qty_step:
            raise Refusal(Reason.QTY_STEP, f'asset "{asset.symbol}" is not fractionable')
        if tif != "day":
            raise unprocessable("fractional orders must be DAY orders")
    return qty


def _limit_price(fields: dict[str, object], order_type: str) -> Decimal | None:
    given = fields.get("limit_price")
    if order_type == "market":
        if given is not None:
            raise unprocessable("market orders require no limit price")
        return None
    if given is None:
        raise unprocessable("limit orders require limit price")
    price = _number(given, "limit_price")
    if _places(price) > (2 if price >= 1 else 4):
        raise unprocessable(
            f"invalid limit_price {price}. sub-penny increment does not fulfill minimum pricing criteria"
        )
    return price


def _client_order_id(fields: dict[str, object]) -> str:
    given = fields.get("client_order_id") or str(uuid.uuid4())
    if not isinstance(given, str):
        raise invalid("client_order_id must be a string")
    if len(given) > 48:
        raise invalid("client_order_id must be no more than 48 characters")
    return given
