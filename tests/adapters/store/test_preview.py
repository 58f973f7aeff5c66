"""A preview equals, byte for byte, what an order would have got: now, and later as of then."""

import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from adapters.store.database import Database
from adapters.store.door import Door
from adapters.store.expansion import ExpansionStore
from adapters.store.marks import MarkStore
from adapters.store.overlays import OverlayStore
from adapters.store.preview import Preview, PreviewStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from domain.admission import Halt
from domain.errors import InvalidInput, NotFound
from domain.flip_mode import EndOverlay, StartOverlay
from domain.guards import Stop
from domain.mirroring import FLATTEN
from domain.orders import FollowerState
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params
from domain.ports import OutcomeKind, PriceQuote, SendOutcome
from domain.requests import Once
from domain.sizing import Mode, plain
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import UNLIMITED, Floor, admission_store, manager_order
from tests.adapters.store.test_freezing import ACK, SILENT, deliver
from tests.adapters.store.test_vault_worth import new_symbol

D = Decimal
LATE = SendOutcome(OutcomeKind.RETRYABLE, "http_503", http_status=503)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


def order_of(symbol: str, side: str = "buy", qty: str = "10", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "side": side, "qty": qty, **more}


async def preview(floor: Floor, follower: str, order: dict[str, Any], asof: datetime | None = None) -> Preview:
    store = PreviewStore(floor.database, Door(max_notional_usd=D(10_000_000), max_qty=D(1_000_000)), UNLIMITED)
    return await store.preview(floor.tenant_id, follower, order, asof)


def whole(found: Preview) -> bytes:
    """All of it, in bytes."""
    legs = [leg.row() | {"fo_id": None} for leg in found.legs]
    facts = found.snapshot, found.terms, found.asof, found.vault_id
    return orjson.dumps([asdict(found.verdict), legs, found.stop and asdict(found.stop), *facts], default=str)


def sizes(rows: list[dict[str, Any]]) -> bytes:
    """What a follower order is, in bytes."""
    names = "leg", "symbol", "side", "qty", "cap_applied", "carry", "state", "reason", "route", "trace"
    shown = [{name: row[name] for name in names} for row in sorted(rows, key=lambda row: row["leg"])]
    exact = [{**row, "qty": plain(D(row["qty"])), "carry": plain(D(row["carry"]))} for row in shown]
    return orjson.dumps(exact, option=orjson.OPT_SORT_KEYS)  # jsonb keeps names in an order of its own


async def admit(floor: Floor, order: dict[str, Any]) -> str | None:
    """The id, unless it is refused."""
    placed = manager_order(floor.tenant_id, floor.vault_id, **order)
    admission = await admission_store(floor.database).admit(placed, datetime.now(UTC))
    return admission.mo_id if admission.accepted else None


async def place(floor: Floor, order: dict[str, Any]) -> str | None:
    """The same, and its page is stored."""
    mo_id = await admit(floor, order)
    if mo_id is not None:
        await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    return mo_id


async def got(floor: Floor, mo_id: str, follower: str) -> list[dict[str, Any]]:
    return await floor.rows("SELECT * FROM follower_orders WHERE mo_id = %s AND follower_id = %s", mo_id, follower)


async def deliver_all(floor: Floor, mo_id: str) -> None:
    for row in await floor.rows("SELECT fo_id FROM follower_orders WHERE mo_id = %s ORDER BY leg", mo_id):
        await deliver(floor, row["fo_id"])
    await SettlementStore(floor.database).settle(floor.tenant_id, mo_id)


async def test_an_order_gets_what_its_preview_said_and_so_does_the_preview_as_of_then(floor: Floor):
    symbol = await new_symbol(floor, "200")
    follower = await floor.follower(scale=D("0.15"), max_pos_usd=D(2_000), persona="athena")
    await deliver_all(floor, str(await place(floor, order_of(symbol, qty="33"))))
    order = order_of(
        symbol, qty="57", meta={"conviction": {"score": D("0.7"), "overrides": {"risk_averse": D("0.25")}}}
    )
    before = await preview(floor, follower, order)
    mo_id = await place(floor, order)
    assert mo_id is not None
    assert sizes(await got(floor, mo_id, follower)) == sizes([leg.row() for leg in before.legs])
    assert before.legs[0].qty > 0
    await deliver_all(floor, mo_id)
    await floor.registry.update_follower(
        floor.tenant_id, follower, {"mode": Mode.SHADOW, "scale": D(3), "max_pos_usd": None, "persona": "apollo"},
        actor=ACTOR,
    )  # fmt: skip
    marks = MarkStore(floor.database, max_age=timedelta(days=1), event_bps=D(10))
    await marks.record({symbol: PriceQuote(D(111), datetime.now(UTC), "test")})
    await deliver_all(floor, str(await place(floor, order_of(symbol, "sell", "90"))))
    assert whole(await preview(floor, follower, order)) != whole(before)
    assert whole(await preview(floor, follower, order, before.asof)) == whole(before)


async def test_what_would_be_refused_is_said_with_its_size_all_the_same(floor: Floor):
    symbol = await new_symbol(floor, "200", timedelta(days=2))
    follower = await floor.follower(scale=D("0.5"))
    found = await preview(floor, follower, order_of(symbol))
    assert (found.verdict.accepted, found.verdict.code, found.verdict.effect) == (False, "stale-price", "open")
    assert [leg.qty for leg in found.legs] == [5]
    await deliver_all(floor, str(await place(floor, order_of(symbol, meta={"reference_price": "200"}))))
    crossing = await preview(floor, follower, order_of(symbol, "sell", "11", meta={"reference_price": "200"}))
    assert (crossing.verdict.code, crossing.verdict.effect, crossing.legs) == ("crosses-zero", None, ())


async def test_what_would_stop_it_at_the_moment_of_sending_is_said(floor: Floor):
    symbol, follower = await new_symbol(floor, "200"), await floor.follower()
    before = await preview(floor, follower, order_of(symbol))
    assert before.stop is None
    new = NewOverlay(OverlayKind.HALT, floor.vault_id, follower, params=Params(level=Halt.HALT_OPENS), reason="test")
    start = StartOverlay(floor.tenant_id, f"O_{uuid.uuid4().hex}", new, Once("start", "halt", "f"), ACTOR)
    await OverlayStore(floor.database).start(start)
    found = await preview(floor, follower, order_of(symbol))
    assert (found.verdict.accepted, found.stop) == (True, Stop(FollowerState.KILLED, "vault_halt_opens"))
    assert (await preview(floor, follower, order_of(symbol), before.asof)).stop is None


@pytest.mark.parametrize("level", ["halt_opens", "halt_all"])
async def test_a_halt_of_the_tenant_or_of_everything_is_one_of_the_vault(floor: Floor, level: str):
    symbol, follower = await new_symbol(floor, "200"), await floor.follower()
    before = await preview(floor, follower, order_of(symbol))
    start = StartOverlay(
        floor.tenant_id, f"O_{uuid.uuid4().hex}",
        NewOverlay(OverlayKind.HALT, None, params=Params(level=Halt(level)), reason="test"),
        Once("start", level, "f"), ACTOR,
    )  # fmt: skip
    await OverlayStore(floor.database).start(start)
    assert (await preview(floor, follower, order_of(symbol))).verdict.code == "vault-halted"
    assert await admit(floor, order_of(symbol)) is None
    await OverlayStore(floor.database).end(EndOverlay(floor.tenant_id, start.overlay_id, EndReason.LIFTED, ACTOR))
    assert (await preview(floor, follower, order_of(symbol))).verdict.accepted
    halt_id = f"H_{uuid.uuid4().hex}"
    await floor.rows(
        "INSERT INTO platform_halts (halt_id, level, reason, actor) VALUES (%s, %s, '', 't')", halt_id, level
    )
    try:
        halted = await preview(floor, follower, order_of(symbol))
        assert halted.verdict.code == "vault-halted"
    finally:
        await floor.rows("UPDATE platform_halts SET ended_at = now() WHERE halt_id = %s", halt_id)
    assert (await preview(floor, follower, order_of(symbol))).verdict.accepted
    assert whole(await preview(floor, follower, order_of(symbol), halted.asof)) == whole(halted)
    assert whole(await preview(floor, follower, order_of(symbol), before.asof)) == whole(before)


async def test_nothing_is_stored(floor: Floor):
    follower = await floor.follower()
    symbol = await new_symbol(floor, "200")

    async def counts() -> list[dict[str, Any]]:
        tables = "manager_orders", "snapshots", "snapshot_pages", "follower_orders", "audit_events", "row_history"
        return await floor.rows("SELECT " + ", ".join(f"(SELECT count(*) FROM {t}) AS {t}" for t in tables))

    before = await counts()
    now = (await preview(floor, follower, order_of(symbol))).asof
    await preview(floor, follower, order_of(symbol), now)
    assert await counts() == before


async def test_a_follower_is_not_found_before_it_was_there_nor_by_others(floor: Floor, registry: Registry):
    symbol = await new_symbol(floor, "200")
    early = (await preview(floor, await floor.follower(), order_of(symbol))).asof
    follower = await floor.follower()
    with pytest.raises(NotFound):
        await preview(floor, follower, order_of(symbol), early)
    stranger = str(uuid.uuid4())
    await registry.ensure_tenant(stranger, "Stranger", actor=ACTOR)
    for asof in (None, datetime.now(UTC)):
        with pytest.raises(NotFound):
            await preview(Floor(floor.database, registry, stranger), follower, order_of(symbol), asof)


async def test_the_future_is_not_known(floor: Floor):
    follower, symbol = await floor.follower(), await new_symbol(floor, "200")
    with pytest.raises(InvalidInput) as refused:
        await preview(floor, follower, order_of(symbol), datetime.now(UTC) + timedelta(minutes=1))
    assert refused.value.field == "asof"


@pytest.mark.parametrize(("field", "more"), [("symbol", {"symbol": "NOSUCH"}), ("qty", {"qty": "-1"})])
async def test_what_is_no_order_is_named(floor: Floor, field: str, more: dict[str, str]):
    follower, symbol = await floor.follower(), await new_symbol(floor, "200")
    with pytest.raises(InvalidInput) as refused:
        await preview(floor, follower, {**order_of(symbol), **more})
    assert refused.value.field == field


@dataclass
class Life:
    """Orders, deliveries, prices, settings, overlays and money, as they come; previews taken on the way."""

    floor: Floor
    dice: random.Random
    symbols: list[str] = field(default_factory=list)
    followers: list[str] = field(default_factory=list)
    overlays: list[str] = field(default_factory=list)
    placed: list[str] = field(default_factory=list)
    unstored: dict[str, list[Preview]] = field(default_factory=dict)
    previews: list[tuple[str, dict[str, Any], Preview]] = field(default_factory=list)
    compared: int = 0

    async def begin(self) -> None:
        self.symbols = [await new_symbol(self.floor, price) for price in ("200", "35.5", "100")]
        profile = {"hedge": {"symbol": self.symbols[2], "ratio": "0.5"}, "allow_short": True, "duplicate_window_s": 0}
        await self.floor.rows(
            "UPDATE vaults SET risk_profile = %s::jsonb WHERE vault_id = %s",
            orjson.dumps(profile).decode(), self.floor.vault_id,
        )  # fmt: skip
        for terms in (
            {"scale": D("0.15"), "persona": "athena"},
            {"scale": D("0.37"), "fractional": True, "persona": "nemesis"},
            {"scale": D("0.5"), "max_pos_usd": D(3_000), "mode": Mode.CAPPED, "persona": "ares",
             "webhook_url": "https://follower.example/hook"},
        ):  # fmt: skip
            self.followers.append(await self.floor.follower(**terms))
        await self.floor.rows("UPDATE followers SET allow_short = true WHERE vault_id = %s", self.floor.vault_id)

    async def live(self, steps: int) -> None:
        doings: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self.look), (4, self.order), (1, self.store), (1, self.flatten), (5, self.deliver), (2, self.settle),
            (1, self.cancel), (2, self.price), (2, self.settings), (2, self.overlay), (1, self.end_overlay),
            (1, self.funds), (1, self.adopt),
        ]  # fmt: skip
        for _ in range(steps):
            [doing] = self.dice.choices([d for _, d in doings], [w for w, _ in doings])
            await doing()

    def _order(self) -> dict[str, Any]:
        order = order_of(self.dice.choice(self.symbols[:2]), self.dice.choice(["buy", "buy", "sell"]))
        order["qty"] = str(self.dice.randint(1, 60))
        if self.dice.random() < 0.5:
            override = {
                self.dice.choice(["risk_averse", "contrarian", "hedged"]): D(self.dice.choice(["-0.4", "0.25", "1"]))
            }
            order["meta"] = {"conviction": {"score": D(self.dice.randint(0, 100)) / 100, "overrides": override}}
        return order

    async def look(self) -> None:
        follower, order = self.dice.choice(self.followers), self._order()
        self.previews.append((follower, order, await preview(self.floor, follower, order)))

    async def order(self) -> None:
        """Looked at for each follower before it is placed."""
        order = self._order()
        said = [await preview(self.floor, follower, order) for follower in self.followers]
        mo_id = await admit(self.floor, order)
        self.previews += [(f, order, found) for f, found in zip(self.followers, said, strict=True)]
        assert {found.verdict.accepted for found in said} == {mo_id is not None}
        if mo_id is not None:
            self.unstored[mo_id] = said
            if self.dice.random() < 0.6:
                await self.store()

    async def store(self) -> None:
        """What followers get, whatever has happened since, is what they were told before."""
        for mo_id, said in self.unstored.items():
            await ExpansionStore(self.floor.database).expand(self.floor.tenant_id, mo_id, 0)
            for follower, found in zip(self.followers, said, strict=True):
                rows = await got(self.floor, mo_id, follower)
                assert sizes(rows) == sizes([leg.row() for leg in found.legs])
                self.compared += 1
            self.placed.append(mo_id)
        self.unstored.clear()

    async def flatten(self) -> None:
        """By the kill path: the followers' positions go, the vault's stays."""
        order = manager_order(
            self.floor.tenant_id, self.floor.vault_id, self.dice.choice(self.symbols[:2]), side="sell", kind=FLATTEN
        )
        await admission_store(self.floor.database).admit(order, datetime.now(UTC))
        await ExpansionStore(self.floor.database).expand(self.floor.tenant_id, order.mo_id, 0)
        self.placed.append(order.mo_id)

    async def deliver(self) -> None:
        due = await self.floor.rows(
            "SELECT fo_id FROM follower_orders WHERE mo_id = ANY(%s) AND state IN ('sized', 'retry', 'unknown') "
            "ORDER BY fo_id", self.placed,
        )  # fmt: skip
        for row in self.dice.sample(due, min(len(due), 3)):
            await deliver(self.floor, row["fo_id"], self.dice.choice([ACK, ACK, ACK, SILENT, LATE]))

    async def settle(self) -> None:
        if self.placed:
            mo_id = self.dice.choice(self.placed)
            [left] = await self.floor.rows(
                "SELECT count(*) AS n FROM follower_orders WHERE mo_id = %s AND state IN ('sized', 'retry', 'unknown')",
                mo_id,
            )
            if left["n"] == 0:
                await SettlementStore(self.floor.database).settle(self.floor.tenant_id, mo_id)

    async def cancel(self) -> None:
        if self.placed:
            mo_id = self.dice.choice(self.placed)
            await SettlementStore(self.floor.database).cancel(self.floor.tenant_id, mo_id, ACTOR)

    async def adopt(self) -> None:
        """As reconciliation does: the follower has sold some by hand."""
        held = await self.floor.rows(
            "SELECT o.fo_id, h.qty FROM positions h JOIN follower_orders o ON o.follower_id = h.holder_id "
            "AND o.symbol = h.symbol AND o.state = 'confirmed' WHERE h.holder_id = ANY(%s) AND h.qty >= 1 "
            "ORDER BY o.fo_id", self.followers,
        )  # fmt: skip
        if held:
            await self.floor.rows(
                "WITH n AS (INSERT INTO fills (fill_id, tenant_id, fo_id, follower_id, symbol, side, qty, source) "
                "SELECT %s, tenant_id, fo_id, follower_id, symbol, 'sell', 1, 'adopted' FROM follower_orders "
                "WHERE fo_id = %s RETURNING *) UPDATE positions h SET qty = h.qty - 1 FROM n "
                "WHERE h.holder_id = n.follower_id AND h.symbol = n.symbol",
                uuid.uuid4().hex, self.dice.choice(held)["fo_id"],
            )  # fmt: skip

    async def price(self) -> None:
        price = D(self.dice.randint(300, 30_000)) / 100
        marks = MarkStore(self.floor.database, max_age=timedelta(days=1), event_bps=D(10))
        await marks.record({self.dice.choice(self.symbols): PriceQuote(price, datetime.now(UTC), "test")})

    async def settings(self) -> None:
        changes: dict[str, Any] = self.dice.choice(
            [
                {"scale": D(self.dice.randint(1, 90)) / 100},
                {"max_pos_usd": D(self.dice.randint(500, 9_000))},
                {"kill_switch": self.dice.random() < 0.3},
                {"persona": self.dice.choice(["athena", "apollo", "ares", "nemesis", None])},
            ]
        )
        follower = self.dice.choice(self.followers)
        await self.floor.registry.update_follower(self.floor.tenant_id, follower, changes, actor=ACTOR)

    async def overlay(self) -> None:
        follower = self.dice.choice([*self.followers, None])
        persona = self.dice.choice(["athena", "apollo", "ares"])
        kind, params, ttl = self.dice.choice(
            [
                (OverlayKind.FLIP, Params(persona=persona, amplify=D("0.35")), timedelta(minutes=30)),
                (OverlayKind.FLIP, Params(amplify=D("-0.2")), timedelta(minutes=45)),
                (OverlayKind.BOOST, Params(persona=persona, delta=D("0.15")), timedelta(hours=1)),
                (OverlayKind.HALT, Params(level=self.dice.choice([Halt.HALT_OPENS, Halt.HALT_ALL])), None),
                (OverlayKind.MAINTENANCE, Params(), None),
            ]
        )
        vault = None if kind is OverlayKind.HALT and follower is None else self.floor.vault_id  # None: the tenant
        new = NewOverlay(kind, vault, follower, ttl=ttl, params=params, reason="test")
        overlay_id, key = f"O_{uuid.uuid4().hex}", uuid.uuid4().hex
        start = StartOverlay(self.floor.tenant_id, overlay_id, new, Once("start", key, "f"), ACTOR)
        await OverlayStore(self.floor.database).start(start)
        self.overlays.append(overlay_id)

    async def end_overlay(self) -> None:
        while self.overlays:
            end = EndOverlay(self.floor.tenant_id, self.overlays.pop(), EndReason.CANCELLED, ACTOR)
            await OverlayStore(self.floor.database).end(end)

    async def funds(self) -> None:
        await self.floor.rows(
            "UPDATE followers SET funds_usd = %s, funds_asof = now() WHERE follower_id = %s",
            self.dice.choice([None, D(500), D(5_000)]), self.dice.choice(self.followers),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_a_preview_holds_now_and_later(floor: Floor, seed: int):
    life = Life(floor, random.Random(seed))
    await life.begin()
    await life.live(60)
    assert life.compared >= 3
    assert len(life.previews) >= 10
    for number, (follower, order, then) in enumerate(life.previews):
        now = await preview(floor, follower, order, then.asof)
        assert whole(now) == whole(then), f"preview {number} of {order} at {then.asof}"
