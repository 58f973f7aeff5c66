"""One round of last prices and NAVs; a Schedule starts it every minute or so and never twice at once."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.prices import MarkResult, PriceActivities, RefreshResult

# Of three, as the Schedule's next round does all of it again anyway.
_RETRY = RetryPolicy(maximum_attempts=3)
_TIMEOUT = timedelta(minutes=5)
_HEARTBEAT = timedelta(seconds=8)


@dataclass(slots=True)
class Marked:
    prices: RefreshResult
    navs: MarkResult


@workflow.defn
class MarkPricesWorkflow:
    @workflow.run
    async def run(self) -> Marked:
        """NAVs are marked also where the source gave nothing: prices may have been imported by hand."""
        prices = await workflow.execute_activity_method(
            PriceActivities.refresh_prices,
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary="ask the source for last prices",
        )
        navs = await workflow.execute_activity_method(
            PriceActivities.mark_vaults,
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_RETRY,
            summary="every vault's NAV at them",
        )
        workflow.set_current_details(
            f"{prices.changed} of {prices.asked} prices changed; {navs.marked} NAVs marked, {navs.unknown} unknown"
            + (f"; {prices.problem}" if prices.problem else "")
        )
        return Marked(prices, navs)
