"""From a wish for the tenant's subscription to its workflow, which is the only one that changes it.

Where a wish can be seen to be wrong it is refused here, with nothing handed over; what the workflow or the payment
system refuses reads as if it had been refused here. All raise EngineUnavailable, after which nothing has changed, and
Problem 504 where nobody knows whether it has: then the same key gives the same wish.
"""

from collections.abc import Awaitable
from datetime import datetime
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from api.errors import Problem, billing_refused, billing_unavailable
from api.schemas.subscriptions import CheckoutBody
from api.services import Services
from domain import ids
from domain.access import Kind, Principal
from domain.billing import (
    Account,
    BillingUnavailable,
    CheckoutPage,
    Invoice,
    Provider,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionState,
)
from domain.errors import (
    Conflict,
    IdempotencyKeyReused,
    IllegalTransition,
    InvalidInput,
    NotFound,
    Stale,
    StoreUnavailable,
)
from domain.plan_changes import ChangePreview, preview
from domain.plans import Plan
from domain.subscriptions import CheckoutWish, PlanWish, RefundWish, Wish, check_change, check_plans, given_back
from temporal.orders import EngineUnavailable

_T = TypeVar("_T")
# What `domain.subscriptions` refuses for how things stand; every other code is a payment system's.
_CONFLICTS = frozenset({
    "already-subscribed", "other-provider", "subscription-over", "not-in-force", "cancel-scheduled", "other-interval",
    "nothing-scheduled", "not-paused",
})  # fmt: skip
_AGAIN = frozenset({BillingUnavailable.code, Stale.code, StoreUnavailable.code, IllegalTransition.code})


async def checkout(services: Services, caller: Principal, key: str, body: CheckoutBody) -> tuple[str, CheckoutPage]:
    """The subscription's id, and where it is paid.

    A page that was left unpaid may be asked for again, under the same key or another one: it is the same subscription.
    Raises Conflict where the tenant has one that is paid, InvalidInput, and Problem `no-payer`.
    """
    desk = services.billing
    plan = desk.catalogue.current(body.plan_id)
    _offered(services, body.provider)
    for name in ("success_url", "cancel_url"):
        check_return_url(name, getattr(body, name), loopback=desk.loopback_urls)
    held = await desk.store.live(caller.tenant_id)
    identity = ids.subscription_id(caller.tenant_id, key)
    if held is not None and not held.over:
        if held.status is not SubscriptionState.INCOMPLETE and held.subscription_id != identity:
            raise Conflict("already-subscribed", f"there is a subscription, which is {held.status}", "subscription")
        identity = held.subscription_id
    wish = CheckoutWish(
        caller.tenant_id, identity, caller.actor, key, body.provider, plan.plan_id, plan.version,
        await _payer(services, caller), body.success_url, body.cancel_url, body.coupon,
    )  # fmt: skip
    return identity, await carried_out(desk.engine.checkout(wish))


async def held_account(services: Services, tenant_id: str) -> Account:
    """Of the tenant's subscription, also where it is over. Raises Problem 409 `no-subscription`."""
    held = await services.billing.store.live(tenant_id)
    if held is None:
        raise Problem(409, "no-subscription", "The tenant has no subscription; begin with a checkout.")
    return await services.billing.store.account(tenant_id, held.subscription_id)


def wish(caller: Principal, key: str, held: Subscription) -> Wish:
    return Wish(caller.tenant_id, held.subscription_id, caller.actor, key)


async def plan_change(services: Services, caller: Principal, key: str, plan_id: str) -> tuple[Account, Plan, PlanWish]:
    """What a change to the plan starts from, once it is clear that it may be made; see `domain.subscriptions`."""
    account = await held_account(services, caller.tenant_id)
    plan, held = services.billing.catalogue.current(plan_id), account.subscription
    wanted = PlanWish(caller.tenant_id, held.subscription_id, caller.actor, key, plan.plan_id, plan.version)
    check_change(held, wanted)
    check_plans(account.plan, plan)
    return account, plan, wanted


async def previewed(services: Services, caller: Principal, plan_id: str, now: datetime) -> tuple[Plan, ChangePreview]:
    """Raises what the change itself would raise."""
    account, plan, _ = await plan_change(services, caller, "", plan_id)
    return plan, preview(account.subscription, account.plan, plan, now)


async def portal(services: Services, caller: Principal, return_url: str) -> str:
    """Asked of the payment system itself, as nothing of ours changes. Raises BillingUnavailable, BillingRefused."""
    check_return_url("return_url", return_url, loopback=services.billing.loopback_urls)
    account = await held_account(services, caller.tenant_id)
    biller = services.billing.billers.get(account.subscription.provider)
    if biller is None:
        raise BillingUnavailable(f"{account.subscription.provider} is not set up here")
    return await biller.portal(account, return_url)


def left_of(invoice: Invoice, refunds: tuple[Refund, ...]) -> int:
    """What can still be given back, in minor units."""
    return max(0, invoice.paid_minor - max(invoice.refunded_minor, given_back(invoice, refunds)))


async def refund(
    services: Services, caller: Principal, key: str, invoice_id: str, amount_minor: int | None, reason: str
) -> tuple[Invoice, Refund]:
    """`amount_minor` None: all that is left. Raises NotFound, InvalidInput, and IdempotencyKeyReused."""
    store = services.billing.store
    invoice = await store.invoice(caller.tenant_id, invoice_id)
    refunds = tuple(await store.refunds(caller.tenant_id, invoice_id))
    identity = ids.refund_id(caller.tenant_id, key)
    known = next((each for each in refunds if each.refund_id == identity), None)
    if known is not None and amount_minor not in (None, known.amount_minor):
        raise IdempotencyKeyReused("Idempotency-Key was already used for a refund of another amount")
    # One that is written down and was never heard of from the payment system is asked for again, and given once.
    if known is not None and (known.status is not RefundStatus.PENDING or known.provider_ref is not None):
        return invoice, known
    wanted = _to_give_back(invoice, refunds, amount_minor) if known is None else known.amount_minor
    asked = RefundWish(
        caller.tenant_id, invoice.subscription_id, caller.actor, key, identity, invoice_id, wanted, reason
    )
    made = await carried_out(services.billing.engine.refund(asked))
    # Where it is claimed crosses no workflow: the store alone tells it.
    kept = (each for each in await store.refunds(caller.tenant_id, invoice_id) if each.refund_id == identity)
    return invoice, next(kept, made)


def _to_give_back(invoice: Invoice, refunds: tuple[Refund, ...], amount_minor: int | None) -> int:
    """Raises InvalidInput for more than is left."""
    left = left_of(invoice, refunds)
    wanted = left if amount_minor is None else amount_minor
    if not 0 < wanted <= left:
        raise InvalidInput("amount", "is more than is left to give back" if left else "nothing is left to give back")
    return wanted


def check_return_url(field: str, url: str, *, loopback: bool) -> None:
    """Raises InvalidInput unless it is https, or where `loopback` allows it http to this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidInput(field, "is no address of a page")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(field, "must not hold a user or a password")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http" and _is_loopback(host)):
        raise InvalidInput(field, "must begin with https://")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def carried_out(answer: Awaitable[_T]) -> _T:
    try:
        return await answer
    except WorkflowUpdateFailedError as error:
        raise _refused(error) from error
    except EngineUnavailable as error:
        if error.taken:
            detail = "It was handed over and not done in time; repeat it under the same Idempotency-Key."
            raise Problem(504, "timed-out", detail) from error
        raise


def _refused(error: WorkflowUpdateFailedError) -> Exception:
    """Messages of InvalidInput are `field: reason`."""
    cause = error.cause
    # Codes are in lower case; what is not is the name of an exception that nobody meant.
    if not isinstance(cause, ApplicationError) or cause.type is None or not cause.type.islower():
        return billing_unavailable("The subscription could not be changed in time; try again.")
    if cause.type == InvalidInput.code:
        field, _, reason = cause.message.partition(": ")
        return InvalidInput("amount" if field == "amount_minor" else field, reason)
    if cause.type == NotFound.code:
        return Problem(404, NotFound.code, cause.message)
    if cause.type in _CONFLICTS:
        return Conflict(cause.type, cause.message, "subscription")
    if cause.type in _AGAIN:
        return billing_unavailable(cause.message)
    return billing_refused(cause.type, cause.message)


def _offered(services: Services, provider: Provider) -> None:
    billers = services.billing.billers
    if provider not in billers:
        offered = ", ".join(sorted(billers)) or "no way to pay is set up"
        raise InvalidInput("provider", f"{provider} is not offered here; {offered}")


async def _payer(services: Services, caller: Principal) -> str:
    """Where receipts go: to whoever pays, or to the first owner where it is a program or a token of no login."""
    is_person = caller.kind is Kind.USER and caller.session_id is not None
    found = await services.members.payer(caller.tenant_id, caller.subject if is_person else None)
    if not found:
        raise Problem(409, "no-payer", "Nobody of the tenant has an e-mail address for receipts: an owner must log in.")
    return found
