"""Everything that looks like an access token and is none."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64encode

from adapters.identity.accounts import Accounts
from adapters.store.database import Database
from domain.access import SCOPES, Role
from domain.requests import Once
from models import Tenant
from settings import Settings
from stack.credentials import Credentials
from tests.api.logins import log_in

Behind = psycopg.AsyncConnection[Any]


async def bad_tokens(database: Database, settings: Settings, tenant_id: str, behind: Behind) -> dict[str, str | None]:
    """Authorization headers (None: none at all), each wrong in one way, that would open the tenant were they not."""
    tokens = {
        "garbage": "not-a-token",
        "three parts of garbage": "a.b.c",
        "very long": "x" * 10_000,
        **await _of_logins(database, settings, tenant_id, behind),
        **await _forged(database, settings, tenant_id),
        **await _keys(database, tenant_id, behind),
    }
    headers: dict[str, str | None] = {kind: f"Bearer {token}" for kind, token in tokens.items()}
    return {"none": None, "empty": "Bearer ", "of another scheme": "Basic b3duZXI6b3duZXI=", **headers}


async def _of_logins(database: Database, settings: Settings, tenant_id: str, behind: Behind) -> dict[str, str]:
    async def ended(statement: str, tenant_id: str = tenant_id) -> str:
        login = await log_in(database, settings, tenant_id, Role.OWNER)
        await behind.execute(statement, {"session": login.session_id, "user": login.subject, "tenant": tenant_id})
        return login.token

    closed = await _tenant(database)
    return {
        "expired": (await log_in(database, settings, tenant_id, Role.OWNER, ttl_s=-3_600)).token,
        "of a revoked login": await ended("UPDATE sessions SET revoked_at = now() WHERE session_id = %(session)s"),
        "of a login that is over": await ended("UPDATE sessions SET expires_at = now() WHERE session_id = %(session)s"),
        "of a removed user": await ended("UPDATE users SET status = 'removed' WHERE user_id = %(user)s"),
        "of a suspended tenant": await ended(
            "UPDATE tenants SET status = 'suspended' WHERE tenant_id = %(tenant)s", closed
        ),
    }


async def _forged(database: Database, settings: Settings, tenant_id: str) -> dict[str, str]:
    """All but one claim, or the signature, is as it must be."""
    assert settings.auth.signing_key is not None
    ours = json.loads(settings.auth.signing_key.get_secret_value())
    login = await log_in(database, settings, tenant_id, Role.OWNER)
    elsewhere = await log_in(database, settings, await _tenant(database), Role.OWNER)
    claims: dict[str, Any] = {
        "iss": settings.auth.issuer, "aud": settings.auth.audience, "sub": login.subject, "tenant_id": tenant_id,
        "role": "owner", "scope": " ".join(SCOPES[Role.OWNER]), "sid": login.session_id, "jti": str(uuid.uuid4()),
        "iat": int(datetime.now(UTC).timestamp()),
        "exp": int((datetime.now(UTC) + timedelta(hours=1)).timestamp()),
    }  # fmt: skip

    def token(jwk: Mapping[str, Any] = ours, typ: str = "at+jwt", **changes: Any) -> str:
        said = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        key = ECKey.import_key(dict(jwk))
        return jwt.encode({"alg": "ES256", "typ": typ, "kid": key.kid}, said, key, algorithms=["ES256"])

    payload = token().split(".")[1]
    unsigned = urlsafe_b64encode(json.dumps({"alg": "none", "typ": "at+jwt"}).encode()).decode()
    return {
        "tampered": f"{token()[:-8]}AAAAAAAA",
        "of another tenant's login": token(sid=elsewhere.session_id),
        "of an unknown login": token(sid="S-nobody"),
        "signed by somebody else": token(dict(Credentials().signing_key)),
        "for another audience": token(aud="another-api"),
        "of another issuer": token(iss="https://evil.example"),
        "an ID token": token(typ="JWT"),
        "without an end": token(exp=None),
        "unsigned": f"{unsigned}.{payload}.",
    }


async def _keys(database: Database, tenant_id: str, behind: Behind) -> dict[str, str]:
    accounts = Accounts(database)

    async def key(ending: str) -> str:
        once = [Once(route, uuid.uuid4().hex, "f" * 64) for route in ("create_service_account", "create_api_key")]
        account = await accounts.create(tenant_id, "program", ["vault:read"], actor="user:test", once=once[0])
        made = await accounts.create_key(tenant_id, account.row.account_id, None, actor="user:test", once=once[1])
        await behind.execute(ending, {"account": account.row.account_id, "key": made.row.key_id})
        assert made.key is not None
        return made.key

    return {
        "an unknown key": "vk_" + "x" * 43,
        "a revoked key": await key("UPDATE api_keys SET revoked_at = now() WHERE key_id = %(key)s"),
        "a key that is over": await key("UPDATE api_keys SET expires_at = now() WHERE key_id = %(key)s"),
        "a disabled account's key": await key(
            "UPDATE service_accounts SET disabled_at = now() WHERE account_id = %(account)s"
        ),
    }


async def _tenant(database: Database) -> str:
    tenant_id = uuid.uuid4()
    async with database.session(str(tenant_id)) as session:
        session.add(Tenant(tenant_id=tenant_id, name="Elsewhere"))
    return str(tenant_id)
