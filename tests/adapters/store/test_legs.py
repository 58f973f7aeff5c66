"""Orders whose money has to be changed first: on the real store, at a venue in memory."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import delivery
from activities.delivery import DeliveryActivities, FollowerOrderKey, OrderStatus
from activities.legs import MoneyLegs
from activities.sending import Sending
from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.legs import LegStore
from adapters.store.money import Peg
from adapters.store.reads import Reads
from adapters.store.redrive import RedriveStore
from adapters.store.registry import Registry
from adapters.store.waves import WaveStore
from api.schemas.orders import OrderLeg
from domain.enrolment import BrokerAccount
from domain.errors import InvalidInput, StoreUnavailable
from domain.explain import Explanation, explain
from domain.explain_legs import left
from domain.mirroring import RedriveRequest
from domain.orders import FollowerState
from domain.routing import RoutingTerms
from domain.venues import ConversionStatus
from models import Instrument, Price
from tests.adapters.store.orders import COIN, UNLIMITED, Floor
from tests.adapters.store.test_freezing import expand
from tests.exchange import Crash, Exchange

D = Decimal
F = FollowerState
PEG = "USDC-USD"
TERMS = RoutingTerms(D(0), D(0), D(100), D(50))


class Desk:
    """A floor with one consenting account, and the owner of its orders."""

    def __init__(self, floor: Floor, box: SecretBox, exchange: Exchange) -> None:
        self.floor = floor
        self.exchange = exchange
        self.store = DispatchStore(floor.database)
        sending = Sending(cast("Any", None), {"alpaca": cast("Any", exchange)}, box)
        legs = MoneyLegs(LegStore(floor.database, Peg(PEG)), sending, TERMS)
        self._delivery = DeliveryActivities(self.store, sending, legs)
        self.follower = ""

    async def prepare(self, *, priced_hours_ago: int = 0) -> None:
        await self.floor.prepare()
        await self.floor.registry.upsert_instrument(
            Instrument(symbol=PEG, venue="TEST", rail="crypto", qty_step=D(1), fine_step=D(1), min_qty=D(0),
                       min_notional=D(0), tradable=False)
        )  # fmt: skip
        asof = datetime.now(UTC) - timedelta(hours=priced_hours_ago)
        await self.floor.registry.upsert_price(Price(symbol=PEG, price=D(1), asof=asof, source="test"))
        self.follower = await self.floor.follower(crypto=BrokerAccount("alpaca", "key", "secret"), fractional=True)
        await self.consent()

    async def consent(self, *, given: bool = True) -> None:
        statement = (
            "UPDATE followers SET bridged_brokers = bridged_brokers || jsonb_build_object('crypto_convert', %s::bool) "
            "WHERE follower_id = %s"
        )
        await self.floor.rows(statement, given, self.follower)

    async def order(self, **more: Any) -> str:
        admission = await self.floor.admit(COIN, **more)
        fo_id: str = (await expand(self.floor, admission))[self.follower]["fo_id"]
        return fo_id

    async def deliver(self, fo_id: str) -> OrderStatus | ApplicationError:
        try:
            return await ActivityEnvironment().run(
                self._delivery.deliver, FollowerOrderKey(self.floor.tenant_id, fo_id)
            )
        except ApplicationError as error:
            return error

    async def confirm(self, fo_id: str) -> OrderStatus:
        return await ActivityEnvironment().run(self._delivery.confirm, FollowerOrderKey(self.floor.tenant_id, fo_id))

    async def row(self, fo_id: str) -> dict[str, Any]:
        [row] = await self.floor.rows("SELECT * FROM follower_orders WHERE fo_id = %s", fo_id)
        return row

    async def legs(self, fo_id: str) -> list[tuple[int, int, str, str]]:
        rows = await self.floor.rows("SELECT * FROM order_legs WHERE fo_id = %s ORDER BY plan, leg_no", fo_id)
        return [(row["plan"], row["leg_no"], row["kind"], row["state"]) for row in rows]

    async def told(self, fo_id: str) -> list[str]:
        statement = "SELECT action FROM audit_events WHERE entity = 'order_leg' AND entity_id = %s ORDER BY event_id"
        return [row["action"] for row in await self.floor.rows(statement, fo_id)]

    async def explained(self, fo_id: str) -> Explanation:
        view = await Reads(self.floor.database).follower_order(self.floor.tenant_id, fo_id)
        assert [OrderLeg.model_validate(row).leg_id for row in view.legs] == [leg["leg_id"] for leg in view.story.legs]
        return explain(view.story)

    async def redrive(self, fo_id: str) -> bool:
        [letter] = await self.floor.rows(
            "SELECT dead_letter_id FROM dead_letters WHERE fo_id = %s AND redriven_at IS NULL", fo_id
        )
        request = RedriveRequest(letter["dead_letter_id"], "user:operator")
        store = RedriveStore(self.floor.database, UNLIMITED)
        return (await store.redrive(self.floor.tenant_id, fo_id, request, datetime.now(UTC))).redriven


@pytest.fixture
async def desk(database: Database, registry: Registry, box: SecretBox, tenant: str) -> Desk:
    made = Desk(Floor(database, registry, tenant), box, Exchange({"USD": D(5_000)}))
    await made.prepare()
    return made


async def test_the_money_is_changed_and_then_the_order_is_sent(desk: Desk) -> None:
    fo_id = await desk.order()  # 10 at 200
    status = await desk.deliver(fo_id)
    assert isinstance(status, OrderStatus)
    assert (status.state, status.attempts) == (F.CONFIRMED, 1)
    assert await desk.legs(fo_id) == [(1, 1, "convert", "done"), (1, 2, "trade", "planned")]
    assert await desk.told(fo_id) == ["planned", "planned", "quoted", "committing", "done", "traded"]
    assert desk.exchange.purse == {"USD": D("2980.00"), "USDC": D("20.00")}
    held = await desk.floor.rows("SELECT symbol, qty FROM positions WHERE holder_id = %s", desk.follower)
    assert held == [{"symbol": COIN, "qty": D(10)}]  # a conversion is no exposure
    known = await desk.floor.rows(
        "SELECT currency, amount FROM follower_balances WHERE follower_id = %s", desk.follower
    )
    assert known == [{"currency": "USD", "amount": D(5_000)}]


async def test_every_change_of_a_leg_leaves_its_events_in_the_outbox(desk: Desk) -> None:
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    events = await desk.floor.rows(
        "SELECT payload FROM audit_events WHERE entity = 'order_leg' AND action = 'done' AND entity_id = %s", fo_id
    )
    [payload] = [event["payload"] for event in events]
    assert (payload["from"], payload["to"], payload["leg_id"]) == ("committing", "done", f"{fo_id}-1-1")
    assert (payload["amount"], payload["received"], payload["source"]) == ("2020.00", "2020.00", "USD")


@pytest.mark.parametrize("crash_at", range(10))
async def test_a_crash_at_any_step_changes_money_once_and_buys_once(desk: Desk, crash_at: int) -> None:
    desk.exchange.crash_at = {crash_at}
    fo_id = await desk.order()
    with pytest.raises(Crash):
        await desk.deliver(fo_id)
    status = await desk.deliver(fo_id)
    assert isinstance(status, OrderStatus)
    assert status.state is F.CONFIRMED
    assert desk.exchange.calls["moved"] == 1
    assert desk.exchange.calls["submit"] == 1
    assert desk.exchange.purse == {"USD": D("2980.00"), "USDC": D("20.00")}


@pytest.mark.parametrize("step", ["quoted", "begin", "done"])
@pytest.mark.parametrize("written", [True, False])
async def test_a_crash_around_any_write_changes_money_once(
    desk: Desk, step: str, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(LegStore, step)

    async def crashing(*given: Any) -> None:
        if written:
            await real(*given)
        raise Crash

    fo_id = await desk.order()
    with monkeypatch.context() as patch:
        patch.setattr(LegStore, step, crashing)
        with pytest.raises(Crash):
            await desk.deliver(fo_id)
    status = await desk.deliver(fo_id)
    assert isinstance(status, OrderStatus)
    assert (status.state, desk.exchange.calls["moved"], desk.exchange.calls["submit"]) == (F.CONFIRMED, 1, 1)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_lost_on_the_way_money_is_changed_once_and_the_order_is_sent_once(
    desk: Desk, seed: int
) -> None:
    dice = random.Random(seed)
    calls = ["balances", "quotes", "quote", "quote", "commit", "commit", "look_up_conversion"]
    desk.exchange.loses = dice.sample(calls, dice.randint(1, 5))
    desk.exchange.crash_at = set(dice.sample(range(24), dice.randint(0, 4)))
    fo_id = await desk.order()
    for _ in range(20):
        try:
            status = await desk.deliver(fo_id)
        except Crash:
            continue
        if isinstance(status, OrderStatus):
            break
    assert isinstance(status, OrderStatus)
    assert status.state is F.CONFIRMED
    assert (desk.exchange.calls["moved"], desk.exchange.calls["submit"]) == (1, 1)
    assert desk.exchange.purse == {"USD": D("2980.00"), "USDC": D("20.00")}


async def test_two_owners_at_once_change_money_once_and_send_once(desk: Desk) -> None:
    """A worker that was given up is still at it while another has begun."""
    desk.exchange.capabilities = replace(desk.exchange.capabilities, absence_proven_after_s=30)
    fo_id = await desk.order()
    # Whoever takes an order for lost and whoever records its answer may wait for each other: one is told to try again.
    ended = await asyncio.gather(*(desk.deliver(fo_id) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(end, OrderStatus | ApplicationError | StoreUnavailable) for end in ended), ended
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "confirmed"
    assert (desk.exchange.calls["moved"], desk.exchange.calls["submit"]) == (1, 1)


async def test_an_attempt_does_not_follow_steps_that_took_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_LEGS_MOST_S", 0)
    fo_id = await desk.order()
    for _ in range(3):  # plan, quote, commit
        again = await desk.deliver(fo_id)
        assert isinstance(again, ApplicationError)
        assert "one step at a time" in again.message
    assert desk.exchange.calls["submit"] == 0
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "confirmed"


async def test_a_committed_conversion_whose_answer_is_lost_is_looked_up_and_not_repeated(desk: Desk) -> None:
    desk.exchange.loses = ["commit"]
    fo_id = await desk.order()
    again = await desk.deliver(fo_id)
    assert isinstance(again, ApplicationError)
    assert "money for the order: no answer in time" in again.message
    assert (await desk.row(fo_id))["state"] == "sized"
    await desk.deliver(fo_id)
    assert (desk.exchange.calls["commit"], desk.exchange.calls["moved"]) == (1, 1)
    assert (await desk.row(fo_id))["state"] == "confirmed"


async def test_a_venue_that_takes_its_time_is_waited_for(desk: Desk) -> None:
    desk.exchange.pending = True
    fo_id = await desk.order()
    again = await desk.deliver(fo_id)
    assert isinstance(again, ApplicationError)
    assert "still changing USD into USDC" in again.message
    [(ref, known)] = desk.exchange.conversions.items()
    desk.exchange.conversions[ref] = replace(known, status=ConversionStatus.COMPLETED)
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "confirmed"


async def test_a_refused_conversion_stops_in_words_and_a_redrive_goes_on_from_it(desk: Desk) -> None:
    desk.exchange.refuses = {"commit": "forbidden"}
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    row = await desk.row(fo_id)
    assert (row["state"], row["reason"], row["dispatch_attempts"]) == ("dead_letter", "leg_failed", 0)
    assert row["last_error"] == (
        "leg 1 of 2 failed: the venue says no; the account still holds 2,020.00 USD, and nothing was changed"
    )
    desk.exchange.refuses = {}
    assert await desk.redrive(fo_id)
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "confirmed"
    assert await desk.legs(fo_id) == [
        (1, 1, "convert", "failed"), (1, 2, "trade", "planned"), (2, 1, "convert", "done"), (2, 2, "trade", "planned"),
    ]  # fmt: skip


async def test_a_refused_order_leaves_its_money_and_says_so_and_a_redrive_changes_none_again(desk: Desk) -> None:
    desk.exchange.refuses = {"submit": "halted"}
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    row = await desk.row(fo_id)
    assert (row["state"], row["reason"]) == ("dead_letter", "leg_failed")
    assert row["last_error"] == ("leg 2 of 2 failed: halted: the venue says no; the account holds 2,020.00 USDC of it")
    [letter] = await desk.floor.rows("SELECT reason, context FROM dead_letters WHERE fo_id = %s", fo_id)
    assert (letter["reason"], letter["context"]["last_error"]) == ("leg_failed", row["last_error"])
    desk.exchange.refuses = {}
    assert await desk.redrive(fo_id)
    await desk.deliver(fo_id)  # the venue is asked first, and has none
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "confirmed"
    assert desk.exchange.calls["moved"] == 1


async def test_off_its_peg_nothing_is_changed_and_it_is_said(desk: Desk) -> None:
    await desk.floor.registry.upsert_price(Price(symbol=PEG, price=D("0.97"), asof=datetime.now(UTC), source="test"))
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    row = await desk.row(fo_id)
    assert (row["state"], row["reason"]) == ("dead_letter", "depegged")
    assert row["last_error"] == "USDC is at 0.97 USD, 300 bps off its peg; beyond 50 bps no money is changed"
    assert desk.exchange.calls["quote"] == desk.exchange.calls["submit"] == 0


async def test_a_price_of_usdc_that_is_too_old_is_none(
    database: Database, registry: Registry, box: SecretBox, tenant: str
) -> None:
    desk = Desk(Floor(database, registry, tenant), box, Exchange({"USD": D(5_000)}))
    await desk.prepare(priced_hours_ago=2)
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["reason"] == "peg_unknown"


async def test_a_quote_far_from_par_is_not_taken(desk: Desk) -> None:
    desk.exchange.rate = D("0.98")
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    assert "leg 1 of 2 failed: the venue gives 0.98 USDC for 1 USD" in (await desk.row(fo_id))["last_error"]
    assert desk.exchange.calls["commit"] == 0


async def test_a_fee_within_what_is_to_spare_is_taken_and_recorded(desk: Desk) -> None:
    desk.exchange.fee = D("0.005")
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "confirmed"
    [leg] = await desk.floor.rows("SELECT received, fee FROM order_legs WHERE fo_id = %s AND leg_no = 1", fo_id)
    assert (leg["received"], leg["fee"]) == (D("2009.90"), D("10.10"))


async def test_what_the_venue_took_for_the_order_is_recorded_once_and_nothing_hangs_on_it(desk: Desk) -> None:
    desk.exchange.refuses = {"fills": "forbidden"}
    fo_id = await desk.order()
    status = await desk.deliver(fo_id)
    assert isinstance(status, OrderStatus)
    assert status.state is F.CONFIRMED
    assert "the order itself, for at most" in (await desk.explained(fo_id)).money[1].text
    desk.exchange.refuses = {}
    for _ in range(2):
        await desk.confirm(fo_id)
    [leg] = await desk.floor.rows("SELECT fee, received FROM order_legs WHERE fo_id = %s AND leg_no = 2", fo_id)
    assert (leg["fee"], leg["received"]) == (D("12.50"), D(10))
    assert (await desk.told(fo_id)).count("traded") == 1
    assert desk.exchange.calls["fills"] == 2


async def test_too_little_money_is_said_before_anything_moves(desk: Desk) -> None:
    desk.exchange.purse = {"USD": D(1_500)}
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    row = await desk.row(fo_id)
    assert (row["state"], row["reason"]) == ("dead_letter", "insufficient_funds")
    assert row["last_error"] == "the order needs 2,000.00 USDC, and the account has 0.00 USDC and 1,500.00 USD"


async def test_what_a_sibling_has_been_promised_is_not_free(desk: Desk) -> None:
    desk.exchange.purse = {"USD": D(3_000)}
    desk.exchange.loses = ["quote"]
    first = await desk.order()
    await desk.deliver(first)  # planned: 2,020 USD of it are spoken for
    second = await desk.order()
    await desk.deliver(second)
    row = await desk.row(second)
    assert row["reason"] == "insufficient_funds"
    assert row["last_error"].endswith("the account has 0.00 USDC and 980.00 USD")
    await desk.deliver(first)
    assert (await desk.row(first))["state"] == "confirmed"


async def test_a_kill_before_the_commit_leaves_the_money_as_it_is(desk: Desk) -> None:
    desk.exchange.loses = ["quote"]
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    await desk.floor.rows("UPDATE followers SET kill_switch = true WHERE follower_id = %s", desk.follower)
    status = await desk.deliver(fo_id)
    assert isinstance(status, OrderStatus)
    assert status.state is F.KILLED
    assert desk.exchange.calls["moved"] == 0


async def test_a_kill_while_the_venue_is_changing_money_still_records_what_came_of_it(desk: Desk) -> None:
    desk.exchange.loses = ["commit"]
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    await desk.floor.rows("UPDATE followers SET kill_switch = true WHERE follower_id = %s", desk.follower)
    status = await desk.deliver(fo_id)
    assert isinstance(status, OrderStatus)
    assert status.state is F.KILLED
    assert (await desk.legs(fo_id))[0] == (1, 1, "convert", "done")
    assert desk.exchange.calls["submit"] == 0


async def test_without_consent_no_money_is_changed(desk: Desk) -> None:
    await desk.consent(given=False)
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    assert (await desk.row(fo_id))["state"] == "rejected"  # by the venue, for want of USDC
    assert desk.exchange.calls["quote"] == 0
    assert await desk.legs(fo_id) == []


async def test_the_wave_leaves_purchases_of_consenting_accounts_to_their_owners_and_sends_their_sales(
    desk: Desk,
) -> None:
    buy = await desk.floor.admit(COIN)
    page = await desk.floor.page(buy.mo_id, "alpaca")
    waves = WaveStore(desk.floor.database)
    assert len(page.orders) == 1
    assert await waves.open(page, page.orders, datetime.now(UTC)) == []
    fo_id = (await expand(desk.floor, buy))[desk.follower]["fo_id"]
    await desk.deliver(fo_id)
    sale = await desk.floor.admit(COIN, side="sell")
    page = await desk.floor.page(sale.mo_id, "alpaca")
    assert [o.qty for o in await waves.open(page, page.orders, datetime.now(UTC))] == [D(10)]


async def test_consent_that_is_taken_back_does_not_lose_a_conversion_under_way(desk: Desk) -> None:
    desk.exchange.loses = ["commit"]
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    await desk.consent(given=False)
    await desk.deliver(fo_id)
    assert (await desk.legs(fo_id))[0] == (1, 1, "convert", "done")
    assert (await desk.row(fo_id))["state"] == "confirmed"


async def test_a_routed_order_is_explained_leg_by_leg_and_each_by_its_event(desk: Desk) -> None:
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    explained = await desk.explained(fo_id)
    assert [item.text for item in explained.money] == [
        "Leg 1 of 2: 2,020.00 USD were changed into 2,020.00 USDC, for a fee of 0.00 USDC.",
        f"Leg 2 of 2: the order itself brought 10 {COIN}, for a fee of 12.50 USDC.",
    ]
    assert all(item.event_id for item in explained.money)
    told = [moment.text for moment in explained.timeline]
    assert "Leg 1: the venue offers 2,020.00 USDC for 2,020.00 USD, for a fee of 0.00 USDC." in told
    assert "Leg 1: 2,020.00 USD are being changed into 2,020.00 USDC." in told


async def test_what_lies_there_when_the_order_was_refused_is_said_to_the_follower(desk: Desk) -> None:
    desk.exchange.refuses = {"submit": "halted"}
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    explained = await desk.explained(fo_id)
    assert explained.money[-1].text == "The account holds 2,020.00 USDC that were changed for it."
    failed = "leg 2 of 2 failed: halted: the venue says no; the account holds 2,020.00 USDC of it."
    assert explained.text.endswith(f"A person has to look at it: {failed}")


async def test_a_plan_that_was_replaced_says_so(desk: Desk) -> None:
    desk.exchange.refuses = {"quote": "forbidden"}
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    explained = await desk.explained(fo_id)
    assert explained.money[0].text == "Leg 1 of 2: 2,020.00 USD were not changed into USDC: the venue says no."
    assert "leg 1 of 2 failed: the venue says no; the account still holds 2,020.00 USD" in explained.text
    desk.exchange.refuses = {}
    await desk.redrive(fo_id)
    await desk.deliver(fo_id)
    texts = [item.text for item in (await desk.explained(fo_id)).money]
    assert texts[0].startswith("Leg 1 of 2 (of a plan that was replaced): ")
    assert texts[2].startswith("Leg 1 of 2: 2,020.00 USD were changed")


async def test_of_an_order_that_was_cancelled_half_way_the_rest_is_told(desk: Desk) -> None:
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    view = await Reads(desk.floor.database).follower_order(desk.floor.tenant_id, fo_id)
    order = view.order.model_dump() | {"state": "cancelled", "filled_qty": D(4)}
    assert left(order, view.story.legs) == (
        "Of the 2,020.00 USDC that were changed for it, the account holds about 1,220.00 USDC."
    )


@pytest.mark.parametrize("call", ["balances", "quote", "commit"])
async def test_a_key_that_the_venue_refuses_is_broken_and_stops_the_order_before_money_moves(
    desk: Desk, call: str
) -> None:
    desk.exchange.refuses = {call: "bad_credentials", "look_up_conversion": "bad_credentials"}
    fo_id = await desk.order()
    answer = await desk.deliver(fo_id)
    row = await desk.row(fo_id)
    assert (row["state"], row["reason"]) == ("dead_letter", "credential_broken")
    # What may have been changed is found out when there is a key again.
    assert isinstance(answer, ApplicationError) is (call == "commit")
    assert desk.exchange.calls["moved"] == 0
    [known] = await desk.floor.rows("SELECT status, broken_reason FROM credentials WHERE venue = 'alpaca'")
    assert (known["status"], known["broken_reason"]) == ("broken", "bad_credentials")


async def test_consent_is_given_and_taken_back_by_the_followers_settings(desk: Desk) -> None:
    floor = desk.floor
    coins = await floor.follower(crypto=BrokerAccount("coinbase", "key", "secret"))
    for given in (True, False):
        row = await floor.registry.update_follower(floor.tenant_id, coins, {"convert": given}, actor="user:test")
        assert row.bridged_brokers == {"crypto_ref": f"cred/{coins}/coinbase", "crypto_convert": given}
    events = await floor.rows(
        "SELECT payload -> 'changes' -> 'convert' AS told FROM audit_events "
        "WHERE entity_id = %s AND action = 'updated' ORDER BY event_id", coins,
    )  # fmt: skip
    assert [event["told"] for event in events] == [{"from": False, "to": True}, {"from": True, "to": False}]


@pytest.mark.parametrize("account", [{}, {"equities": BrokerAccount("alpaca", "key", "secret")}])
async def test_nobody_consents_to_what_no_account_of_his_could_do(desk: Desk, account: dict[str, Any]) -> None:
    floor = desk.floor
    follower = await floor.follower(**account)
    with pytest.raises(InvalidInput, match="changes money"):
        await floor.registry.update_follower(floor.tenant_id, follower, {"convert": True}, actor="user:test")


@pytest.mark.parametrize(
    "account",
    [
        {"crypto": BrokerAccount("alpaca", "k", "s", convert=True)},
        {"equities": BrokerAccount("coinbase", "k", "s", convert=True)},
    ],
)
async def test_an_account_that_cannot_change_money_is_not_enrolled_with_consent(
    desk: Desk, account: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="changes money"):
        await desk.floor.follower(**account)


async def test_an_account_is_enrolled_with_consent(desk: Desk) -> None:
    follower = await desk.floor.follower(crypto=BrokerAccount("coinbase", "k", "s", convert=True))
    row = await desk.floor.registry.get_follower(desk.floor.tenant_id, follower)
    assert row.bridged_brokers == {"crypto_ref": f"cred/{follower}/coinbase", "crypto_convert": True}
