"""Halts: the kill paths of a follower, a vault, the tenant, and everything."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api import halting
from api.body import documents, json_body
from api.deps import IdempotencyKey, MirrorManager, ServicesDep, VaultReader
from api.schemas.common import WRITES, problems
from api.schemas.halts import Halts, NewHaltBody, PulledHalt
from domain.intents import fingerprint

router = APIRouter(prefix="/v1/halts", tags=["halts"])
HaltId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["OV-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
]


@router.post(
    "",
    operation_id="pull_halt",
    status_code=201,
    responses=problems(404, *WRITES),
    openapi_extra=documents(NewHaltBody),
)
async def pull_halt(
    caller: MirrorManager,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[NewHaltBody, Depends(json_body(NewHaltBody))],
) -> PulledHalt:
    """Halt a follower, a vault, the tenant, or (scope `admin`) the whole platform, until it is lifted.

    The answer waits until every process that sends has stopped: after it, no send that the halt stops begins, and
    `acknowledgement.in_flight` had begun before. `flatten` then calls off what is under way, through to the brokers,
    and sells all that followers hold; a workflow does it, and the audit tells when it is done and what is left.
    """
    return await halting.pull(services, caller, key, body, fingerprint(body.model_dump(mode="json")))


@router.get("", operation_id="list_halts", responses=problems())
async def list_halts(caller: VaultReader, services: ServicesDep) -> Halts:
    """The halts that are in force: the tenant's own, and those of the platform."""
    own, of_all = await services.halts.active(caller.tenant_id)
    return Halts(items=[*map(PulledHalt.of_overlay, own), *map(PulledHalt.of_platform, of_all)])


@router.delete("/{halt_id}", operation_id="lift_halt", responses=problems(404))
async def lift_halt(caller: MirrorManager, services: ServicesDep, halt_id: HaltId) -> PulledHalt:
    """Lift a halt. One that is lifted already is no error; a flatten that is under way goes on to its end."""
    return await halting.lift(services, caller, halt_id)
