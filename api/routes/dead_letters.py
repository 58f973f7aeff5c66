"""Dead letters: looking at them, sending their orders again, closing them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from api import redriving
from api.body import documents, json_body
from api.deps import IdempotencyKey, OrderReader, OrderWriter, ServicesDep
from api.idempotency import REPLAY
from api.paging import Page, SinceQuery, Text, page
from api.schemas.common import WRITES, problems
from api.schemas.dead_letters import (
    DeadLetter,
    Outcome,
    PurgeAnswer,
    PurgeBody,
    PurgeResult,
    RedriveAnswer,
    RedriveBody,
)
from domain.intents import fingerprint
from domain.orders import LetterState
from domain.redrive import LetterFilter
from domain.requests import Once

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
LetterId = Annotated[int, Path(ge=1, lt=2**63, examples=[41])]


class DeadLetterQuery(SinceQuery):
    follower_id: Text | None = None
    mo_id: Text | None = None
    vault_id: Text | None = None
    reason: Text | None = None
    state: LetterState | None = Field(default=None)


@router.get("", operation_id="list_dead_letters", responses=problems())
async def list_dead_letters(
    caller: OrderReader, services: ServicesDep, query: Annotated[DeadLetterQuery, Query()]
) -> Page[DeadLetter]:
    """Orders that were given up, newest first, each with its whole context."""
    which = LetterFilter(query.vault_id, query.follower_id, query.mo_id, query.reason, query.state)
    rows = await services.letters.page(caller.tenant_id, query.part(numbered=True), which)
    return page(
        rows,
        query.limit,
        DeadLetter.model_validate,
        lambda row: (row.created_at.isoformat(), str(row.dead_letter_id)),
    )


# An int in the path, so that GET …/purge has no such method, rather than being a strange id.
@router.get("/{dead_letter_id:int}", operation_id="get_dead_letter", responses=problems(404))
async def get_dead_letter(caller: OrderReader, services: ServicesDep, dead_letter_id: LetterId) -> DeadLetter:
    """One dead letter."""
    return DeadLetter.model_validate(await services.letters.get(caller.tenant_id, dead_letter_id))


@router.post(
    "/redrive",
    operation_id="redrive_dead_letters",
    responses=problems(*WRITES),
    openapi_extra=documents(RedriveBody),
)
async def redrive_dead_letters(
    caller: OrderWriter,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[RedriveBody, Depends(json_body(RedriveBody))],
    response: Response,
) -> RedriveAnswer:
    """Send dead letters' orders again, each if everything still allows it.

    Kill switch, halts, maintenance, cancel, expiry, endpoint, subscription, price collar and caps are looked at anew.
    A letter is redriven once; an order that fails again gets a new letter. Nothing that is refused has changed.
    """
    answer, replayed = await redriving.redrive(services, caller, key, body)
    if replayed:
        response.headers[REPLAY] = "true"
    return answer


@router.post(
    "/purge",
    operation_id="purge_dead_letters",
    responses=problems(*WRITES),
    openapi_extra=documents(PurgeBody),
)
async def purge_dead_letters(
    caller: OrderWriter,
    services: ServicesDep,
    key: IdempotencyKey,
    body: Annotated[PurgeBody, Depends(json_body(PurgeBody))],
    response: Response,
) -> PurgeAnswer:
    """Close dead letters for good, with a reason. Their orders stay in state `dead_letter`."""
    once = Once("purge_dead_letters", key, fingerprint(body.model_dump(mode="json")))
    done = await services.letters.purge(
        caller.tenant_id, body.dead_letter_ids, body.reason, actor=caller.actor, once=once
    )
    if done.replayed:
        response.headers[REPLAY] = "true"
    items = [
        PurgeResult(dead_letter_id=number, outcome=Outcome.PURGED)
        if why is None
        else PurgeResult(dead_letter_id=number, outcome=Outcome.REFUSED, code=why.code, reason=why.reason)
        for number, why in done.results.items()
    ]
    purged = sum(item.outcome is Outcome.PURGED for item in items)
    return PurgeAnswer(items=items, purged=purged, refused=len(items) - purged)
