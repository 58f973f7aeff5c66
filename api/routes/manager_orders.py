"""Manager orders: placing, cancelling, reading, and the DAG of one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api import placing
from api.body import documents
from api.deps import IdempotencyKey, ManagerOrderId, OrderReader, OrderWriter, RawBody, ServicesDep
from api.idempotency import REPLAY
from api.paging import Page, SinceQuery, Text, page
from api.retention import audit_since, headers
from api.schemas.common import WRITES, problems
from api.schemas.orders import (
    CancelledOrder,
    Dag,
    ManagerOrder,
    ManagerOrderDetail,
    NewManagerOrderBody,
    PlacedOrder,
)
from domain.orders import ManagerState
from temporal.orders import EngineUnavailable

router = APIRouter(prefix="/v1/manager-orders", tags=["manager orders"])
_Responses = dict[int | str, dict[str, Any]]
_ACCEPTED: _Responses = {
    202: {"model": PlacedOrder, "description": "Taken; the verdict follows. Repeat, or read the order."}
}
_CANCELLING: _Responses = {202: {"model": CancelledOrder, "description": "The cancel was handed over; read the order."}}


class ManagerOrderQuery(SinceQuery):
    vault_id: Text | None = None
    state: ManagerState | None = Field(default=None)


@router.post(
    "",
    operation_id="place_manager_order",
    status_code=201,
    response_model=PlacedOrder,
    responses={**_ACCEPTED, **problems(404, 409, *WRITES)},
    openapi_extra=documents(NewManagerOrderBody),
)
async def place_manager_order(
    caller: OrderWriter, services: ServicesDep, key: IdempotencyKey, raw: RawBody, response: Response
) -> placing.Placed:
    """Place an order on a vault.

    201: admitted, and its followers' orders are on their way. 202: taken, but the verdict was not there in time;
    repeat the request under the same key to hear it. 422 `order-refused`: `code` says which guard refused it, and the
    document says what to do. `message-rate`, `market-closed` and `outside-session` say when to try again;
    `duplicate-intent` names the earlier order, and `meta.allow_duplicate` lets a second one pass that is meant.

    201 with `waits_until`: the instrument's exchange is closed, and the order waits for it in state `received`: a
    reduction always, one that opens where the vault's `outside_session` or `meta.outside_session` says `queue`. It is
    judged again and sized when the session opens, never by what was true before, and can be cancelled until then.
    `meta.expires_at` ends what is then still open of an order that opens a position; reductions do not expire.
    """
    placed = await placing.place(services, caller, key, raw)
    response.headers["Location"] = f"/v1/manager-orders/{placed.mo_id}"
    if placed.replayed:
        response.headers[REPLAY] = "true"
    if placed.state is ManagerState.RECEIVED and placed.waits_until is None:
        response.status_code = 202
    return placed


@router.get("", operation_id="list_manager_orders", responses=problems())
async def list_manager_orders(
    caller: OrderReader, services: ServicesDep, query: Annotated[ManagerOrderQuery, Query()]
) -> Page[ManagerOrder]:
    """The tenant's manager orders, newest first."""
    rows = await services.reads.manager_orders(
        caller.tenant_id, query.part(), vault_id=query.vault_id, state=query.state
    )
    return page(rows, query.limit, ManagerOrder.model_validate, lambda row: (row.created_at.isoformat(), row.mo_id))


@router.get("/{mo_id}", operation_id="get_manager_order", responses=problems(404))
async def get_manager_order(caller: OrderReader, services: ServicesDep, mo_id: ManagerOrderId) -> ManagerOrderDetail:
    """One manager order, and its follower orders counted by state."""
    found = await services.reads.manager_order(caller.tenant_id, mo_id)
    shown = ManagerOrderDetail.model_validate(found.order)
    shown.follower_states = found.counts
    return shown


@router.delete(
    "/{mo_id}",
    operation_id="cancel_manager_order",
    response_model=CancelledOrder,
    responses={**_CANCELLING, **problems(404, 409)},
)
async def cancel_manager_order(
    caller: OrderWriter, services: ServicesDep, mo_id: ManagerOrderId, response: Response
) -> CancelledOrder:
    """Cancel what was never sent, and at the venue what is open there.

    A repeat is no error. An order that has settled or expired is 409: an expiry has done the same already.
    """
    try:
        done = await placing.cancel(services, caller, mo_id)
    except EngineUnavailable as error:
        if not error.taken:
            raise
        response.status_code = 202
        order = (await services.reads.manager_order(caller.tenant_id, mo_id)).order
        return CancelledOrder(mo_id=mo_id, state=ManagerState(order.state), cancelled=0, in_flight=0)
    return CancelledOrder(mo_id=mo_id, state=ManagerState.CANCELLED, cancelled=done.cancelled, in_flight=done.in_flight)


@router.get(
    "/{mo_id}/dag",
    operation_id="get_manager_order_dag",
    response_model=None,
    responses={200: {"model": Dag}, **problems(404)},
)
async def get_manager_order_dag(caller: OrderReader, services: ServicesDep, mo_id: ManagerOrderId) -> Response:
    """Manager order → snapshot → follower orders → attempts → fills, with all audit events, whole.

    It is an export, which the plan has to allow; what it says of single orders is read at theirs. Audit events that
    are older than the plan's retention are left out, and the header `Vanta-Audit-Since` says so.
    """
    await services.entitlements.require(caller.tenant_id, "exports", need=True)
    since = await audit_since(services, caller)
    body = await services.reads.dag(caller.tenant_id, mo_id, since)
    return Response(body, headers=dict(headers(since)), media_type="application/json")
