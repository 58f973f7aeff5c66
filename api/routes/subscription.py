"""The tenant's subscription: how it stands, and what may be wished of it."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict

from api import subscribing
from api.body import documents, json_body
from api.deps import BillingManager, BillingReader, IdempotencyKey, ServicesDep
from api.schemas.common import WRITES, problems
from api.schemas.subscriptions import (
    CancelBody,
    ChangeBody,
    Checkout,
    CheckoutBody,
    PauseBody,
    PlanId,
    Portal,
    PortalBody,
    Preview,
    Subscription,
)
from api.subscription_view import shown
from domain.subscriptions import CancelWish, PauseWish

router = APIRouter(prefix="/v1/subscription", tags=["subscription"])


class ChangeQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    plan_id: PlanId


@router.get("", operation_id="get_subscription", responses=problems())
async def get_subscription(caller: BillingReader, services: ServicesDep) -> Subscription:
    """How the tenant's subscription stands, and what it may use. Without one, `status` is `none` and not a 404.

    It is read from what is stored, so it answers as well while the payment system or the workflow engine is away.
    """
    return await shown(services, caller.tenant_id)


@router.post(
    "/checkout",
    operation_id="check_out",
    status_code=201,
    responses=problems(409, *WRITES),
    openapi_extra=documents(CheckoutBody),
)
async def check_out(
    caller: BillingManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[CheckoutBody, Depends(json_body(CheckoutBody))],
    response: Response,
) -> Checkout:
    """Begin a subscription: the answer says where the payer pays. It is in force once that is confirmed.

    A tenant has one at a time: 409 `already-subscribed`. As long as it is not paid, another checkout gives another page
    for the same one. A tenant's first has the plan's trial.
    """
    identity, page = await subscribing.checkout(services, caller, key, body)
    response.headers["Location"] = "/v1/subscription"
    return Checkout(subscription_id=identity, checkout_url=page.url, expires_at=page.expires_at)


@router.get("/change", operation_id="preview_change", responses=problems(409))
async def preview_change(
    caller: BillingReader, services: ServicesDep, query: Annotated[ChangeQuery, Query()]
) -> Preview:
    """What a change to the plan would cost now, or from when on it would be in force. Changes nothing."""
    return Preview.of(*await subscribing.previewed(services, caller, query.plan_id, datetime.now(UTC)))


@router.post(
    "/change",
    operation_id="change_plan",
    responses=problems(409, *WRITES),
    openapi_extra=documents(ChangeBody),
)
async def change_plan(
    caller: BillingManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[ChangeBody, Depends(json_body(ChangeBody))],
) -> Subscription:
    """Change the plan: an upgrade now, for the difference of what is left of the period; a downgrade at the renewal.

    Of an upgrade that is paid in bitcoin, `to_pay` names the invoice; it is in force once that is paid.
    """
    _, _, wanted = await subscribing.plan_change(services, caller, key, body.plan_id)
    await subscribing.carried_out(services.billing.engine.change(wanted))
    return await shown(services, caller.tenant_id)


@router.post(
    "/cancel",
    operation_id="cancel_subscription",
    responses=problems(409, *WRITES),
    openapi_extra=documents(CancelBody),
)
async def cancel_subscription(
    caller: BillingManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[CancelBody, Depends(json_body(CancelBody))],
) -> Subscription:
    """End it at the end of what is paid for, or now. Positions stay: followers may reduce and not open."""
    held = (await subscribing.held_account(services, caller.tenant_id)).subscription
    wanted = CancelWish(caller.tenant_id, held.subscription_id, caller.actor, key, body.at_period_end)
    await subscribing.carried_out(services.billing.engine.cancel(wanted))
    return await shown(services, caller.tenant_id)


@router.post("/keep", operation_id="keep_subscription", responses=problems(400, 409))
async def keep_subscription(caller: BillingManager, services: ServicesDep, key: IdempotencyKey) -> Subscription:
    """Take back an end, or a downgrade, that has not come about yet."""
    held = (await subscribing.held_account(services, caller.tenant_id)).subscription
    await subscribing.carried_out(services.billing.engine.keep(subscribing.wish(caller, key, held)))
    return await shown(services, caller.tenant_id)


@router.post(
    "/pause",
    operation_id="pause_subscription",
    responses=problems(409, *WRITES),
    openapi_extra=documents(PauseBody),
)
async def pause_subscription(
    caller: BillingManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[PauseBody, Depends(json_body(PauseBody))],
) -> Subscription:
    """Pay nothing for a while, in which followers may reduce and not open."""
    held = (await subscribing.held_account(services, caller.tenant_id)).subscription
    wanted = PauseWish(caller.tenant_id, held.subscription_id, caller.actor, key, body.until)
    await subscribing.carried_out(services.billing.engine.pause(wanted))
    return await shown(services, caller.tenant_id)


@router.post("/resume", operation_id="resume_subscription", responses=problems(400, 409))
async def resume_subscription(caller: BillingManager, services: ServicesDep, key: IdempotencyKey) -> Subscription:
    """Go on with one that is paused."""
    held = (await subscribing.held_account(services, caller.tenant_id)).subscription
    await subscribing.carried_out(services.billing.engine.resume(subscribing.wish(caller, key, held)))
    return await shown(services, caller.tenant_id)


@router.post(
    "/portal",
    operation_id="open_portal",
    responses=problems(409, *WRITES),
    openapi_extra=documents(PortalBody),
)
async def open_portal(
    caller: BillingManager,
    services: ServicesDep,
    body: Annotated[PortalBody, Depends(json_body(PortalBody))],
) -> Portal:
    """Where the payer changes his card and sees receipts. There is none for bitcoin: 422, `code` is not_offered."""
    return Portal(url=await subscribing.portal(services, caller, body.return_url))
