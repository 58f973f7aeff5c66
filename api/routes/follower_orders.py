"""Follower orders and audit events, as read by managers, operators and auditors."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.deps import FOLLOWERS_TOO, Auditor, FollowerOrderId, OrderViewer, ServicesDep, mine
from api.paging import Page, Reference, SinceQuery, Text, page
from api.retention import audit_since, headers
from api.schemas.audit import AuditEvent
from api.schemas.common import problems
from api.schemas.orders import Attempt, Explanation, Fill, FollowerOrder, FollowerOrderDetail, OrderLeg, TraceStep
from domain import follower_view
from domain.explain import explain
from domain.orders import FollowerState

router = APIRouter(prefix="/v1")


class FollowerOrderQuery(SinceQuery):
    follower_id: Text | None = None
    mo_id: Text | None = None
    vault_id: Text | None = None
    state: FollowerState | None = Field(default=None)


class AuditQuery(SinceQuery):
    entity: Text | None = None
    entity_id: Reference | None = None
    mo_id: Text | None = None


@router.get(
    "/follower-orders",
    operation_id="list_follower_orders",
    tags=["follower orders"],
    responses=problems(404),
    openapi_extra=FOLLOWERS_TOO,
)
async def list_follower_orders(
    caller: OrderViewer, services: ServicesDep, query: Annotated[FollowerOrderQuery, Query()]
) -> Page[FollowerOrder]:
    """Follower orders, newest first. A follower sees his own, and asking for another's is 404."""
    rows = await services.reads.follower_orders(
        caller.tenant_id,
        query.part(),
        follower_id=mine(caller, query.follower_id),
        mo_id=query.mo_id,
        vault_id=query.vault_id,
        state=query.state,
    )
    return page(rows, query.limit, FollowerOrder.model_validate, lambda row: (row.created_at.isoformat(), row.fo_id))


@router.get(
    "/follower-orders/{fo_id}",
    operation_id="get_follower_order",
    tags=["follower orders"],
    responses=problems(404),
    openapi_extra=FOLLOWERS_TOO,
)
async def get_follower_order(caller: OrderViewer, services: ServicesDep, fo_id: FollowerOrderId) -> FollowerOrderDetail:
    """One follower order with its sizing trace, legs, attempts and fills; why it is as it is in words, by event.

    A follower may read his own; the vault's position, other followers and who acted for the manager are left out. Of
    an order that is older than the plan's audit retention there is no `explanation`, and `explained_since` says so.
    """
    own, since = mine(caller, None), await audit_since(services, caller)
    found = await services.reads.follower_order(caller.tenant_id, fo_id, follower_id=own)
    story = found.story if own is None else follower_view.story(found.story)
    shown = FollowerOrderDetail.model_validate(found.order)
    shown.trace = [TraceStep.model_validate(step) for step in story.order["trace"]]
    shown.attempts = [Attempt.model_validate(row) for row in found.attempts]
    shown.fills = [Fill.model_validate(row) for row in found.fills]
    shown.legs = [OrderLeg.model_validate(row) for row in found.legs]
    if since is not None and found.order.created_at < since:
        shown.explained_since = since
    else:
        shown.explanation = Explanation.model_validate(explain(story))
    return shown


@router.get("/audit-events", operation_id="list_audit_events", tags=["audit"], responses=problems())
async def list_audit_events(
    caller: Auditor, services: ServicesDep, query: Annotated[AuditQuery, Query()], response: Response
) -> Page[AuditEvent]:
    """Every change of state, newest first, as far back as the plan's audit retention.

    The header `Vanta-Audit-Since` says from when on they are shown; without it all are. Older ones stay stored.
    """
    part, oldest = query.part(numbered=True), await audit_since(services, caller)
    response.headers.update(headers(oldest))
    if oldest is not None:
        part = replace(part, since=max(oldest, part.since or oldest))
    rows = await services.reads.audit_events(
        caller.tenant_id,
        part,
        entity=query.entity,
        entity_id=query.entity_id,
        mo_id=query.mo_id,
    )
    return page(rows, query.limit, AuditEvent.model_validate, lambda row: (row.ts.isoformat(), str(row.event_id)))
