"""From an overlay's request to its row: straight for what lasts until it is lifted, by its workflow for the rest."""

from datetime import timedelta

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from api.errors import Problem
from api.services import Services
from domain import ids
from domain.access import Principal
from domain.errors import IdempotencyKeyReused, InvalidInput, NotEntitled
from domain.flip_mode import EndOverlay, Extension, StartOverlay
from domain.overlays import TTL, EndReason, NewOverlay, OverlayKind
from domain.requests import Once
from models import Overlay


async def start(services: Services, caller: Principal, key: str, new: NewOverlay, digest: str) -> tuple[Overlay, bool]:
    """The overlay, and whether an earlier request under the key has started it.

    Raises InvalidInput, NotFound, NotEntitled, IdempotencyKeyReused, after which nothing has changed, and
    EngineUnavailable.
    """
    new.check()
    assert new.vault_id is not None
    once, overlay_id = Once("start_overlay", key, digest), ids.overlay_id(caller.tenant_id, key)
    start = StartOverlay(caller.tenant_id, overlay_id, new, once, caller.actor)
    if new.kind not in TTL:
        made = await services.overlays.start(start)
        return made.row, made.replayed
    known = await services.overlays.before_starting(start)
    if known is not None:
        return known, True
    try:
        begun = await services.flips.start(start)
    except WorkflowUpdateFailedError as error:
        raise as_refused(error) from error
    if begun is not None and begun.fingerprint != digest:
        raise IdempotencyKeyReused("Idempotency-Key was already used for an overlay with another body")
    return await services.overlays.get(caller.tenant_id, overlay_id), begun is None


async def extend(services: Services, caller: Principal, vault_id: str, overlay_id: str, ttl: timedelta) -> Overlay:
    """Raises NotFound, NotEntitled, InvalidInput for the time or for what is over or has no time, EngineUnavailable."""
    row = await services.overlays.get(caller.tenant_id, overlay_id, vault_id=vault_id)
    kind = OverlayKind(row.kind)
    services.overlays.check_extension(row, ttl)
    try:
        done = await services.flips.extend(overlay_id, kind, Extension(ttl, caller.actor))
    except WorkflowUpdateFailedError as error:
        raise as_refused(error) from error
    if done is None:
        raise InvalidInput("overlay_id", "it is over; start another one")
    return await services.overlays.get(caller.tenant_id, overlay_id)


async def end(services: Services, caller: Principal, vault_id: str, overlay_id: str) -> Overlay:
    """What is over already stays as it is. Raises NotFound and EngineUnavailable."""
    row = await services.overlays.get(caller.tenant_id, overlay_id, vault_id=vault_id)
    if row.ended_at is not None:
        return row
    kind, done = OverlayKind(row.kind), None
    if kind in TTL:
        try:
            done = await services.flips.cancel(overlay_id, kind, caller.actor)
        except WorkflowUpdateFailedError as error:
            raise as_refused(error) from error
    if done is None:
        # It never had a workflow, or somebody has terminated it.
        reason = EndReason.CANCELLED if kind in TTL else EndReason.LIFTED
        await services.overlays.end(EndOverlay(caller.tenant_id, overlay_id, reason, caller.actor))
    return await services.overlays.get(caller.tenant_id, overlay_id)


def as_refused(error: WorkflowUpdateFailedError) -> Exception:
    """What the workflow refused, as if it had been refused here; its messages are `field: reason`."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return error
    if cause.type == InvalidInput.code:
        field, _, reason = cause.message.partition(": ")
        return InvalidInput(field, reason)
    if cause.type == IdempotencyKeyReused.code:
        return IdempotencyKeyReused(cause.message)
    if cause.type == NotEntitled.code:
        name, _, reason = cause.message.partition(": ")
        return NotEntitled(name, reason, list(cause.details))
    if cause.type == "not-found":
        return Problem(404, "not-found", cause.message)
    return Problem(503, "engine-unavailable", "The overlay could not be changed in time; try again.")
