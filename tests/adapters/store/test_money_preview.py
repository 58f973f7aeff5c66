"""How an order would be paid for, before it is given: from the balances last known."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.door import Door
from adapters.store.findings import FindingStore
from adapters.store.money import Peg, RoutePreviews
from adapters.store.preview import PreviewStore
from adapters.store.registry import Registry
from api.schemas.preview import PreviewAnswer, PreviewMoney
from domain.ports import VenueAccount
from models import Price
from tests.adapters.store.orders import COIN, EQUITY, UNLIMITED, Floor
from tests.adapters.store.test_legs import PEG, TERMS, Desk
from tests.exchange import Exchange

D = Decimal
BUY = {"symbol": COIN, "side": "buy", "qty": "10"}  # at 200 USD


@pytest.fixture
async def desk(database: Database, registry: Registry, box: SecretBox, tenant: str) -> Desk:
    made = Desk(Floor(database, registry, tenant), box, Exchange({"USDC": D(5_000)}, currency="USD"))
    await made.prepare()
    return made


async def answer(desk: Desk, asof: datetime | None = None, **order: str) -> PreviewAnswer:
    door = Door(max_notional_usd=D(10_000_000), max_qty=D(1_000_000))
    store = PreviewStore(desk.floor.database, door, UNLIMITED, RoutePreviews(TERMS, Peg(PEG)))
    return PreviewAnswer.of(await store.preview(desk.floor.tenant_id, desk.follower, BUY | order, asof))


async def money(desk: Desk, **order: str) -> PreviewMoney:
    found = (await answer(desk, None, **order)).money
    assert found is not None
    return found


async def look(desk: Desk, balances: Mapping[str, Decimal]) -> None:
    """As reconciliation does."""
    account = VenueAccount(D(5_000), D(5_000), D(5_000))
    await FindingStore(desk.floor.database).keep_funds(desk.floor.tenant_id, desk.follower, account, balances)


def shown(found: PreviewMoney) -> list[tuple[Any, ...]]:
    return [(leg.kind, leg.source, leg.target, leg.amount) for leg in found.legs]


async def test_before_anybody_has_looked_only_the_order_is_shown_and_that_is_said(desk: Desk) -> None:
    found = await money(desk)
    assert (found.converts, found.currency, found.balances, found.balances_asof) == (True, "USD", {}, None)
    assert shown(found) == [("trade", "USD", COIN, D("2020.00"))]


async def test_the_legs_and_their_fees_come_from_the_balances_last_known(desk: Desk) -> None:
    before = datetime.now(UTC)
    await look(desk, {"USDC": D(5_000), "USD": D(20)})
    found = await money(desk)
    assert shown(found) == [("convert", "USDC", "USD", D("2000.00")), ("trade", "USD", COIN, D("2020.00"))]
    assert found.fee == 0
    assert found.balances_asof is not None
    assert found.balances_asof >= before


async def test_what_an_account_holds_no_more_is_not_counted(desk: Desk) -> None:
    await look(desk, {"USDC": D(5_000)})
    await look(desk, {"USD": D(3_000)})
    found = await money(desk)
    assert (found.balances, len(found.legs)) == ({"USD": D(3_000), "USDC": D(0)}, 1)


async def test_a_refusal_is_shown_with_its_reason(desk: Desk) -> None:
    await look(desk, {"USDC": D(5_000)})
    await desk.floor.registry.upsert_price(Price(symbol=PEG, price=D("0.9"), asof=datetime.now(UTC), source="test"))
    found = await money(desk)
    assert (found.legs, found.fee) == ([], None)
    assert found.refusal is not None
    assert found.refusal.code == "depegged"


async def test_an_order_gets_the_legs_that_were_shown(desk: Desk) -> None:
    await look(desk, {"USDC": D(5_000)})
    found = await money(desk)
    fo_id = await desk.order()
    await desk.deliver(fo_id)
    rows = await desk.floor.rows("SELECT * FROM order_legs WHERE fo_id = %s ORDER BY leg_no", fo_id)
    assert shown(found) == [(r["kind"], r["source"], r["target"], r["amount"]) for r in rows]


async def test_a_sale_and_an_order_without_consent_show_their_own_fee_only(desk: Desk) -> None:
    await desk.deliver(await desk.order())
    sale = await money(desk, side="sell")
    assert shown(sale) == [("trade", COIN, "USD", D(10))]
    await desk.consent(given=False)
    plain = await money(desk)
    assert (plain.converts, shown(plain)) == (False, [("trade", "USD", COIN, D("2020.00"))])


async def test_there_is_none_of_it_for_other_rails_and_other_times(desk: Desk) -> None:
    assert (await answer(desk, symbol=EQUITY)).money is None
    assert (await answer(desk, asof=datetime.now(UTC))).money is None
