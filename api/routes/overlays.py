"""Overlays of a vault and its followers: flip mode, persona boosts, maintenance and halts."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from api import halting, overlaying
from api.body import documents, json_body
from api.deps import IdempotencyKey, MirrorManager, ServicesDep, VaultId, VaultReader
from api.idempotency import REPLAY
from api.paging import Page, SinceQuery, page
from api.schemas.common import WRITES, problems
from api.schemas.overlays import ExtendOverlayBody, NewOverlayBody, Overlay, StartedOverlay, StartingOverlay
from domain import ids
from domain.intents import fingerprint
from domain.overlays import TTL
from temporal.orders import EngineUnavailable

router = APIRouter(prefix="/v1/vaults/{vault_id}", tags=["overlays"])
OverlayId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["OV-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
]
_STARTING: dict[int | str, dict[str, Any]] = {
    202: {"model": StartingOverlay, "description": "Handed over; repeat the request to hear what became of it."}
}


class OverlayQuery(SinceQuery):
    active: bool | None = None


@router.post(
    "/overlay",
    operation_id="start_overlay",
    status_code=201,
    response_model=StartedOverlay,
    responses={**_STARTING, **problems(404, *WRITES)},
    openapi_extra=documents(NewOverlayBody),
)
async def start_overlay(
    caller: MirrorManager,
    services: ServicesDep,
    vault_id: VaultId,
    key: IdempotencyKey,
    body: Annotated[NewOverlayBody, Depends(json_body(NewOverlayBody))],
    response: Response,
) -> StartedOverlay | Response:
    """Lay a flip, a persona boost, maintenance or a halt over the vault, or over one of its followers.

    A flip lasts 30 to 60 minutes and a boost 5 minutes to 7 days; both revert by themselves. Maintenance and halts
    last until they are ended; no send that they stop begins after this answer. Of several flips the follower's own
    beats the vault's, then the one started last counts, whole; boosts add up; of halts the strictest counts.
    """
    new = body.to_domain(vault_id)
    digest = fingerprint({"vault_id": vault_id, "body": body.model_dump(mode="json")})
    try:
        row, replayed = await overlaying.start(services, caller, key, new, digest)
    except EngineUnavailable as error:
        if not error.taken:
            raise
        taken = StartingOverlay(overlay_id=ids.overlay_id(caller.tenant_id, key))
        return Response(taken.model_dump_json(), 202, media_type="application/json")
    response.headers["Location"] = f"/v1/vaults/{vault_id}/overlays"
    if replayed:
        response.headers[REPLAY] = "true"
    shown = StartedOverlay.of(row)
    if new.kind not in TTL:
        shown.acknowledgement = await halting.acknowledged(
            services, caller, row.overlay_id, new.params.level, vault_id=vault_id, follower_id=new.follower_id
        )
    return shown


@router.get("/overlays", operation_id="list_overlays", responses=problems(404))
async def list_overlays(
    caller: VaultReader, services: ServicesDep, vault_id: VaultId, query: Annotated[OverlayQuery, Query()]
) -> Page[Overlay]:
    """The overlays of the vault and its followers, active and ended, the latest started first."""
    rows = await services.overlays.list(caller.tenant_id, vault_id, query.part(), active=query.active)
    return page(rows, query.limit, Overlay.of, lambda row: (row.starts_at.isoformat(), row.overlay_id))


@router.patch(
    "/overlays/{overlay_id}",
    operation_id="extend_overlay",
    responses=problems(404, *WRITES),
    openapi_extra=documents(ExtendOverlayBody),
)
async def extend_overlay(
    caller: MirrorManager,
    services: ServicesDep,
    vault_id: VaultId,
    overlay_id: OverlayId,
    body: Annotated[ExtendOverlayBody, Depends(json_body(ExtendOverlayBody))],
) -> Overlay:
    """Let a flip or a boost last longer. The time counts from its start, so a flip never lasts more than 60 minutes.

    A repeat changes nothing.
    """
    ttl = timedelta(minutes=body.ttl_minutes)
    return Overlay.of(await overlaying.extend(services, caller, vault_id, overlay_id, ttl))


@router.delete("/overlays/{overlay_id}", operation_id="end_overlay", responses=problems(404))
async def end_overlay(
    caller: MirrorManager, services: ServicesDep, vault_id: VaultId, overlay_id: OverlayId
) -> Overlay:
    """Cancel a flip or a boost, lift maintenance or a halt. One that is over already is no error."""
    return Overlay.of(await overlaying.end(services, caller, vault_id, overlay_id))
