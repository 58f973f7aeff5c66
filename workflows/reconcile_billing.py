"""Compare all invoices with those of the payment systems; a Schedule starts it every day and never twice at once."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.billing_comparison import BillingComparison, ComparedPage, ComparisonPage
    from domain.billing_comparison import ComparisonInput, ComparisonTotals
    from temporal import search_attributes as sa

# A page that fails altogether, as the database or the engine is away; payment systems' failures are in its result.
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(minutes=5), maximum_attempts=10)
_TIMEOUT = timedelta(minutes=15)
_HEARTBEAT = timedelta(seconds=30)


@workflow.defn
class ReconcileBillingWorkflow:
    @workflow.init
    def __init__(self, given: ComparisonInput) -> None:
        self._after = given.after
        self._totals = given.totals or ComparisonTotals()

    @workflow.run
    async def run(self, given: ComparisonInput) -> ComparisonTotals:
        """What was found of all subscriptions."""
        self._show("running")
        more = True
        while more:
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(ComparisonInput(given.lookback_days, self._after, self._totals))
            page = await self._page(timedelta(days=given.lookback_days))
            self._totals.add(page.totals)
            self._after, more = page.next_after or "", page.next_after is not None
            self._show("running")
        self._show("partial" if self._totals.unread else "differs" if self._totals.open else "done")
        return self._totals

    async def _page(self, lookback: timedelta) -> ComparedPage:
        now = workflow.now()
        return await workflow.execute_activity_method(
            BillingComparison.compare_billing_page,
            ComparisonPage(self._after, now, now - lookback),
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary=f"subscriptions after {self._after}" if self._after else "the first subscriptions",
        )

    def _show(self, state: str) -> None:
        totals = self._totals
        unread = ", ".join(f"{number} of {provider}" for provider, number in sorted(totals.unread.items())) or "none"
        workflow.upsert_search_attributes([sa.STATE.value_set(state)])
        workflow.set_current_details(
            f"{totals.compared} subscriptions compared · {totals.open} differences, {totals.new} of them new, "
            f"{totals.gone} gone · could not be read: {unread} · {totals.started} owners started"
        )
