"""A tenant that has one of everything, each made as users and workflows make it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from adapters.store.admission import AdmissionStore
from adapters.store.expansion import ExpansionStore
from adapters.store.settlement import SettlementStore
from domain import ids
from domain.access import Role
from domain.admission import Intent
from domain.mirroring import MirrorOrderInput
from domain.orders import Side
from models import DeadLetter
from tests.adapters.store.orders import UNLIMITED
from tests.api.billing import Till
from tests.api.conftest import Caller
from tests.api.test_reconciling import done

_NOBODY = "http://127.0.0.1:9/hook"  # refused at once


@dataclass(frozen=True)
class Tenant:
    """`ids`: one of everything, by the names of the contract's path parameters, and some more. `mark`: in its texts."""

    tenant_id: str
    mark: str
    ids: dict[str, Any]


async def tenant(caller: Caller, mark: str) -> Tenant:
    """`caller` has every scope."""
    found: dict[str, Any] = {"which": "equities"}
    for name in ("vault_id", "empty_vault_id", "quiet_vault_id"):
        found[name] = await _made(caller, "/v1/vaults", "vault_id", {"label": mark, "nav_usd": "1000000"})
    vault_id = found["vault_id"]
    await _followers(caller, found, mark)
    await _orders(caller, found)
    path = f"/v1/vaults/{vault_id}/overlay"
    for name in ("overlay_id", "ending_overlay_id"):
        flip = {"kind": "flip", "ttl_minutes": 45, "persona": "ares", "amplify": "0.35", "reason": mark}
        found[name] = await _made(caller, path, "overlay_id", flip)
    halt = {"scope": "vault", "id": vault_id, "level": "halt_opens", "reason": mark}
    found["halt_id"] = await _made(caller, "/v1/halts", "halt_id", halt)
    found["run_id"] = await done(caller, vault_id, drifts=1)
    await _members(caller, found, mark)
    found["invoice_id"] = (await Till.of(caller.database).subscribe(caller.tenant_id, coupon=mark)).invoice_id
    return Tenant(caller.tenant_id, mark, found)


async def _made(caller: Caller, path: str, field: str, body: Any) -> str:
    answer = await caller.post(path, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()[field])


async def _followers(caller: Caller, found: dict[str, Any], mark: str) -> None:
    path = f"/v1/vaults/{found['vault_id']}/followers"
    for name in ("follower_id", "rotating_follower_id"):
        body = {"label": mark, "webhook": {"url": "https://follower.example/hook"}}
        found[name] = await _made(caller, path, "follower_id", body)
    account = {"venue": "alpaca", "key_id": "KEY-0", "secret": "a secret"}
    body = {"label": mark, "bridged_brokers": {"equities": account}}
    found["bridged_follower_id"] = await _made(caller, path, "follower_id", body)
    async with caller.database.cursor(caller.tenant_id) as cursor:
        await cursor.execute(
            "UPDATE followers SET webhook = jsonb_set(webhook, '{url}', to_jsonb(%s::text)) "
            "WHERE tenant_id = %s AND follower_id = %s",
            [_NOBODY, caller.tenant_id, found["follower_id"]],
        )


async def _placed(caller: Caller, vault_id: str) -> str:
    mo_id = ids.manager_order_id(caller.tenant_id, f"of {vault_id}")
    intent = Intent(vault_id, "AAPL", Side.BUY, Decimal(10), reference_price=Decimal(200))
    order = MirrorOrderInput(caller.tenant_id, mo_id, intent, {}, "f" * 64, "api", "user:test")
    store = AdmissionStore(
        caller.database, UNLIMITED, page_size=500, max_notional_usd=Decimal(10**7), max_qty=Decimal(10**6)
    )
    assert (await store.admit(order, datetime.now(UTC))).accepted
    return mo_id


async def _orders(caller: Caller, found: dict[str, Any]) -> None:
    """One that is under way and has a dead letter, and one without followers, which is over at once."""
    mo_id = found["mo_id"] = await _placed(caller, found["vault_id"])
    await ExpansionStore(caller.database).expand(caller.tenant_id, mo_id, 0)
    found["settled_mo_id"] = await _placed(caller, found["quiet_vault_id"])
    await SettlementStore(caller.database).settle(caller.tenant_id, found["settled_mo_id"])
    rows = (await caller.get("/v1/follower-orders", follower_id=found["follower_id"])).json()["items"]
    fo_id = found["fo_id"] = rows[0]["fo_id"]
    who: Any = {"tenant_id": caller.tenant_id, "fo_id": fo_id, "follower_id": found["follower_id"]}
    async with caller.database.session(caller.tenant_id) as session:
        letter = DeadLetter(**who, mo_id=mo_id, reason="retries_exhausted", context={"vault_id": found["vault_id"]})
        session.add(letter)
        await session.flush()
        found["dead_letter_id"] = letter.dead_letter_id


async def _members(caller: Caller, found: dict[str, Any], mark: str) -> None:
    for name in ("user_id", "leaving_user_id"):
        found[name] = (await caller.login(Role.AUDITOR)).subject
    guest = {"email": f"{mark}@example.test".lower(), "role": "ops"}
    found["invitation_id"] = await _made(caller, "/v1/invitations", "invitation_id", guest)
    for name in ("account_id", "closing_account_id"):
        program = {"name": mark, "scopes": ["orders:read"]}
        found[name] = await _made(caller, "/v1/service-accounts", "account_id", program)
    found["key_id"] = await _made(caller, f"/v1/service-accounts/{found['account_id']}/keys", "key_id", {})
