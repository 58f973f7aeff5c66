"""The vendor's refusals: a 400 for what the API itself refuses, a 200 with `errors` for its back office.

Words and the form of a 200 are known from the vendor's page of error responses and public reports; the messages of a
400, and what an unknown order or a cancel that comes too late is answered with, are made up.
"""

from aiohttp import web

from simulators.market.refusals import Reason, Refusal

_BACK_OFFICE = "Backoffice rejected override of the order."
_WORDS: dict[Reason, str] = {
    Reason.INSUFFICIENT_FUNDS: "DayTradingBuyingPowerExceeded",
    Reason.INSUFFICIENT_QTY: "UnexpectedSellOrder",
    Reason.BLOCKED: "AccountDisabled",
    Reason.HALTED: "TradingDeniedForSecurity",
    Reason.CANCEL_ONLY: "TradingDeniedForSecurity",
}
_STATUSES: dict[Reason, int] = {Reason.NOT_FOUND: 404, Reason.DUPLICATE_ID: 409}


def refuse(refusal: Refusal) -> web.Response:
    word = refusal.facts.get("word", _WORDS.get(refusal.reason))
    if word is not None:
        return web.json_response(errors_json(_BACK_OFFICE, str(word)))
    match refusal.reason:
        case Reason.UNAUTHORIZED:
            return web.Response(status=401, text="Invalid Access Token")
        case Reason.RATE_LIMITED:
            return web.json_response(_QUOTA, status=429)
        case Reason.BROKEN:
            return web.Response(status=refusal.status, text="")
        case _:
            return web.json_response(errors_json(refusal.message), status=_STATUSES.get(refusal.reason, 400))


def errors_json(*words: str) -> dict[str, object]:
    """One word is no list."""
    return {"errors": {"error": words[0] if len(words) == 1 else list(words)}}


def rejected(word: str) -> Refusal:
    """By the back office, in a word of the vendor's table."""
    return Refusal(Reason.NOT_ALLOWED, word, word=word)


def invalid(message: str) -> Refusal:
    return Refusal(Reason.INVALID, message)


_QUOTA = {
    "fault": {
        "faultstring": "Rate limit quota violation. Quota limit exceeded.",
        "detail": {"errorcode": "policies.ratelimit.QuotaViolation"},
    }
}
