"""Books, findings and runs on the real Postgres."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.store.books import BooksStore
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.findings import FindingStore
from adapters.store.reconciliations import ReconciliationStore
from adapters.store.registry import Registry
from adapters.store.waves import WaveStore
from domain import books as follower_books
from domain.books import FollowerBooks, Statement, Times
from domain.dispatch import Change
from domain.enrolment import BrokerAccount
from domain.errors import NotFound
from domain.expectation import Cause
from domain.orders import FollowerState, Side
from domain.ports import AccountOrder, OutcomeKind, SendOutcome, VenueAccount, VenueOrder, VenuePosition, VenueStatus
from domain.reconciliation import ActionKind, DriftFinding, Policy, classify
from domain.replay import rebuild
from domain.requests import Slice
from domain.runs import OpenedRun, RunTotals
from tests.adapters.store.orders import EQUITY, Floor

NOW = datetime.now(UTC)
TIMES = Times(NOW - timedelta(days=1), NOW - timedelta(days=1), NOW - timedelta(hours=1))
ALPACA = BrokerAccount("alpaca", "AK", "secret")


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


class Account:
    """A follower's account at a venue, and the runs that look at it."""

    def __init__(self, floor: Floor, follower_id: str) -> None:
        self.floor, self.follower_id = floor, follower_id
        self.qty = Decimal(0)
        self.orders: list[AccountOrder] = []
        self.seen: Any = None
        self.runs = ReconciliationStore(floor.database)
        self.findings = FindingStore(floor.database)

    def trade(self, client_order_id: str, side: Side, qty: int) -> None:
        self.qty += side.sign * qty
        report = VenueOrder(f"ref-{client_order_id}", client_order_id, VenueStatus.FILLED, Decimal(qty), Decimal(201))
        self.orders.append(AccountOrder(report, EQUITY, side, Decimal(qty), datetime.now(UTC)))

    async def books(self) -> FollowerBooks:
        page = await BooksStore(self.floor.database).page(
            self.floor.tenant_id, self.floor.vault_id, after="", limit=100, times=TIMES, previous=None
        )  # fmt: skip
        return next(books for books in page if books.follower_id == self.follower_id)

    async def look(self) -> Any:
        books = await self.books()
        [self.seen] = books.symbols
        said = {"alpaca": Statement([VenuePosition(EQUITY, self.qty)], self.orders)}
        return classify(follower_books.evidence(books, self.seen, said, datetime.now(UTC)))

    async def open(self) -> OpenedRun:
        run = await self.runs.open(self.floor.tenant_id, self.floor.vault_id, f"R-{uuid.uuid4().hex}")
        assert run is not None
        return run

    async def run(self, finding: DriftFinding | None = None) -> tuple[Any, bool]:
        """One whole run: the finding, and whether it was recorded. A given one is of the last look, repeated."""
        run = await self.open()
        finding = finding or await self.look()
        recorded = False
        if finding.is_drift:
            recorded = await self.findings.record(self.floor.tenant_id, self.floor.vault_id, run, self.seen, finding)
        await self.runs.close(self.floor.tenant_id, run.run_id, RunTotals(followers=1, drifts=int(recorded)), "done")
        return finding, recorded

    async def state(self) -> Any:
        """What is booked, and by how many fills."""
        held = await self.floor.rows("SELECT qty FROM positions WHERE holder_id = %s", self.follower_id)
        [fills] = await self.floor.rows("SELECT count(*) AS n FROM fills WHERE follower_id = %s", self.follower_id)
        return (held[0]["qty"] if held else Decimal(0)), fills["n"]

    async def events(self, action: str) -> list[dict[str, Any]]:
        statement = "SELECT payload FROM audit_events WHERE entity_id = %s AND action = %s ORDER BY event_id"
        return [row["payload"] for row in await self.floor.rows(statement, self.follower_id, action)]


async def bridged(floor: Floor, policy: Policy = Policy.CORRECT) -> Account:
    follower_id = await floor.follower(equities=ALPACA)
    changes = {"reconcile_policy": policy}
    await floor.registry.update_follower(floor.tenant_id, follower_id, changes, actor="user:test")
    return Account(floor, follower_id)


async def place(floor: Floor, account: Account, end: FollowerState = FollowerState.CONFIRMED, **order: Any) -> str:
    """An order of ours, sent and brought to its end; a confirmed one filled whole at its broker."""
    admission = await floor.admit(**order)
    page = await floor.page(admission.mo_id, "alpaca")
    [pending] = [
        p
        for p in await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))
        if p.follower_id == account.follower_id
    ]
    store = DispatchStore(floor.database)
    if end is FollowerState.CONFIRMED:
        account.trade(pending.fo_id, pending.side, int(pending.qty))
        outcome = SendOutcome(OutcomeKind.ACK, "accepted", venue_order=account.orders[-1].order)
        await store.record(floor.tenant_id, [(pending, outcome)])
    else:
        async with store.locked(floor.tenant_id, pending.fo_id) as (cursor, now):
            await store.change(cursor, Change(now.fo_id, now.state, (end,), reason="retries_exhausted"))
    return pending.fo_id


async def test_a_follower_that_holds_what_it_should_has_no_drift(floor: Floor):
    account = await bridged(floor)
    await place(floor, account)
    finding = await account.look()
    assert (finding.cause, finding.expected, finding.booked, finding.actual) == (None, 10, 10, 10)
    assert finding.drift_bps is not None
    [execution] = (await account.books()).executions
    assert (execution.slippage_bps, execution.latency_ms is not None) == (Decimal(50), True)


async def test_a_late_fill_is_booked_once_and_told(floor: Floor):
    account = await bridged(floor)
    fo_id = await place(floor, account, FollowerState.DEAD_LETTER)
    account.trade(fo_id, Side.BUY, 10)
    finding, recorded = await account.run()
    assert (finding.cause, recorded) == (Cause.MISSED_FILL, True)
    assert await account.state() == (10, 1)
    # The same report again, from a run that had read the books before, is left out; and so is a repeat of the run.
    assert await account.run(finding) == (finding, False)
    assert await account.state() == (10, 1)
    again, _ = await account.run()
    assert again.cause is None
    [order] = await floor.rows("SELECT state, filled_qty, avg_price, broker_order_ref FROM follower_orders")
    assert tuple(order.values()) == ("dead_letter", 10, 201, f"ref-{fo_id}")


async def test_an_order_with_a_late_fill_is_rebuilt_from_its_events_alone(floor: Floor):
    account = await bridged(floor)
    fo_id = await place(floor, account, FollowerState.DEAD_LETTER)
    account.trade(fo_id, Side.BUY, 10)
    await account.run()
    rebuilt = rebuild(await floor.rows("SELECT * FROM audit_events ORDER BY event_id"))[fo_id]
    assert (rebuilt.booked, rebuilt.filled_qty, rebuilt.avg_price) == (Decimal(10), Decimal(10), Decimal(201))


async def test_an_open_order_that_lost_its_owner_is_brought_to_its_end(floor: Floor):
    account = await bridged(floor)
    fo_id = await place(floor, account, FollowerState.ACK)
    account.trade(fo_id, Side.BUY, 10)
    assert (await account.look()).cause is Cause.IN_FLIGHT
    await floor.rows("UPDATE follower_orders SET updated_at = now() - interval '2 hours'")
    finding, _ = await account.run()
    assert finding.cause is Cause.MISSED_FILL
    assert await account.state() == (10, 1)
    assert await floor.rows("SELECT state FROM follower_orders") == [{"state": "confirmed"}]


async def test_what_was_closed_by_hand_is_taken_over_once(floor: Floor):
    account = await bridged(floor)
    fo_id = await place(floor, account)
    account.trade("by-hand", Side.SELL, 4)
    finding, recorded = await account.run()
    assert (finding.cause, finding.action and finding.action.kind, recorded) == (
        Cause.OWN_TRADE, ActionKind.ADOPT, True,
    )  # fmt: skip
    assert await account.state() == (6, 2)
    assert await account.run(finding) == (finding, False)
    assert await account.state() == (6, 2)
    [fill] = await floor.rows("SELECT fo_id, side, qty, source FROM fills WHERE source = 'adopted'")
    assert fill == {"fo_id": fo_id, "side": "sell", "qty": 4, "source": "adopted"}
    [event] = await account.events("position_adopted")
    assert (event["qty"], event["symbol"]) == ("4", EQUITY)
    again, _ = await account.run()
    assert (again.cause, again.expected) == (None, 6)


async def test_an_observed_follower_s_books_stay_as_they_are(floor: Floor):
    account = await bridged(floor, Policy.OBSERVE)
    await place(floor, account)
    account.trade("by-hand", Side.SELL, 4)
    finding, recorded = await account.run()
    assert (finding.cause, finding.action, recorded) == (Cause.OWN_TRADE, None, True)
    assert await account.state() == (10, 1)


async def test_a_missed_exit_asks_for_a_reduction_that_is_recorded(floor: Floor):
    account = await bridged(floor)
    await place(floor, account)
    await place(floor, account, FollowerState.DEAD_LETTER, side="sell")
    finding, _ = await account.run()
    assert (finding.cause, finding.action and finding.action.qty) == (Cause.KILL_OR_SKIP, -10)
    [drift] = await floor.rows("SELECT cause, action, expected_qty, booked_qty, actual_qty FROM drifts")
    assert drift == {
        "cause": "kill_or_skip", "action": "reduce", "expected_qty": 0, "booked_qty": 10, "actual_qty": 10,
    }  # fmt: skip


async def test_a_capped_order_s_missing_part_is_found_in_its_trace(floor: Floor):
    account = await bridged(floor)
    changes = {"max_pos_usd": Decimal(800)}
    await floor.registry.update_follower(floor.tenant_id, account.follower_id, changes, actor="user:test")
    await place(floor, account)
    finding = await account.look()
    assert (finding.cause, finding.expected, finding.booked) == (Cause.CAP, 10, 4)


async def test_a_follower_that_was_killed_before_sizing_was_meant_to_get_its_share(floor: Floor):
    account = await bridged(floor)
    changes = {"kill_switch": True, "scale": Decimal("0.5")}
    await floor.registry.update_follower(floor.tenant_id, account.follower_id, changes, actor="user:test")
    admission = await floor.admit()
    await ExpansionStore(floor.database).expand(floor.tenant_id, admission.mo_id, 0)
    finding = await account.look()
    assert (finding.cause, finding.expected, finding.booked) == (Cause.KILL_OR_SKIP, 5, 0)
    assert (await account.books()).stopped


async def test_orders_that_moved_since_the_books_were_read_are_the_next_run_s(floor: Floor):
    account = await bridged(floor)
    await place(floor, account)
    account.trade("by-hand", Side.SELL, 4)
    finding = await account.look()
    await place(floor, account, side="sell", qty="5")
    assert await account.run(finding) == (finding, False)
    assert await account.state() == (5, 2)


async def test_a_finding_is_news_once_and_again_when_it_changes(floor: Floor):
    account = await bridged(floor, Policy.OBSERVE)
    await place(floor, account)
    account.trade("by-hand", Side.SELL, 4)
    for _ in range(3):
        await account.run()
    assert len(await account.events("drift_found")) == 1
    account.trade("by-hand-2", Side.SELL, 1)
    await account.run()
    [_, second] = await account.events("drift_found")
    assert (second["actual_qty"], second["cause"]) == ("5", "own_trade")
    assert len(await floor.rows("SELECT 1 FROM drifts")) == 4


async def test_a_vault_has_one_run_at_a_time_and_an_abandoned_one_does_not_block_it(floor: Floor):
    account = await bridged(floor)
    run = await account.open()
    assert await account.runs.open(floor.tenant_id, floor.vault_id, "R-other") is None
    assert await account.runs.open(floor.tenant_id, floor.vault_id, run.run_id) == run
    assert await account.runs.running(floor.tenant_id, floor.vault_id, "R-other") == run.run_id
    await floor.rows("UPDATE reconciliations SET started_at = now() - interval '2 hours'")
    other = await account.runs.open(floor.tenant_id, floor.vault_id, "R-other")
    assert other is not None
    assert other.previous_run_id is None
    await account.runs.close(floor.tenant_id, "R-other", RunTotals(followers=3, drifts=1), "done")
    assert await account.runs.open(floor.tenant_id, floor.vault_id, "R-other") is None
    third = await account.open()
    assert (third.previous_run_id, third.previous_at) == ("R-other", other.started_at)
    states = await floor.rows("SELECT state FROM reconciliations ORDER BY started_at")
    assert [row["state"] for row in states] == ["failed", "done", "running"]
    events = await floor.rows("SELECT payload FROM audit_events WHERE action = 'reconciled'")
    assert [e["payload"]["run_id"] for e in events] == ["R-other"]


async def test_a_run_that_was_given_up_records_and_does_nothing_more(floor: Floor):
    account = await bridged(floor)
    await place(floor, account)
    account.trade("by-hand", Side.SELL, 4)
    finding, run = await account.look(), await account.open()
    await floor.rows("UPDATE reconciliations SET started_at = now() - interval '2 hours'")
    await account.open()
    assert not await account.findings.record(floor.tenant_id, floor.vault_id, run, account.seen, finding)
    assert await account.state() == (10, 1)


async def test_a_halt_of_opens_lets_reductions_pass(floor: Floor):
    account = await bridged(floor)
    assert not (await account.books()).opens_stopped
    for halt, stopped in (("halt_opens", False), ("halt_all", True), ("flatten", True)):
        await floor.rows("UPDATE vaults SET halt = %s", halt)
        books = await account.books()
        assert (books.stopped, books.opens_stopped) == (stopped, True)


async def test_who_was_told_of_by_the_previous_run_is_known(floor: Floor):
    account = await bridged(floor)
    run = await account.open()
    alerts = [{"follower_id": account.follower_id, "bps": "-60"}]
    await account.findings.alert(floor.tenant_id, floor.vault_id, run, alerts, "50")
    await account.runs.close(floor.tenant_id, run.run_id, RunTotals(alerts=alerts), "done")
    assert (await account.open()).alerted == (account.follower_id,)
    [event] = await account.events("drift_alert")
    assert (event["drift_bps"], event["threshold_bps"]) == ("-60", "50")


async def test_buying_power_is_kept_and_only_changes_make_history(floor: Floor):
    account = await bridged(floor)
    for money in (100, 100, 90):
        kept = VenueAccount(Decimal(money), Decimal(money), Decimal(money))
        await account.findings.keep_funds(floor.tenant_id, account.follower_id, kept)
    [row] = await floor.rows("SELECT funds_usd, funds_asof IS NOT NULL AS known FROM followers")
    assert row == {"funds_usd": 90, "known": True}
    history = await floor.rows(
        "SELECT body ->> 'funds_usd' AS funds FROM row_history WHERE entity = 'follower' ORDER BY history_id"
    )
    assert [row["funds"] for row in history if row["funds"]] == ["100", "90"]


async def test_runs_and_drifts_are_read_page_by_page_and_by_their_tenant_only(
    floor: Floor, registry: Registry, database: Database
):
    account = await bridged(floor, Policy.OBSERVE)
    await place(floor, account)
    account.trade("by-hand", Side.SELL, 4)
    await account.run()
    await account.run()
    newest, oldest = await account.runs.runs(floor.tenant_id, Slice(5), vault_id=floor.vault_id)
    after = (newest.started_at, newest.run_id)
    assert [r.run_id for r in await account.runs.runs(floor.tenant_id, Slice(5, after=after))] == [oldest.run_id]
    [drift] = await account.runs.drifts(floor.tenant_id, newest.run_id, limit=5)
    beyond = (drift.follower_id, drift.symbol)
    assert await account.runs.drifts(floor.tenant_id, newest.run_id, limit=5, after=beyond) == []
    other = str(uuid.uuid4())
    await registry.ensure_tenant(other, "Other", actor="user:test")
    assert await account.runs.runs(other, Slice(5)) == []
    with pytest.raises(NotFound):
        await account.runs.drifts(other, newest.run_id, limit=5)


async def test_every_open_vault_is_listed_with_its_tenant(floor: Floor, database: Database):
    assert (await ReconciliationStore(database).open_vaults())[floor.vault_id] == floor.tenant_id
