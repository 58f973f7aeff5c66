"""What each of Tradier's answers proves about a submitted order: HTTP statuses and the words of its error lists.

The words are the table of docs.tradier.com/docs/error-responses, which come in `{"errors": {"error": […]}}`.
"""

from typing import NamedTuple

from domain.ports import OutcomeKind


class Verdict(NamedTuple):
    kind: OutcomeKind
    code: str


def final(code: str) -> Verdict:
    return Verdict(OutcomeKind.FINAL, code)


# What an HTTP status, or a word of the vendor's error list under any status, proves about a submitted order.
# The vendor answers 200 with `errors` where its back office refused; a word that is not here proves nothing, because
# "any error that is thrown by downstream systems" comes so.
_NO_FUNDS, _NOT_ALLOWED = final("insufficient_funds"), final("forbidden")
VERDICTS: dict[int | str, Verdict] = {
    400: final("invalid_order"),
    401: final("bad_credentials"),
    403: _NOT_ALLOWED,
    408: Verdict(OutcomeKind.AMBIGUOUS, "no_answer"),
    409: Verdict(OutcomeKind.AMBIGUOUS, "venue_error"),
    425: Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    429: Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    # The gateway in front of the vendor (Apigee) stops a request before anybody reads it. Its words for a used-up
    # budget are from public reports, as is that some of its versions send them with a 500.
    "policies.ratelimit.QuotaViolation": Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    "policies.ratelimit.SpikeArrestViolation": Verdict(OutcomeKind.RETRYABLE, "rate_limited"),
    "DayTradingBuyingPowerExceeded": _NO_FUNDS,
    "InitialMargin": _NO_FUNDS,
    "TotalInitialMargin": _NO_FUNDS,
    "MaintenanceMargin": _NO_FUNDS,
    "AccountMarginRuleViolation": _NO_FUNDS,
    "TooSmallEquityForDayTrading": _NO_FUNDS,
    # Too few shares: more is sold than is held, or covered than is short.
    "LongPositionCrossZero": _NO_FUNDS,
    "ShortPositionCrossZero": _NO_FUNDS,
    "UnexpectedSellOrder": _NO_FUNDS,
    "UnexpectedBuyToCoverOrder": _NO_FUNDS,
    "UnexpectedBuyOrder": final("invalid_order"),  # a buy while short
    "UnexpectedSellShortOrder": final("invalid_order"),  # a short sale while long
    "AccountDisabled": _NOT_ALLOWED,
    "AccountIsNotApproved": _NOT_ALLOWED,
    "AssetTradingNotConfiguredForAccount": _NOT_ALLOWED,
    "DayTraderPatternRestriction": _NOT_ALLOWED,
    "OrderIsNotAllowedForAccount": _NOT_ALLOWED,
    "ShortStockTradingDeniedForAccount": _NOT_ALLOWED,
    "TradingDeniedForAccount": _NOT_ALLOWED,
    "UserDisabled": _NOT_ALLOWED,
    "TradingDeniedForSecurity": final("halted"),
    "OtcTradingRestricted": final("halted"),
    "SecurityUndefined": final("unknown_symbol"),
    "IncorrectOrderQuantity": final("invalid_order"),
    "IncorrectTimeInForce": final("invalid_order"),
    "LimitPriceUndefined": final("invalid_order"),
    "MarketOrderIsGtc": final("invalid_order"),
    "OrderPriceIsInvalid": final("invalid_order"),
    "OrderQuantity": final("invalid_order"),
    "QuotePriceIsInvalid": final("invalid_order"),
    "SellShortOrderLastPriceBelow5": final("invalid_order"),
    "ShortOrderIsGtc": final("invalid_order"),
    "WashTradeAttempt": final("invalid_order"),
    # First of two words in public reports; the second says why.
    "Backoffice rejected override of the order.": final("rejected"),
    "OmsInternalError": Verdict(OutcomeKind.AMBIGUOUS, "venue_error"),
    "OmsUnavailable": Verdict(OutcomeKind.AMBIGUOUS, "venue_error"),
}
UNKNOWN_REFUSAL = final("invalid_order")
VENUE_ERROR = Verdict(OutcomeKind.AMBIGUOUS, "venue_error")  # a 5xx does not prove that nothing was booked
UNEXPECTED = Verdict(OutcomeKind.AMBIGUOUS, "unreadable_answer")
UNREADABLE = Verdict(OutcomeKind.AMBIGUOUS, "unreadable_answer")
CONNECT_FAILED = Verdict(OutcomeKind.RETRYABLE, "connect_failed")
NO_ANSWER = Verdict(OutcomeKind.AMBIGUOUS, "no_answer")
