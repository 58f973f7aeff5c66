"""A vault's run: opened once, done page by page, closed whatever happens."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.reconciliation import CloseInput, PageKey, PageResult, RunKey
from domain import ids
from domain.execution import Quality
from domain.runs import OpenedRun, ReconcileInput, RunTotals
from temporal import ids as workflow_ids
from workflows.reconcile_vault import ReconcileVaultWorkflow

TENANT = "00000000-0000-4000-8000-000000000001"


@dataclass
class FakeRuns:
    """`pages` are served in turn; a page that is an exception fails so often as it says."""

    pages: list[RunTotals]
    failures: int = 0
    final: bool = False
    taken: bool = False
    opened: list[RunKey] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    closed: list[CloseInput] = field(default_factory=list)

    def all(self) -> list[Callable[..., Any]]:
        return [self.open_run, self.reconcile_page, self.close_run]

    @activity.defn
    async def open_run(self, key: RunKey) -> OpenedRun | None:
        self.opened.append(key)
        return None if self.taken else OpenedRun(key.run_id, datetime.now(UTC))

    @activity.defn
    async def reconcile_page(self, page: PageKey) -> PageResult:
        self.asked.append(page.after)
        if self.failures > 0:
            self.failures -= 1
            raise ApplicationError("no", type="database-unavailable", non_retryable=self.final)
        number = int(page.after or 0)
        more = number + 1 < len(self.pages)
        return PageResult(self.pages[number], str(number + 1) if more else None)

    @activity.defn
    async def close_run(self, close: CloseInput) -> None:
        self.closed.append(close)


async def run(env: WorkflowEnvironment, runs: FakeRuns, run_id: str | None = "R-1", *, name: str = "") -> Any:
    queue = f"test-{uuid.uuid4()}"
    start = ReconcileInput(TENANT, "V_1", run_id)
    async with Worker(env.client, task_queue=queue, workflows=[ReconcileVaultWorkflow], activities=runs.all()):
        return await env.client.execute_workflow(
            ReconcileVaultWorkflow.run, start, id=name or f"reconcile/V_1/{uuid.uuid4()}", task_queue=queue,
            execution_timeout=timedelta(hours=2),
        )  # fmt: skip


def page(**causes: int) -> RunTotals:
    quality = Quality(orders=1, priced=1, slippage_bps_sum=Decimal("1.5"))
    return RunTotals(followers=10, drifts=sum(causes.values()), causes=causes, quality=quality)


async def test_pages_are_done_in_turn_and_added_up(skipping: WorkflowEnvironment):
    runs = FakeRuns([page(rounding=1), page(), page(rounding=2, cap=1)])
    totals = await run(skipping, runs)
    assert runs.asked == ["", "1", "2"]
    assert (totals.followers, totals.drifts, totals.causes) == (30, 4, {"cap": 1, "rounding": 3})
    assert totals.quality.slippage_bps_sum == Decimal("4.5")
    assert runs.closed == [CloseInput(RunKey(TENANT, "V_1", "R-1"), totals)]


async def test_a_page_that_fails_is_tried_again(skipping: WorkflowEnvironment):
    runs = FakeRuns([page()], failures=3)
    assert (await run(skipping, runs)).followers == 10
    assert runs.asked == [""] * 4


async def test_a_run_that_cannot_go_on_is_closed_as_failed(skipping: WorkflowEnvironment):
    runs = FakeRuns([page()], failures=1, final=True)
    with pytest.raises(WorkflowFailureError):
        await run(skipping, runs)
    assert [close.failed for close in runs.closed] == [True]


async def test_nothing_is_done_while_another_run_of_the_vault_is_under_way(skipping: WorkflowEnvironment):
    runs = FakeRuns([page()], taken=True)
    assert await run(skipping, runs) is None
    assert (runs.asked, runs.closed) == ([], [])


async def test_a_scheduled_run_is_named_after_its_time(skipping: WorkflowEnvironment):
    runs = FakeRuns([page()])
    name = workflow_ids.reconcile("V_1") + "-2026-01-05T15:00:00Z"
    await run(skipping, runs, None, name=name)
    assert [key.run_id for key in runs.opened] == [ids.reconciliation_id("V_1", name)]
