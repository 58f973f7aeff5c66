"""Compare a vault's followers with their brokers or receivers, page by page; a Schedule starts it for each vault."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.reconciliation import CloseInput, PageKey, PageResult, ReconciliationActivities, RunKey
    from domain import ids
    from domain.runs import OpenedRun, ReconcileInput, Resume, RunTotals, add
    from temporal import policies
    from temporal import search_attributes as sa


@workflow.defn
class ReconcileVaultWorkflow:
    @workflow.init
    def __init__(self, start: ReconcileInput) -> None:
        # A schedule gives each of its runs the time it was due as part of its id: that is what the run is named after.
        run_id = start.run_id or ids.reconciliation_id(start.vault_id, workflow.info().workflow_id)
        self._key = RunKey(start.tenant_id, start.vault_id, run_id)
        resume = start.resume or Resume()
        self._after, self._totals = resume.after, resume.totals

    @workflow.run
    async def run(self, start: ReconcileInput) -> RunTotals | None:
        """What was found; None where another run of the vault was under way, or this one is over already."""
        opened = await self._open()
        if opened is None:
            workflow.set_current_details("another run of this vault is under way, or this one is over")
            return None
        try:
            await self._compare(start, opened)
        except ActivityError:
            await self._close(failed=True)
            raise
        await self._close()
        return self._totals

    async def _compare(self, start: ReconcileInput, run: OpenedRun) -> None:
        more = True
        while more:
            if workflow.info().is_continue_as_new_suggested():
                resume = Resume(self._after, self._totals)
                workflow.continue_as_new(ReconcileInput(start.tenant_id, start.vault_id, self._key.run_id, resume))
            page = await self._page(run)
            self._totals = add([self._totals, page.totals])
            self._after, more = page.next_after or "", page.next_after is not None
            self._show()

    async def _open(self) -> OpenedRun | None:
        return await workflow.execute_activity_method(
            ReconciliationActivities.open_run,
            self._key,
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="open the run",
        )

    async def _page(self, run: OpenedRun) -> PageResult:
        return await workflow.execute_activity_method(
            ReconciliationActivities.reconcile_page,
            PageKey(self._key, run, self._after),
            start_to_close_timeout=policies.PAGE_TIMEOUT,
            heartbeat_timeout=policies.PAGE_HEARTBEAT,
            retry_policy=policies.PAGE_RETRY,
            summary=f"followers after {self._after}" if self._after else "the first followers",
        )

    async def _close(self, *, failed: bool = False) -> None:
        await workflow.execute_activity_method(
            ReconciliationActivities.close_run,
            CloseInput(self._key, self._totals, failed),
            start_to_close_timeout=policies.STORE_TIMEOUT,
            retry_policy=policies.STORE_RETRY,
            summary="close the run",
        )
        workflow.upsert_search_attributes([sa.STATE.value_set("failed" if failed else "done")])

    def _show(self) -> None:
        totals = self._totals
        causes = ", ".join(f"{count} {cause}" for cause, count in totals.causes.items()) or "none"
        workflow.set_current_details(f"{totals.followers} followers · drifts: {causes} · {totals.in_flight} in flight")
