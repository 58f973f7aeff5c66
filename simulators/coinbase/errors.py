"""The vendor's refusals: of an order with 200 and `success` false, of anything else with a status and three words.

Statuses 400, 401, 403, 404, 429 and the order's codes are the vendor's; which of the three fields a code comes in, and
status and code of "account is not available", are not confirmed by a document.
"""

from simulators.market.refusals import Reason, Refusal

# `error`, and `preview_failure_reason` where the vendor finds it before the order is made.
ORDER_CODES: dict[Reason, tuple[str, str]] = {
    Reason.INVALID: ("UNSUPPORTED_ORDER_CONFIGURATION", ""),
    Reason.NOT_ALLOWED: ("UNSUPPORTED_ORDER_CONFIGURATION", ""),
    Reason.UNKNOWN_SYMBOL: ("INVALID_PRODUCT_ID", ""),
    Reason.HALTED: ("UNKNOWN_FAILURE_REASON", "PREVIEW_TRADING_DISABLED"),
    Reason.CANCEL_ONLY: ("ORDER_ENTRY_DISABLED", ""),
    Reason.LIMIT_ONLY: ("ORDER_ENTRY_DISABLED", ""),
    Reason.POST_ONLY: ("INVALID_LIMIT_PRICE_POST_ONLY", "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY"),
    Reason.QTY_STEP: ("INVALID_SIZE_PRECISION", "PREVIEW_INVALID_SIZE_PRECISION"),
    Reason.PRICE_STEP: ("INVALID_PRICE_PRECISION", "PREVIEW_INVALID_PRICE_PRECISION"),
    Reason.BELOW_MIN_QTY: ("UNKNOWN_FAILURE_REASON", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
    Reason.BELOW_MIN_NOTIONAL: ("UNKNOWN_FAILURE_REASON", "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
    Reason.INSUFFICIENT_FUNDS: ("INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"),
    Reason.INSUFFICIENT_QTY: ("INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"),
    Reason.BLOCKED: ("INELIGIBLE_PAIR", ""),
    Reason.DUPLICATE_ID: ("DUPLICATE_CLIENT_ORDER_ID", ""),
}
_STATUSES: dict[Reason, tuple[int, str]] = {
    Reason.UNREADABLE: (400, "INVALID_ARGUMENT"),
    Reason.UNAUTHORIZED: (401, "UNAUTHENTICATED"),
    Reason.BLOCKED: (403, "PERMISSION_DENIED"),
    Reason.NOT_FOUND: (404, "NOT_FOUND"),
    Reason.UNKNOWN_SYMBOL: (404, "NOT_FOUND"),
    Reason.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED"),
}
_ARGUMENT = (400, "INVALID_ARGUMENT")


def status_of(refusal: Refusal) -> int:
    return refusal.status if refusal.reason is Reason.BROKEN else _STATUSES.get(refusal.reason, _ARGUMENT)[0]


def refusal_json(refusal: Refusal) -> dict[str, object]:
    code = "INTERNAL" if refusal.reason is Reason.BROKEN else _STATUSES.get(refusal.reason, _ARGUMENT)[1]
    return {"error": code, "error_details": refusal.message, "message": refusal.message}


def order_refusal_json(refusal: Refusal, configuration: object) -> dict[str, object]:
    """Raises the refusal again where the vendor does not answer it with 200."""
    if refusal.reason not in ORDER_CODES:
        raise refusal
    error, preview = ORDER_CODES[refusal.reason]
    said = {"error": error, "message": refusal.message, "error_details": ""}
    return {
        "success": False,
        "failure_reason": "UNKNOWN_FAILURE_REASON",
        "order_id": "",
        "error_response": said | ({"preview_failure_reason": preview} if preview else {}),
        "order_configuration": configuration,
    }
