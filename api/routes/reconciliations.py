"""Reconciliation: its runs, what they found, and a run at once."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.deps import IdempotencyKey, MirrorManager, OrderReader, ServicesDep, VaultId
from api.errors import Problem
from api.paging import Page, PageQuery, SinceQuery, Text, decode, page
from api.schemas.common import problems
from api.schemas.reconciliations import Drift, Reconciliation, ReconciliationDetail, StartedRun
from domain import ids

router = APIRouter(prefix="/v1", tags=["reconciliation"])
RunId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["R-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
]


class ReconciliationQuery(SinceQuery):
    vault_id: Text | None = None


@router.get("/reconciliations", operation_id="list_reconciliations", responses=problems())
async def list_reconciliations(
    caller: OrderReader, services: ServicesDep, query: Annotated[ReconciliationQuery, Query()]
) -> Page[Reconciliation]:
    """Runs, newest first."""
    rows = await services.reconciliations.runs(caller.tenant_id, query.part(), vault_id=query.vault_id)
    return page(rows, query.limit, Reconciliation.model_validate, lambda row: (row.started_at.isoformat(), row.run_id))


@router.get("/reconciliations/{run_id}", operation_id="get_reconciliation", responses=problems(404))
async def get_reconciliation(
    caller: OrderReader, services: ServicesDep, run_id: RunId, query: Annotated[PageQuery, Query()]
) -> ReconciliationDetail:
    """One run with the drifts that it found, a page at a time."""
    follower_id, symbol = decode(query.cursor, 2) if query.cursor else ("", "")
    store = services.reconciliations
    run = await store.run(caller.tenant_id, run_id)
    rows = await store.drifts(caller.tenant_id, run_id, limit=query.limit + 1, after=(follower_id, symbol))
    drifts = page(rows, query.limit, Drift.model_validate, lambda row: (row.follower_id, row.symbol))
    shown = Reconciliation.model_validate(run).model_dump()
    return ReconciliationDetail(**shown, items=drifts.items, next_cursor=drifts.next_cursor)


@router.post(
    "/vaults/{vault_id}/reconcile",
    operation_id="reconcile_vault",
    status_code=202,
    responses=problems(400, 404, 409),
)
async def reconcile_vault(
    caller: MirrorManager, services: ServicesDep, vault_id: VaultId, key: IdempotencyKey, response: Response
) -> StartedRun:
    """Compare the vault's followers with their brokers and receivers now, beside the schedule.

    The answer names the run, which `/v1/reconciliations/{run_id}` shows. A repeat names the same one. While another
    run of the vault is under way this is refused with 409, and the document names that run.
    """
    run_id = ids.reconciliation_id(vault_id, f"{caller.tenant_id} {key}")
    other = await services.reconciliations.running(caller.tenant_id, vault_id, run_id)
    if other is not None:
        raise Problem(409, "reconciliation-running", f"{other} is under way; wait for it.", run_id=other)
    await services.reconciler.start(caller.tenant_id, vault_id, run_id, actor=caller.actor)
    response.headers["Location"] = f"/v1/reconciliations/{run_id}"
    return StartedRun(run_id=run_id, vault_id=vault_id)
