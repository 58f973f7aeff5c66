"""Reads the body of `POST /orders` and refuses what the vendor refuses."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from simulators.market.orders import OrderRequest
from simulators.market.refusals import Reason, Refusal

# The vendor's forms of an order that are simulated, and what each is on the market. A market order is at once by
# nature; here its scripted life says how it fares, as that of any other.
FORMS: dict[str, tuple[str, str]] = {
    "market_market_ioc": ("market", "gtc"),
    "sor_limit_ioc": ("limit", "ioc"),
    "limit_limit_gtc": ("limit", "gtc"),
    "limit_limit_gtd": ("limit", "gtc"),
    "limit_limit_fok": ("limit", "fok"),
}


def read_fields(raw: bytes) -> dict[str, object]:
    """The JSON object of a request body."""
    try:
        fields = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refusal(Reason.UNREADABLE, "request body is no JSON object")
    return fields


def parse_order(fields: Mapping[str, object]) -> OrderRequest:
    """A complete order, or the vendor's refusal. Whether the product takes it is the market's to say."""
    side = fields.get("side")
    if side not in {"BUY", "SELL"}:
        raise Refusal(Reason.INVALID, "invalid side")
    form, said = _form(fields.get("order_configuration"))
    order_type, tif = FORMS[form]
    if said.get("quote_size"):
        raise Refusal(Reason.NOT_ALLOWED, "not simulated: orders by quote_size")
    if form == "limit_limit_gtd" and not said.get("end_time"):
        raise Refusal(Reason.INVALID, "end_time is required")
    return OrderRequest(
        client_order_id=text(fields, "client_order_id"),
        symbol=text(fields, "product_id"),
        side=str(side).lower(),
        type=order_type,
        time_in_force=tif,
        qty=number(said, "base_size"),
        limit_price=number(said, "limit_price") if order_type == "limit" else None,
        post_only=said.get("post_only") is True,
        extras={"form": form, "configuration": {form: {**said}}},
    )


def text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(Reason.INVALID, f"{name} is required")
    return value


def number(fields: Mapping[str, object], name: str) -> Decimal:
    """The vendor takes numbers as strings only."""
    try:
        value = Decimal(text(fields, name))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0:
        raise Refusal(Reason.INVALID, f"{name} must be a positive number")
    return value


def _form(configuration: object) -> tuple[str, dict[str, object]]:
    if not isinstance(configuration, dict) or len(configuration) != 1:
        raise Refusal(Reason.INVALID, "order_configuration must have one form")
    [(form, said)] = configuration.items()
    if form not in FORMS or not isinstance(said, dict):
        raise Refusal(Reason.NOT_ALLOWED, f"not simulated: {form}")
    return form, said
