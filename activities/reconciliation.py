"""A vault's reconciliation run: opened, done page by page, closed. One follower's trouble is its finding alone."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from temporalio import activity

from activities.accounts import Accounts
from activities.errors import translated
from activities.heartbeat import beating
from domain import books as follower_books
from domain.books import FollowerBooks, Statement, SymbolBooks, Times
from domain.execution import measure
from domain.expectation import Cause
from domain.reconciliation import ActionKind, DriftFinding, classify
from domain.runs import Correction, OpenedRun, RunTotals, add, measure_path
from domain.sizing import plain

if TYPE_CHECKING:
    from adapters.store.books import BooksStore
    from adapters.store.findings import FindingStore
    from adapters.store.reconciliations import ReconciliationStore

_log = logging.getLogger("vanta.reconciliation")


@dataclass(frozen=True, slots=True)
class RunKey:
    tenant_id: str
    vault_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class PageKey:
    """The page of followers beyond `after`."""

    key: RunKey
    run: OpenedRun
    after: str = ""


@dataclass(frozen=True, slots=True)
class PageResult:
    """`next_after` begins the next page; None after the last."""

    totals: RunTotals
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class CloseInput:
    key: RunKey
    totals: RunTotals
    failed: bool = False


class Corrections(Protocol):
    async def start(self, correction: Correction) -> str:
        """Hand the order over; a repeat meets the first one. The manager order's id."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`alert_bps` is how far a follower's result may be from its path; `stale_after` when an owner is taken for gone.

    `lookback` bounds which of an account's orders are read.
    """

    page_size: int = 100
    at_once: int = 8
    alert_bps: Decimal = Decimal(50)
    stale_after: timedelta = timedelta(minutes=15)
    lookback: timedelta = timedelta(days=7)


class ReconciliationActivities:
    def __init__(
        self,
        runs: "ReconciliationStore",
        books: "BooksStore",
        findings: "FindingStore",
        accounts: Accounts,
        corrections: Corrections,
        limits: Limits,
    ) -> None:
        self._runs = runs
        self._books = books
        self._findings = findings
        self._accounts = accounts
        self._corrections = corrections
        self._limits = limits

    @activity.defn
    async def open_run(self, key: RunKey) -> OpenedRun | None:
        """None while another run of the vault is under way, and for one that is over."""
        async with translated():
            return await self._runs.open(key.tenant_id, key.vault_id, key.run_id)

    @activity.defn
    async def reconcile_page(self, page: PageKey) -> PageResult:
        """Compare a page of followers with their accounts; a repeat finds what is left to do."""
        key, now, limits = page.key, datetime.now(UTC), self._limits
        back = now - limits.lookback
        times = Times(page.run.previous_at or back, back, now - limits.stale_after)
        async with translated():
            followers = await self._books.page(
                key.tenant_id, key.vault_id, after=page.after, limit=limits.page_size, times=times,
                previous=page.run.previous_run_id,
            )  # fmt: skip
            done: list[RunTotals] = []
            gate = asyncio.Semaphore(limits.at_once)
            async with beating(lambda: (len(done),)):
                await asyncio.gather(*(self._in_turn(gate, page, f, now, done) for f in followers))
            totals = add(done)
            await self._alert(page, totals)
        more = len(followers) == limits.page_size
        return PageResult(totals, followers[-1].follower_id if more else None)

    @activity.defn
    async def close_run(self, close: CloseInput) -> None:
        async with translated():
            state = "failed" if close.failed else "done"
            await self._runs.close(close.key.tenant_id, close.key.run_id, close.totals, state)

    async def _in_turn(
        self, gate: asyncio.Semaphore, page: PageKey, books: FollowerBooks, now: datetime, done: list[RunTotals]
    ) -> None:
        async with gate:
            done.append(await self._reconcile(page, books, now))

    async def _reconcile(self, page: PageKey, books: FollowerBooks, now: datetime) -> RunTotals:
        totals = RunTotals(followers=1, quality=measure(books.executions))
        said = await self._ask(page.key, books, now, totals)
        drift = Decimal(0)
        for symbol in books.symbols:
            finding = classify(follower_books.evidence(books, symbol, said, now))
            drift += finding.drift_bps or 0
            await self._take(page, symbol, finding, totals)
        totals.path = measure_path(books.follower_id, drift)
        if abs(drift) > self._limits.alert_bps:
            totals.alerts.append({"follower_id": books.follower_id, "bps": plain(drift)})
        return totals

    async def _ask(self, key: RunKey, books: FollowerBooks, now: datetime, totals: RunTotals) -> dict[str, Statement]:
        # Further back where an order of ours is open for longer: its fills must be seen.
        oldest = min((o.at for s in books.symbols for o in s.orders if not o.is_over), default=now)
        since = max(books.bound_at, min(oldest, now - self._limits.lookback))
        said: dict[str, Statement] = {}
        for given in books.accounts:
            statement = said[given.venue] = await self._accounts.read(given, since)
            if statement.money is not None:
                await self._findings.keep_funds(key.tenant_id, books.follower_id, statement.money, statement.balances)
            if statement.unreachable is not None:
                reason = f"{given.venue}: {statement.unreachable}"
                totals.unreachable.append({"follower_id": books.follower_id, "reason": reason})
        return said

    async def _take(self, page: PageKey, books: SymbolBooks, finding: DriftFinding, totals: RunTotals) -> None:
        if finding.cause is Cause.IN_FLIGHT:
            totals.in_flight += 1
        if not finding.is_drift:
            return
        assert finding.cause is not None
        if not await self._findings.record(page.key.tenant_id, page.key.vault_id, page.run, books, finding):
            totals.moved += 1
            return
        totals.drifts += 1
        totals.causes[finding.cause.value] = totals.causes.get(finding.cause.value, 0) + 1
        if finding.action is not None:
            kind = finding.action.kind
            totals.actions[kind.value] = totals.actions.get(kind.value, 0) + 1
            if kind in {ActionKind.REDUCE, ActionKind.OPEN}:
                await self._correct(page.key, finding, finding.action.qty)

    async def _correct(self, key: RunKey, finding: DriftFinding, qty: Decimal) -> None:
        follower, symbol = finding.follower_id, finding.symbol
        correction = Correction(key.tenant_id, key.vault_id, key.run_id, follower, symbol, qty)
        mo_id = await self._corrections.start(correction)
        _log.info("%s corrects %s in %s by %s", mo_id, follower, symbol, plain(qty))

    async def _alert(self, page: PageKey, totals: RunTotals) -> None:
        """By event, log and metric; who was told of by the previous run already is not told of by event again."""
        if not totals.alerts:
            return
        for alert in totals.alerts:
            _log.warning("%s is %s bps off its path", alert["follower_id"], alert["bps"])
        counter = activity.metric_meter().create_counter("vanta_drift_alerts", "Followers off their NAV path.")
        counter.add(len(totals.alerts))
        news = [a for a in totals.alerts if a["follower_id"] not in page.run.alerted]
        await self._tell(page, news)

    async def _tell(self, page: PageKey, news: Sequence[dict[str, str]]) -> None:
        if news:
            threshold = plain(self._limits.alert_bps)
            await self._findings.alert(page.key.tenant_id, page.key.vault_id, page.run, news, threshold)
