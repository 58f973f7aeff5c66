"""What time brings about: trials and periods that end, retries, cancellations, pauses and pages that run out."""

from typing import Any

from localstripe import resources

from simulators.stripe.clock import clock
from simulators.stripe.collecting import collect, void
from simulators.stripe.subscriptions import tell

_INCOMPLETE_S = 23 * 3600
_OVER = ("canceled", "incomplete_expired")


def _all(kind: str) -> list[Any]:
    return [value for key, value in list(resources.store.items()) if key.startswith(f"{kind}:")]


def run_due() -> bool:
    """All that is due by the simulator's clock; whether a subscription changed by it."""
    changed = False
    for subscription in _all("subscription"):
        while subscription.status not in _OVER and _step(subscription):
            changed = True
    for session in _all("checkout.session"):
        session._expire_if_due()
    return changed


def _step(subscription: Any) -> bool:
    """The next thing that is due; False: nothing is."""
    now = clock.now()
    paused = subscription.pause_collection
    if paused and paused["resumes_at"] is not None and paused["resumes_at"] <= now:
        subscription.pause_collection = None
        tell("customer.subscription.updated", subscription)
        return True
    if subscription.status == "incomplete":
        return _expire(subscription, now)
    if subscription.cancel_at is not None and subscription.cancel_at <= now:
        subscription._end()
        return True
    if subscription.current_period_end <= now:
        _renew(subscription)
        return True
    return _retry(subscription, now)


def _expire(subscription: Any, now: int) -> bool:
    if subscription.created + _INCOMPLETE_S > now:
        return False
    for invoice in _all("invoice"):
        if invoice.subscription == subscription.id and invoice.status == "open":
            void(invoice)
    subscription._end("incomplete_expired")
    return True


def _renew(subscription: Any) -> None:
    if subscription.status == "trialing":
        subscription.status = "active"
    subscription._roll()
    subscription._bill("subscription_cycle")
    tell("customer.subscription.updated", subscription)


def _retry(subscription: Any, now: int) -> bool:
    for invoice in _all("invoice"):
        due = invoice.next_payment_attempt if invoice.subscription == subscription.id else None
        if due is not None and due <= now:
            collect(invoice, subscription)
            return True
    return False
