"""Signed callbacks over HTTP, on the real Postgres: who is believed, and what is stored of it."""

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.registry import Registry
from adapters.store.rotation import KeyRotation
from adapters.store.waves import WaveStore
from domain import signing
from domain.enrolment import ConfirmBy, NewFollower
from domain.ports import OutcomeKind, SendOutcome
from domain.replay import rebuild
from domain.requests import Once
from settings import Settings
from tests.adapters.store.orders import Floor
from tests.api.callbacks import Follower, a_fill
from tests.api.conftest import Caller, FakeOwners, problem


@dataclass
class Order:
    floor: Floor
    follower: Follower
    follower_id: str
    fo_id: str
    mo_id: str

    async def row(self) -> dict[str, Any]:
        [row] = await self.floor.rows("SELECT * FROM follower_orders WHERE fo_id = %s", self.fo_id)
        return row

    async def fills(self) -> dict[str, str]:
        rows = await self.floor.rows("SELECT fill_id, qty FROM fills WHERE fo_id = %s ORDER BY fill_id", self.fo_id)
        return {row["fill_id"].partition(":")[2]: str(row["qty"]) for row in rows}

    async def everything(self) -> list[int]:
        """How many rows there are of whatever a callback may write."""
        tables = ("fills", "positions", "audit_events", "confirmations")
        counts = [await self.floor.rows(f"SELECT count(*) AS n FROM {table}") for table in tables]
        return [rows[0]["n"] for rows in counts]


@pytest.fixture
async def floor(caller: Caller, database: Database, registry: Registry) -> Floor:
    made = Floor(database, registry, caller.tenant_id)
    await made.prepare()
    return made


@pytest.fixture
async def order(caller: Caller, floor: Floor, owners: FakeOwners) -> Order:
    """Ten, with a follower that calls back and has answered 2xx."""
    follower_id = f"F_{uuid.uuid4().hex[:12]}"
    new = NewFollower(
        floor.vault_id, follower_id, follower_id=follower_id, webhook_url="https://follower.example/hook",
        confirm_by=ConfirmBy.CALLBACK,
    )  # fmt: skip
    made = await floor.registry.create_follower(
        floor.tenant_id, new, actor="user:test", once=Once("test", uuid.uuid4().hex, "f")
    )
    assert made.signing_secret is not None
    mo_id = (await floor.admit()).mo_id
    page = await floor.page(mo_id)
    [pending] = await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))
    await DispatchStore(floor.database).record(floor.tenant_id, [(pending, SendOutcome(OutcomeKind.ACK, "ack"))])
    owners.woken.clear()
    http = httpx.AsyncClient(transport=caller.http._transport, base_url=caller.http.base_url)
    follower = Follower(http, signing.parse_secret(made.signing_secret))
    return Order(floor, follower, follower_id, pending.fo_id, mo_id)


async def test_fills_add_up_to_a_confirmed_order_and_its_owner_is_woken(order: Order, owners: FakeOwners) -> None:
    assert (await order.row())["state"] == "ack"
    first = await order.follower.call_back(order.fo_id, fills=[a_fill("a", "4")])
    assert (first.status_code, first.json()) == (
        200, {"fo_id": order.fo_id, "state": "partially_filled", "qty": "10", "filled_qty": "4"},
    )  # fmt: skip
    assert owners.woken == []
    rest = await order.follower.call_back(order.fo_id, fills=[a_fill("b", "6", "201")])
    assert rest.json()["state"] == "confirmed"
    assert [(woken.mo_id, woken.follower_id) for woken in owners.woken] == [(order.mo_id, order.follower_id)]
    assert await order.fills() == {"a": "4", "b": "6"}
    [held] = await order.floor.rows("SELECT qty FROM positions WHERE holder_id = %s", order.follower_id)
    assert held["qty"] == 10
    events = await order.floor.rows("SELECT * FROM audit_events WHERE mo_id = %s ORDER BY event_id", order.mo_id)
    rebuilt = rebuild(events)[order.fo_id]
    assert (rebuilt.state.value, rebuilt.filled_qty, rebuilt.booked) == ("confirmed", Decimal(10), Decimal(10))
    assert events[-1]["actor"] == f"follower:{order.follower_id}"


@pytest.mark.parametrize("forms", [("vanta",), ("standard",), ("vanta", "standard")])
async def test_either_form_of_signature_is_enough(order: Order, forms: tuple[str, ...]) -> None:
    order.follower.forms = forms
    answer = await order.follower.call_back(order.fo_id, status="confirmed")
    assert (answer.status_code, answer.json()["filled_qty"]) == (200, "10")


async def test_a_repeat_changes_nothing_under_its_id_and_under_another(order: Order) -> None:
    told: dict[str, Any] = {"fills": [a_fill("a", "4")]}
    await order.follower.call_back(order.fo_id, confirmation_id="msg_1", **told)
    before = await order.everything()
    again = await order.follower.call_back(order.fo_id, confirmation_id="msg_1", **told)
    assert (again.status_code, again.headers["idempotent-replay"]) == (200, "true")
    assert again.json()["filled_qty"] == "4"
    assert await order.everything() == before
    other = await order.follower.call_back(order.fo_id, confirmation_id="msg_2", **told)
    assert (other.status_code, other.json()["filled_qty"]) == (200, "4")
    reused = await order.follower.call_back(order.fo_id, confirmation_id="msg_1", fills=[a_fill("b", "1")])
    problem(reused, 422, "idempotency-key-reused")
    assert await order.fills() == {"a": "4"}


async def test_what_is_forged_old_or_about_another_order_is_refused_and_leaves_nothing(order: Order) -> None:
    before = await order.everything()
    genuine, now = order.follower, int(time.time())
    told: dict[str, Any] = {"fills": [a_fill("a", "4")]}
    stranger = Follower(genuine.http, b"k" * 32)
    refused = [
        await stranger.call_back(order.fo_id, **told),
        await genuine.call_back(order.fo_id, at=now - 301, **told),
        await genuine.call_back(order.fo_id, at=now + 302, **told),
        await genuine.call_back("FO-none", **told),
        await Follower(genuine.http, genuine.key, ()).call_back(order.fo_id, **told),
        await stranger.call_back("FO-none", **told),
    ]
    documents = [problem(answer, 401, "invalid-signature") for answer in refused]
    # Whether there is such an order does not show.
    assert len({(one["title"], one["detail"], tuple(sorted(one))) for one in documents}) == 1
    elsewhere = await genuine.call_back("FO-none", to=order.fo_id, **told)
    problem(elsewhere, 422, "invalid-input", "follower_order_id")
    assert await order.everything() == before


async def test_one_tampered_form_beside_a_good_one_is_refused(order: Order) -> None:
    body = b'{"follower_order_id": "%b", "status": "confirmed"}' % order.fo_id.encode()
    headers = signing.headers([order.follower.key], "msg_1", int(time.time()), body)
    headers[signing.VANTA_SIGNATURE] = "sha256=" + "0" * 64
    path = f"/v1/follower-orders/{order.fo_id}/confirmations"
    answer = await order.follower.http.post(path, content=body, headers=headers)
    problem(answer, 401, "invalid-signature")


async def test_both_keys_are_good_while_the_key_rotates_and_the_old_one_is_not_after(
    order: Order, database: Database, owner_execute: Callable[..., Awaitable[None]], caller: Caller, settings: Settings
) -> None:
    done = await KeyRotation(database, SecretBox(settings.secrets.master_keys.get_secret_value())).rotate(
        caller.tenant_id, order.follower_id, actor="user:test", once=Once("test", uuid.uuid4().hex, "f")
    )
    assert done.signing_secret is not None
    new = Follower(order.follower.http, signing.parse_secret(done.signing_secret))
    assert (await order.follower.call_back(order.fo_id, fills=[a_fill("a", "1")])).status_code == 200
    assert (await new.call_back(order.fo_id, fills=[a_fill("b", "1")])).status_code == 200
    await owner_execute(
        "UPDATE webhook_keys SET expires_at = now() WHERE key_ref LIKE %s AND version = 1", f"%{order.follower_id}"
    )
    problem(await order.follower.call_back(order.fo_id, fills=[a_fill("c", "1")]), 401, "invalid-signature")
    assert (await new.call_back(order.fo_id, fills=[a_fill("d", "1")])).status_code == 200


async def test_too_much_contradictions_and_nonsense_are_refused_by_name_and_leave_nothing(order: Order) -> None:
    call = order.follower.call_back
    await call(order.fo_id, fills=[a_fill("a", "4")])
    before = await order.everything()
    problem(await call(order.fo_id, fills=[a_fill("b", "7")]), 422, "invalid-input", "fills")
    problem(await call(order.fo_id, fills=[a_fill("a", "5")]), 409, "fill-differs", "fills")
    problem(await call(order.fo_id, status="confirmed"), 422, "invalid-input", "status")
    problem(await call(order.fo_id), 422, "invalid-input", "fills")
    problem(await call(order.fo_id, status="rejected"), 422, "invalid-input", "reason")
    problem(await call(order.fo_id, fills=[a_fill("b", "0")]), 422, "invalid-input", "fills.0.qty")
    problem(await call(order.fo_id, fills=[{**a_fill("b", "1"), "qty": 1}]), 422, "invalid-input", "fills.0.qty")
    problem(await call(order.fo_id, fills=[a_fill("b", "1")] * 2), 422, "invalid-input", "fills")
    problem(await call(order.fo_id, note="x", status="confirmed"), 422, "invalid-input", "note")
    problem(await call(order.fo_id, raw=b"{"), 400, "malformed-json", "body")
    assert await order.everything() == before
    done = await call(order.fo_id, status="rejected", reason="no borrow")
    assert done.json()["state"] == "cancelled"
    row = await order.row()
    assert (row["filled_qty"], row["reason"]) == (4, "no borrow")
    problem(await call(order.fo_id, fills=[a_fill("c", "1")]), 409, "order-ended", "fo_id")
    assert (await call(order.fo_id, status="rejected", reason="no borrow")).status_code == 200


async def test_the_setting_is_given_shown_and_changed_over_the_api(caller: Caller) -> None:
    vault = await caller.vault()
    hook = {"url": "https://follower.example/", "confirm_by": "callback"}
    made = await caller.post(f"/v1/vaults/{vault}/followers", {"label": "Bob", "webhook": hook})
    assert made.json()["webhook"]["confirm_by"] == "callback"
    path = f"/v1/followers/{made.json()['follower_id']}"
    changed = await _patched(caller, path, {"confirm_by": "ack"})
    assert changed.json()["webhook"]["confirm_by"] == "ack"
    shadow = await caller.post(f"/v1/vaults/{vault}/followers", {"label": "Eve", "mode": "shadow"})
    answer = await _patched(caller, f"/v1/followers/{shadow.json()['follower_id']}", {"confirm_by": "callback"})
    problem(answer, 422, "invalid-input", "confirm_by")


async def _patched(caller: Caller, path: str, body: dict[str, str]) -> httpx.Response:
    return await caller.http.patch(path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
