"""A page of followers: one at fault leaves the others alone, and what is off its path is told of once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.accounts import Accounts
from activities.reconciliation import Limits, PageKey, PageResult, ReconciliationActivities, RunKey
from domain.books import BrokerKey, FollowerBooks, SymbolBooks
from domain.dispatch import SealedKey
from domain.errors import SecretUnavailable, StoreUnavailable, VenueError, VenueRefused, VenueUnavailable
from domain.expectation import OrderFact
from domain.orders import FollowerState, Side
from domain.ports import AccountOrder, BrokerCredentials, VenueAccount, VenuePosition
from domain.reconciliation import DriftFinding, Policy
from domain.runs import Correction, OpenedRun

NOW = datetime.now(UTC)
KEY = RunKey("00000000-0000-4000-8000-000000000001", "V_1", "R-1")
RUN = OpenedRun("R-1", NOW)


def books(follower_id: str, *, booked: int = 10, **more: Any) -> FollowerBooks:
    """A follower whose one order of 10 filled by `booked`; its broker is called as it is."""
    side, whole = Side.BUY, Decimal(10)
    state = FollowerState.CONFIRMED if booked == 10 else FollowerState.REJECTED
    order = OrderFact(f"FO-{follower_id}", NOW, side, whole, whole, Decimal(booked), state, price=Decimal(100))
    # Without fills of its own, what is booked counts as there from the start; so the order must not have brought it.
    symbol = SymbolBooks("AAPL", Decimal(10), Decimal(1), Decimal(100), "alpaca", (), ())
    if booked != 10:
        symbol = replace(symbol, booked=Decimal(0), orders=(order,))
    account = BrokerKey("alpaca", SealedKey(f"cred/{follower_id}/alpaca", "k1", b"sealed"), "paper")
    given: dict[str, Any] = {
        "policy": Policy.CORRECT_AND_OPEN, "stopped": False, "is_webhook": False, "base_usd": Decimal(10_000),
        "bound_at": NOW - timedelta(days=30), "accounts": (account,), "symbols": (symbol,),
    }  # fmt: skip
    return FollowerBooks(follower_id, **{**given, **more})


@dataclass
class FakeBooks:
    followers: list[FollowerBooks]
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def page(self, tenant_id: str, vault_id: str, **given: Any) -> list[FollowerBooks]:
        self.asked.append(given)
        beyond = [f for f in self.followers if f.follower_id > given["after"]]
        return beyond[: given["limit"]]


@dataclass
class FakeFindings:
    found: list[DriftFinding] = field(default_factory=list)
    funds: dict[str, Decimal] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)
    moved: bool = False
    away: bool = False

    async def record(self, tenant_id: str, vault_id: str, run: Any, symbol: Any, finding: DriftFinding) -> bool:
        if self.away:
            raise StoreUnavailable("the database does not answer")
        if not self.moved:
            self.found.append(finding)
        return not self.moved

    async def keep_funds(self, tenant_id: str, follower_id: str, account: VenueAccount, balances: Any = None) -> None:
        self.funds[follower_id] = account.buying_power

    async def alert(self, tenant_id: str, vault_id: str, run: Any, alerts: Sequence[dict[str, str]], _: str) -> None:
        self.alerts += [alert["follower_id"] for alert in alerts]


@dataclass
class FakeBroker:
    """Holds 10 for everybody, and raises for those named. `most` is how many were asked at the same time."""

    faults: dict[str, Exception] = field(default_factory=dict)
    qty: Decimal = Decimal(10)
    busy: int = 0
    most: int = 0
    since: list[datetime] = field(default_factory=list)

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        follower_id = credentials.ref.split("/")[1]
        if follower_id in self.faults:
            raise self.faults[follower_id]
        return VenueAccount(Decimal(500), Decimal(500), Decimal(400))

    async def positions(self, credentials: BrokerCredentials) -> list[VenuePosition]:
        return [VenuePosition("AAPL", self.qty)]

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> list[AccountOrder]:
        self.since.append(since)
        return []


class FakeBox:
    def open(self, key_id: str, sealed: bytes, *, aad: str) -> bytes:
        if "unsealable" in aad:
            raise SecretUnavailable(f"{aad} does not open")
        return b'{"key_id": "AK", "secret": "s"}'


@dataclass
class FakeCorrections:
    started: list[Correction] = field(default_factory=list)

    async def start(self, correction: Correction) -> str:
        self.started.append(correction)
        return "M-1"


@dataclass
class Desk:
    followers: list[FollowerBooks]
    limits: Limits = field(default_factory=Limits)
    findings: FakeFindings = field(default_factory=FakeFindings)
    broker: FakeBroker = field(default_factory=FakeBroker)
    corrections: FakeCorrections = field(default_factory=FakeCorrections)

    async def page(self, run: OpenedRun = RUN, after: str = "") -> PageResult:
        accounts = Accounts(cast("Any", {"alpaca": self.broker}), cast("Any", FakeBox()))
        activities = ReconciliationActivities(
            cast("Any", None), cast("Any", FakeBooks(self.followers)), cast("Any", self.findings), accounts,
            self.corrections, self.limits,
        )  # fmt: skip
        return await ActivityEnvironment().run(activities.reconcile_page, PageKey(KEY, run, after))


FAULTS: list[VenueError | Exception] = [
    VenueRefused("bad_credentials", "HTTP 401"),
    VenueUnavailable("no_answer", "TimeoutError"),
    ZeroDivisionError("a fault of ours"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_one_follower_s_failure_does_not_stop_the_others(fault: Exception):
    desk = Desk([books("F_1"), books("F_2"), books("F_3", booked=0)], broker=FakeBroker({"F_2": fault}, Decimal(0)))
    desk.followers[0] = books("F_1", symbols=())
    totals = (await desk.page()).totals
    assert totals.followers == 3
    assert [entry["follower_id"] for entry in totals.unreachable] == ["F_2"]
    assert totals.causes == {"kill_or_skip": 1, "unknown": 1}
    assert "unreachable" in next(f for f in desk.findings.found if f.follower_id == "F_2").evidence
    assert set(desk.findings.funds) == {"F_1", "F_3"}


async def test_a_credential_that_does_not_open_or_has_no_adapter_is_that_follower_s_trouble():
    odd = BrokerKey("nowhere", SealedKey("cred/F_odd/nowhere", "k1", b""), "paper")
    desk = Desk([books("F_unsealable"), books("F_odd", accounts=(odd,)), books("F_z")])
    totals = (await desk.page()).totals
    assert {e["follower_id"]: e["reason"].split(":")[1].strip() for e in totals.unreachable} == {
        "F_unsealable": "secret-unavailable", "F_odd": "secret-unavailable",
    }  # fmt: skip


async def test_accounts_are_read_a_few_at_a_time():
    desk = Desk([books(f"F_{n:02}") for n in range(20)], Limits(at_once=3))
    assert (await desk.page()).totals.followers == 20
    assert desk.broker.most == 3


async def test_a_full_page_tells_where_the_next_begins():
    desk = Desk([books(f"F_{n}") for n in range(3)], Limits(page_size=2))
    assert (await desk.page()).next_after == "F_1"
    last = await desk.page(after="F_1")
    assert (last.next_after, last.totals.followers) == (None, 1)


async def test_a_shortfall_is_corrected_by_an_order_for_that_follower():
    desk = Desk([books("F_1", booked=0)], broker=FakeBroker(qty=Decimal(0)))
    totals = (await desk.page()).totals
    assert totals.actions == {"open": 1}
    assert desk.corrections.started == [Correction(KEY.tenant_id, "V_1", "R-1", "F_1", "AAPL", Decimal(10))]


async def test_what_has_moved_meanwhile_is_neither_a_drift_nor_corrected():
    desk = Desk([books("F_1", booked=0)], findings=FakeFindings(moved=True), broker=FakeBroker(qty=Decimal(0)))
    totals = (await desk.page()).totals
    assert (totals.moved, totals.drifts, desk.corrections.started) == (1, 0, [])


async def test_a_database_that_is_away_is_tried_again():
    desk = Desk([books("F_1", booked=0)], findings=FakeFindings(away=True))
    with pytest.raises(ApplicationError) as failed:
        await desk.page()
    assert not failed.value.non_retryable


async def test_a_follower_off_its_path_is_told_of_once():
    order = OrderFact(
        "FO-1", NOW, Side.BUY, Decimal(10), Decimal(10), Decimal(0), FollowerState.REJECTED, price=Decimal(90)
    )
    symbol = SymbolBooks("AAPL", Decimal(0), Decimal(1), Decimal(100), "alpaca", (order,), ())
    desk = Desk([books("F_1", symbols=(symbol,)), books("F_2")])
    totals = (await desk.page()).totals
    assert totals.alerts == totals.path.worst == [{"follower_id": "F_1", "bps": "-100"}]
    assert (totals.path.followers, totals.path.off_bps_sum) == (2, Decimal(100))
    assert desk.findings.alerts == ["F_1"]
    await desk.page(replace(RUN, alerted=("F_1",)))
    assert desk.findings.alerts == ["F_1"]


async def test_orders_are_read_further_back_where_one_of_ours_is_open_for_longer():
    at = NOW - timedelta(days=20)
    open_order = OrderFact("FO-1", at, Side.BUY, Decimal(1), Decimal(1), Decimal(0), FollowerState.ACK)
    symbol = SymbolBooks("AAPL", Decimal(0), Decimal(1), None, "alpaca", (open_order,), ())
    desk = Desk([books("F_1", symbols=(symbol,))], Limits(lookback=timedelta(days=7)))
    await desk.page()
    assert at - desk.broker.since[0] == timedelta(minutes=5)


async def test_orders_are_read_since_the_follower_joined_or_as_far_back_as_is_looked():
    joined = NOW - timedelta(days=1)
    desk = Desk([books("F_new", bound_at=joined), books("F_old")], Limits(lookback=timedelta(days=7)))
    await desk.page()
    old, new = sorted(desk.broker.since)
    assert joined - new == timedelta(minutes=5)
    assert timedelta(days=7) < NOW + timedelta(minutes=1) - old < timedelta(days=7, minutes=10)
