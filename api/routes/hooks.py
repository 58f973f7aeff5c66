"""Payment systems' events: signed by them, stored, answered, and only then acted on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Request, Security
from fastapi.security import APIKeyHeader

from api.body import documents, read_raw
from api.deps import ServicesDep
from api.errors import Problem
from api.schemas.common import problems
from api.schemas.hooks import BtcpayEventBody, HookReceipt, StripeEventBody
from api.services import Services
from domain.billing import Provider
from domain.errors import StoreUnavailable
from domain.payment_events import EventState, HookNotSetUp, HookRefused

router = APIRouter(prefix="/v1/hooks", tags=["payment hooks"])
_STRIPE = APIKeyHeader(
    name="Stripe-Signature",
    scheme_name="StripeSignature",
    auto_error=False,
    description="`t` and one or more `v1`, by the secret of the endpoint; within five minutes, on either side.",
)
_BTCPAY = APIKeyHeader(
    name="BTCPay-Sig",
    scheme_name="BtcpaySignature",
    auto_error=False,
    description="`sha256=HEX` of the raw body, by the secret of the webhook.",
)
_RESPONSES: Mapping[int | str, dict[str, Any]] = {
    **{status: told for status, told in problems(413).items() if status not in {401, 403, 422}},
    400: {**problems(400)[400], "description": "Not signed by the payment system, not of now, or not an event"},
}


@router.post(
    "/stripe",
    operation_id="receive_stripe_event",
    responses={**_RESPONSES},
    openapi_extra=documents(StripeEventBody),
    dependencies=[Security(_STRIPE)],
)
async def receive_stripe_event(request: Request, services: ServicesDep, afterwards: BackgroundTasks) -> HookReceipt:
    """Take an event of Stripe's. Nothing of it is believed: it is stored by its id, and what it names is read anew.

    503 `hook-not-set-up` as long as the endpoint's secret is not in the settings: Stripe sends it again.
    """
    return await _receive(Provider.STRIPE, request, services, afterwards)


@router.post(
    "/btcpay",
    operation_id="receive_btcpay_event",
    responses={**_RESPONSES},
    openapi_extra=documents(BtcpayEventBody),
    dependencies=[Security(_BTCPAY)],
)
async def receive_btcpay_event(request: Request, services: ServicesDep, afterwards: BackgroundTasks) -> HookReceipt:
    """Take an event of BTCPay Server's. A first delivery must be of now; a redelivery may be of any time before.

    503 `hook-not-set-up` as long as the webhook's secret is not in the settings: BTCPay sends it again.
    """
    return await _receive(Provider.BTCPAY, request, services, afterwards)


async def _receive(
    provider: Provider, request: Request, services: Services, afterwards: BackgroundTasks
) -> HookReceipt:
    count = services.metrics.payment_hook
    try:
        # Whatever it says it is: only the bytes that were signed count.
        body = await read_raw(request, services.max_body_bytes)
        done = await services.hooks.receive(provider, request.headers, body, datetime.now(UTC))
    except HookRefused as error:
        count(provider, error.fault)
        raise
    except (HookNotSetUp, StoreUnavailable) as error:
        count(provider, error.code)
        raise
    except Problem as error:
        count(provider, error.kind)
        raise
    ignored = done.state is EventState.IGNORED
    count(provider, "repeated" if not done.new else "ignored" if ignored else "stored")
    if done.new and not ignored:
        afterwards.add_task(services.inbox.wake, done.event.event_id)
    return HookReceipt(event_id=done.event.event_id, state=done.state, repeated=not done.new)
