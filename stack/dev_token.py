"""Access tokens for trials on the embedded stack; production gets its tokens from the identity provider."""

import json
import uuid
from datetime import UTC, datetime

from adapters.tokens import mint
from domain.access import Role
from settings import Settings
from stack.errors import StackError


def dev_token(
    settings: Settings, *, tenant_id: uuid.UUID, role: str, scopes: str, subject: str = "developer", ttl_s: int = 3_600
) -> str:
    """Mint with the stack's signing key; `scopes` are separated by spaces. Raises StackError outside the profile."""
    key = settings.auth.signing_key
    if not settings.is_embedded or key is None:
        raise StackError("dev-token works in the embedded profile only; get a token from your identity provider")
    if role not in list(Role):
        raise StackError(f"no role {role!r}; there are: {', '.join(Role)}")
    return mint(
        json.loads(key.get_secret_value()),
        issuer=settings.auth.issuer,
        audience=settings.auth.audience,
        subject=subject,
        tenant_id=tenant_id,
        role=Role(role),
        scopes=scopes.split(),
        ttl_s=ttl_s,
        now=datetime.now(UTC),
    )
