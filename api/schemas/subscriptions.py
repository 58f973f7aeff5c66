"""A tenant's subscription on the wire. Money is given twice: as a decimal string, and in minor units (US cents)."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool

from api.schemas.common import Answer, Request, Time
from api.schemas.entitlements import EntitlementList
from api.schemas.invoices import Invoice
from api.schemas.plans import PlanName
from domain import billing
from domain.amounts import shown
from domain.plan_changes import ChangePreview, When
from domain.plans import Plan

NONE = "none"
_STATES = (NONE, *billing.SubscriptionState)
PlanId = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9-]*$", examples=["pro"])]
Url = Annotated[str, Field(min_length=1, max_length=2_000, examples=["https://app.example/billing"])]


class CheckoutBody(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "plan_id": "core",
                    "provider": "stripe",
                    "success_url": "https://app.example/billing/done",
                    "cancel_url": "https://app.example/billing",
                }
            ]
        }
    )

    plan_id: PlanId
    provider: billing.Provider = Field(description="stripe: cards; btcpay: bitcoin.")
    coupon: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Its id at Stripe; there are none for bitcoin.",
    )
    success_url: Url = Field(description="https; where the payer comes back to, which proves no payment.")
    cancel_url: Url = Field(description="https; where he comes back to if he leaves.")


class ChangeBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"plan_id": "pro"}]})

    plan_id: PlanId


class CancelBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"at_period_end": True}]})

    at_period_end: StrictBool = Field(default=True, description="false: now, and nothing is given back by itself.")


class PauseBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"until": "2026-03-31T12:00:00Z"}]})

    until: Time | None = Field(default=None, description="Then it goes on by itself; none: until it is resumed.")


class PortalBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"return_url": "https://app.example/billing"}]})

    return_url: Url


class Checkout(Answer):
    subscription_id: str = Field(examples=["SUB-7K5ZC2QW4N6J3XEXAMPLE2AB4"])
    checkout_url: str = Field(
        description="Where it is paid; success_url where nothing is to pay yet, as in a trial that is paid in bitcoin.",
        examples=["https://checkout.stripe.com/c/pay/cs_test_a1"],
    )
    expires_at: datetime | None = Field(description="Of the page; after that, check out again.")


class Portal(Answer):
    url: str = Field(
        description="For the payer only, and for a short time: whoever has it can change how is paid.",
        examples=["https://billing.stripe.com/p/session/test_a1"],
    )


class NextEvent(Answer):
    kind: str = Field(description="What time alone brings about next.", examples=["renewal"])
    at: datetime


class Subscription(Answer):
    """`status` is `none` where the tenant never subscribed; one that is over is shown until there is a new one."""

    status: Literal[_STATES] = Field(examples=["active"])  # type: ignore[valid-type]  # the states are a table's
    subscription_id: str | None = Field(examples=["SUB-7K5ZC2QW4N6J3XEXAMPLE2AB4"])
    plan: PlanName | None
    provider: billing.Provider | None = Field(examples=["stripe"])
    period_start: datetime | None
    renewal_at: datetime | None = Field(description="The end of the present period, or of the trial.")
    paid_through: datetime | None = Field(description="Later than that where more is paid already.")
    trial_end: datetime | None
    past_due_since: datetime | None
    grace_until: datetime | None = Field(description="Then followers may reduce and not open.")
    close_only: bool = Field(
        description="Followers whom this tenant pays for may reduce and not open.", examples=[False]
    )
    scheduled_plan: PlanName | None = Field(description="From renewal_at on.")
    cancel_at: datetime | None
    ended_at: datetime | None
    paused_at: datetime | None
    resume_at: datetime | None
    coupon: str | None = Field(examples=["LAUNCH20"])
    balance: str = Field(description="What the tenant has in hand; bitcoin: paid first next time.", examples=["0.00"])
    balance_minor: int = Field(examples=[0])
    next_event: NextEvent | None
    to_pay: list[Invoice] = Field(description="Invoices that are open, with where to pay them.", examples=[[]])
    entitlements: EntitlementList = Field(description="What the tenant may use at the moment.")


class Preview(Answer):
    """Our figures; by card, what is paid is what Stripe's invoice says."""

    plan: PlanName
    when: When = Field(description="now, or at_renewal.", examples=["now"])
    at: datetime = Field(description="From when on the new plan is in force.")
    currency: str = Field(examples=["usd"])
    credit: str = Field(description="Of the present plan, for what is left of the period.", examples=["24.50"])
    credit_minor: int = Field(examples=[2450])
    charge: str = Field(description="Of the new one, for the same time.", examples=["99.50"])
    charge_minor: int = Field(examples=[9950])
    due: str = Field(description="To pay now.", examples=["75.00"])
    due_minor: int = Field(examples=[7500])
    renewal: str = Field(description="What the next period costs.", examples=["199.00"])
    renewal_minor: int = Field(examples=[19900])
    renewal_at: datetime | None

    @classmethod
    def of(cls, plan: Plan, found: ChangePreview) -> "Preview":
        names = ("credit", "charge", "due", "renewal")
        minor = {f"{name}_minor": getattr(found, f"{name}_minor") for name in names}
        money = {name: shown(minor[f"{name}_minor"]) for name in names}
        rest = {"when": found.when, "at": found.at, "renewal_at": found.renewal_at, "currency": plan.currency}
        return cls(plan=PlanName.named(plan), **rest, **minor, **money)
