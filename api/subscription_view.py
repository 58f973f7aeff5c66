"""The tenant's subscription as it is shown: put together of what is stored, so that it answers at all times."""

from datetime import UTC, datetime

from api.schemas.entitlements import EntitlementList
from api.schemas.invoices import Invoice
from api.schemas.plans import PlanName
from api.schemas.subscriptions import NONE, NextEvent, Subscription
from api.services import Services
from domain import amounts
from domain.billing import Account, InvoiceStatus
from domain.subscription_life import upcoming

_SAME = (
    "subscription_id", "provider", "period_start", "renewal_at", "paid_through", "trial_end", "past_due_since",
    "grace_until", "close_only", "cancel_at", "ended_at", "paused_at", "resume_at", "coupon",
)  # fmt: skip
_NOTHING = dict.fromkeys(_SAME) | {"close_only": False}


async def shown(services: Services, tenant_id: str) -> Subscription:
    store = services.billing.store
    granted = EntitlementList.model_validate((await services.billing.granted.of(tenant_id)).entitlements)
    held = await store.live(tenant_id)
    if held is None:
        return Subscription(
            **_NOTHING, status=NONE, plan=None, scheduled_plan=None, **_balance(0), next_event=None, to_pay=[],
            entitlements=granted,
        )  # fmt: skip
    account = await store.account(tenant_id, held.subscription_id)
    held = account.subscription
    step = upcoming(held, services.billing.terms, datetime.now(UTC))
    return Subscription(
        **{name: getattr(held, name) for name in _SAME},
        status=held.status.value,
        plan=PlanName.named(account.plan),
        scheduled_plan=None if account.scheduled is None else PlanName.named(account.scheduled),
        **_balance(account.balance_minor),
        next_event=None if step is None else NextEvent(kind=step.kind, at=step.at),
        to_pay=_to_pay(account),
        entitlements=granted,
    )


def _to_pay(account: Account) -> list[Invoice]:
    return [Invoice.of(each) for each in account.invoices if each.status is InvoiceStatus.OPEN]


def _balance(minor: int) -> dict[str, object]:
    return {"balance": amounts.shown(minor), "balance_minor": minor}
