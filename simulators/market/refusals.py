"""Why a simulated venue refuses, in words that belong to no vendor; each vendor's wire says it in its own."""

from enum import StrEnum


class Reason(StrEnum):
    UNREADABLE = "unreadable"  # the request itself: no JSON, no form
    INVALID = "invalid"  # a parameter is missing or makes no sense
    NOT_ALLOWED = "not_allowed"  # a parameter makes sense and the venue does not take it
    NOT_FOUND = "not_found"
    UNKNOWN_SYMBOL = "unknown_symbol"
    HALTED = "halted"
    CANCEL_ONLY = "cancel_only"
    LIMIT_ONLY = "limit_only"
    POST_ONLY = "post_only"
    QTY_STEP = "qty_step"
    PRICE_STEP = "price_step"
    BELOW_MIN_QTY = "below_min_qty"
    BELOW_MIN_NOTIONAL = "below_min_notional"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    INSUFFICIENT_QTY = "insufficient_qty"
    NO_WALLET = "no_wallet"  # the account has none in the instrument's quote currency
    BLOCKED = "blocked"
    DUPLICATE_ID = "duplicate_id"
    NOT_OPEN = "not_open"  # a cancel of what has ended
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    BROKEN = "broken"  # the venue's own trouble


class Refusal(Exception):
    """`facts` are what some vendors add to the words: amounts, ids, and for troubles on purpose `status` and
    `retry_after_s`."""

    def __init__(self, reason: Reason, message: str, **facts: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.facts = facts

    @property
    def status(self) -> int:
        """The HTTP status that a scripted trouble asks for."""
        given = self.facts.get("status")
        return given if isinstance(given, int) else 500

    @property
    def retry_after_s(self) -> int | None:
        given = self.facts.get("retry_after_s")
        return given if isinstance(given, int) else None
