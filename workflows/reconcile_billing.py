"""Compare all invoices with those of the payment systems; a Schedule starts it every day and never twice at once.

What could not be read, and what differed, is looked at again within the run: most outages are over and most differences
healed by then.
"""

from dataclasses import replace
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
        self._given = given
        self._totals = given.totals or ComparisonTotals()
        self._left = dict(given.left)

    @workflow.run
    async def run(self, given: ComparisonInput) -> ComparisonTotals:
        """What was found of all subscriptions, each as it was last seen."""
        self._show("running")
        if given.looks is None:
            await self._all(given.after)
        looks = given.looks or 0
        while self._left and looks < len(given.waits_s):
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(self._so_far(given.after, looks))
            self._show("waiting")
            await workflow.sleep(timedelta(seconds=given.waits_s[looks]), summary="before what was left is compared")
            await self._again()
            looks += 1
        self._show("partial" if self._totals.unread else "differs" if self._totals.open else "done")
        return self._totals

    async def _all(self, after: str | None) -> None:
        while after is not None:
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(self._so_far(after, None))
            page = await self._page(after)
            self._totals.add(page.totals)
            if page.totals.unread or page.totals.open:
                self._left[after] = page.totals
            after = page.next_after
            self._show("running")

    async def _again(self) -> None:
        """Those pages that are left; what was read and is no news does not go away by looking at it once more."""
        for after, before in list(self._left.items()):
            page = (await self._page(after)).totals
            self._totals.put(before, page)
            if page.unread or page.new:
                self._left[after] = page
            else:
                del self._left[after]
            self._show("running")

    def _so_far(self, after: str, looks: int | None) -> ComparisonInput:
        return replace(self._given, after=after, totals=self._totals, left=self._left, looks=looks)

    async def _page(self, after: str) -> ComparedPage:
        now, lookback = workflow.now(), timedelta(days=self._given.lookback_days)
        return await workflow.execute_activity_method(
            BillingComparison.compare_billing_page,
            ComparisonPage(after, now, now - lookback),
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary=f"subscriptions after {after}" if after else "the first subscriptions",
        )

    def _show(self, state: str) -> None:
        totals = self._totals
        unread = ", ".join(f"{number} of {provider}" for provider, number in sorted(totals.unread.items())) or "none"
        workflow.upsert_search_attributes([sa.STATE.value_set(state)])
        workflow.set_current_details(
            f"{totals.compared} subscriptions compared · {totals.open} differences, {totals.new} of them new, "
            f"{totals.gone} gone · could not be read: {unread} · {totals.started} owners started"
        )
