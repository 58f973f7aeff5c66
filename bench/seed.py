"""A vault with N webhook followers that share one signing key, stored in bulk."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal

from adapters.secretbox import SecretBox
from adapters.store.database import Database, jsonb
from adapters.store.registry import Registry
from domain import ids
from domain.enrolment import NewVault
from domain.requests import Once
from models import Instrument, Price

ACTOR = "system:bench"
SYMBOL = "BENCH"

_FOLLOWERS = """
INSERT INTO followers (follower_id, tenant_id, subscriber_tenant_id, vault_id, mode, scale, webhook)
SELECT x.follower_id, %(tenant)s, %(tenant)s, %(vault)s, 'proportional', 1,
  jsonb_build_object('url', %(url)s || '/' || x.follower_id, 'hmac_key_ref', x.key_ref)
FROM jsonb_to_recordset(%(rows)s) AS x(follower_id text, key_ref text)
"""
_KEYS = """
INSERT INTO webhook_keys (key_ref, version, tenant_id, key_id, sealed)
SELECT x.key_ref, 1, %(tenant)s, x.key_id, decode(x.sealed, 'hex')
FROM jsonb_to_recordset(%(rows)s) AS x(key_ref text, key_id text, sealed text)
"""


async def tenant(registry: Registry) -> str:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Bench", actor=ACTOR)
    instrument = Instrument(
        symbol=SYMBOL, venue="XNAS", rail="fiat", qty_step=Decimal(1), fine_step=Decimal(1), min_qty=Decimal(0),
        min_notional=Decimal(0), tradable=True,
    )  # fmt: skip
    await registry.upsert_instrument(instrument)
    await registry.upsert_price(Price(symbol=SYMBOL, price=Decimal(100), asof=datetime.now(UTC), source="bench"))
    return tenant_id


async def vault(
    registry: Registry, database: Database, box: SecretBox, *, tenant_id: str, followers: int, sink: str, key: bytes
) -> str:
    """The id of a vault whose `followers` all listen at `sink`."""
    label = f"bench {followers} {uuid.uuid4().hex[:6]}"
    # The benchmark places the same order again and again.
    new = NewVault(label=label, nav_usd=Decimal(1_000_000), risk_profile={"duplicate_window_s": 0})
    made = await registry.create_vault(tenant_id, new, actor=ACTOR, once=Once("bench", label, "0" * 64))
    vault_id = made.row.vault_id
    rows = []
    for number in range(followers):
        follower_id = f"F_{vault_id[-8:]}_{number:05d}"
        ref = ids.webhook_key_ref(follower_id)
        key_id, sealed = box.seal(key, aad=ref)
        rows.append({"follower_id": follower_id, "key_ref": ref, "key_id": key_id, "sealed": sealed.hex()})
    async with database.cursor(tenant_id) as cursor:
        cursor.filtered = False
        keys = {"tenant": tenant_id, "vault": vault_id, "url": sink, "rows": jsonb(rows)}
        await cursor.execute(_FOLLOWERS, keys)
        await cursor.execute(_KEYS, keys)
    return vault_id
