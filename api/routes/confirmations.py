"""Followers' callbacks."""

import hashlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response, Security
from fastapi.security import APIKeyHeader
from pydantic import ValidationError

from api.body import documents, parse_object, read_raw, require_json
from api.deps import FollowerOrderId, ServicesDep
from api.errors import from_validation
from api.idempotency import REPLAY
from api.schemas.common import WRITES, problems
from api.schemas.confirmations import ConfirmationBody, ConfirmationReceipt
from domain.confirmations import Confirmation
from domain.errors import InvalidInput
from domain.signing import VANTA_SIGNATURE, WEBHOOK_ID, WEBHOOK_SIGNATURE
from domain.streams import wakes_owner

router = APIRouter(prefix="/v1/follower-orders", tags=["follower orders"])
_SIGNATURE = APIKeyHeader(
    name=VANTA_SIGNATURE,
    scheme_name="FollowerSignature",
    auto_error=False,
    description="As on the webhooks that we send: X-Vanta-Signature with X-Vanta-Timestamp, or the three headers of "
    "Standard Webhooks, or both, by a key of the follower's that is in force.",
)
_MAX_ID = 255
_RESPONSES = {status: told for status, told in problems(409, 429, *WRITES).items() if status != 403}


async def _signed(request: Request, services: ServicesDep, fo_id: FollowerOrderId) -> tuple[str, bytes]:
    """The tenant of the order, and the body as it was signed. Raises Problem 415 and 413, InvalidSignature."""
    require_json(request)
    body = await read_raw(request, services.max_body_bytes)
    return await services.callbacks.authenticate(fo_id, request.headers, body, int(time.time())), body


@router.post(
    "/{fo_id}/confirmations",
    operation_id="confirm_follower_order",
    responses=_RESPONSES,
    openapi_extra=documents(ConfirmationBody),
    dependencies=[Security(_SIGNATURE)],
)
async def confirm_follower_order(
    request: Request,
    services: ServicesDep,
    fo_id: FollowerOrderId,
    signed: Annotated[tuple[str, bytes], Depends(_signed)],
    response: Response,
    _webhook_id: Annotated[
        str | None,
        Header(alias=WEBHOOK_ID, description="The callback's own id, the same for its repeat."),
    ] = None,
) -> ConfirmationReceipt:
    """Tell what has come of an order, signed by its follower: fills as they happen, or how it ended.

    Fills add up; the order is `confirmed` when they come to its quantity. A repeat, under the same `webhook-id` or of
    the same fills, changes nothing. 409: what is told contradicts what is known. 422: more was filled than ordered, or
    the `webhook-id` came with another body before. An unknown order and a wrong signature are the same 401.
    """
    tenant_id, body = signed
    done = await services.callbacks.book(tenant_id, fo_id, _told(request, fo_id, body), body)
    if done.replayed:
        response.headers[REPLAY] = "true"
    elif wakes_owner(done.change):
        await services.owners.venue_reported(done.owner)
    return ConfirmationReceipt.model_validate(done)


def _told(request: Request, fo_id: str, body: bytes) -> Confirmation:
    # Only Standard Webhooks signs the id; one that anybody could have changed identifies nothing.
    vouched = WEBHOOK_SIGNATURE in request.headers
    confirmation_id = request.headers.get(WEBHOOK_ID, "") if vouched else hashlib.sha256(body).hexdigest()
    if not 0 < len(confirmation_id) <= _MAX_ID:
        raise InvalidInput(WEBHOOK_ID, f"must have 1 to {_MAX_ID} characters")
    raw: dict[str, Any] = parse_object(body)
    try:
        return ConfirmationBody.model_validate(raw).to_domain(fo_id, confirmation_id)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from None
