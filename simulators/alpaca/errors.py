"""The vendor's refusals: HTTP status, numeric code, message, and the extra fields some of them carry.

Only the HTTP statuses and codes 40010001, 40310000, 40410000 and 42210000 are known from the vendor's documents or
public reports; the other codes follow their pattern.
"""

from decimal import Decimal

from simulators.market.refusals import Reason, Refusal

# 40010001 is shared by malformed parameters and by a client order id that is already spent.
_CODES: dict[Reason, tuple[int, int]] = {
    Reason.UNREADABLE: (400, 40010000),
    Reason.INVALID: (422, 40010001),
    Reason.DUPLICATE_ID: (422, 40010001),
    Reason.UNAUTHORIZED: (401, 40110000),
    Reason.INSUFFICIENT_FUNDS: (403, 40310000),
    Reason.INSUFFICIENT_QTY: (403, 40310000),
    Reason.NO_WALLET: (403, 40310000),
    Reason.BLOCKED: (403, 40310000),
    Reason.BELOW_MIN_QTY: (403, 40310000),
    Reason.BELOW_MIN_NOTIONAL: (403, 40310000),
    Reason.QTY_STEP: (403, 40310000),  # an asset that is not fractionable
    Reason.NOT_FOUND: (404, 40410000),
    Reason.RATE_LIMITED: (429, 42910000),
}
_UNPROCESSABLE = (422, 42210000)
_INTERNAL = 50010000


def status_of(refusal: Refusal) -> int:
    if refusal.reason is Reason.BROKEN:
        return refusal.status
    return _CODES.get(refusal.reason, _UNPROCESSABLE)[0]


def refusal_json(refusal: Refusal) -> dict[str, object]:
    if refusal.reason is Reason.BROKEN:
        return {"code": _INTERNAL, "message": refusal.message}
    code = _CODES.get(refusal.reason, _UNPROCESSABLE)[1]
    if refusal.reason in _MINIMUMS:  # words as the paper API's are reported
        return {"code": code, "message": f"cost basis must be >= minimal amount of order ({refusal.message})"}
    facts = {} if refusal.reason not in _TOLD else refusal.facts
    return {"code": code, "message": refusal.message} | {name: _plain(value) for name, value in facts.items()}


_MINIMUMS = frozenset({Reason.BELOW_MIN_QTY, Reason.BELOW_MIN_NOTIONAL})
_TOLD = frozenset({Reason.INSUFFICIENT_FUNDS, Reason.INSUFFICIENT_QTY})


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


def invalid(message: str) -> Refusal:
    return Refusal(Reason.INVALID, message)


def unprocessable(message: str) -> Refusal:
    return Refusal(Reason.NOT_ALLOWED, message)
