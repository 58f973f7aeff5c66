"""Logins for tests, without the way over a provider: a user or follower with a session, and the session's token."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapters.store.database import Database
from adapters.tokens import mint
from domain.access import SCOPES, Role
from models import Session, User
from settings import Settings


@dataclass(frozen=True, slots=True)
class Login:
    """`subject` is the user's id, or the follower's; the token counts for as long as the session does."""

    token: str
    session_id: str
    subject: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


async def log_in(
    database: Database,
    settings: Settings,
    tenant_id: str,
    role: Role,
    *,
    user_id: str | None = None,
    follower_id: str | None = None,
    scopes: Iterable[str] | None = None,
    ttl_s: int = 3_600,
) -> Login:
    """A new user of the role, or the one or the follower that is named; `scopes`: what the token says, else all."""
    tenant, session_id = uuid.UUID(tenant_id), f"S-{uuid.uuid4().hex}"
    subject = follower_id or user_id or str(uuid.uuid4())
    user = None if follower_id else uuid.UUID(subject)
    async with database.session(tenant_id) as session:
        if user is not None and user_id is None:
            session.add(User(user_id=user, tenant_id=tenant, email=f"{user.hex}@example.test", role=role))
            await session.flush()
        expires = datetime.now(UTC) + timedelta(hours=12)
        session.add(
            Session(session_id=session_id, tenant_id=tenant, user_id=user, follower_id=follower_id, expires_at=expires)
        )
    key = settings.auth.signing_key
    assert key is not None
    token = mint(
        json.loads(key.get_secret_value()),
        issuer=settings.auth.issuer,
        audience=settings.auth.audience,
        subject=subject,
        tenant_id=tenant,
        role=role,
        scopes=SCOPES[role] if scopes is None else scopes,
        ttl_s=ttl_s,
        now=datetime.now(UTC),
        session_id=session_id,
    )
    return Login(token, session_id, subject)
