"""Who calls and what he may do: the one table of roles and their scopes."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.errors import InvalidInput


class Role(StrEnum):
    """What a member of a tenant is; a follower is none and sees only itself."""

    OWNER = "owner"
    OPS = "ops"
    AUDITOR = "auditor"
    FOLLOWER = "follower"


class TenantStatus(StrEnum):
    """`SUSPENDED`: none of its people and programs is let in; what is under way goes on."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class Scope(StrEnum):
    """What a token allows. `ADMIN` is the platform's own: no role of a tenant has it."""

    VAULT_READ = "vault:read"
    MIRROR_MANAGE = "mirror:manage"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    FOLLOWER_MANAGE = "follower:manage"
    FOLLOWER_SELF = "follower:self"
    BILLING_READ = "billing:read"
    BILLING_MANAGE = "billing:manage"
    AUDIT_READ = "audit:read"
    TENANT_MANAGE = "tenant:manage"
    ADMIN = "admin"


_S = Scope
_READS = frozenset({_S.VAULT_READ, _S.ORDERS_READ, _S.AUDIT_READ})
_OPERATES = _READS | {_S.MIRROR_MANAGE, _S.ORDERS_WRITE, _S.FOLLOWER_MANAGE}
SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.OWNER: _OPERATES | {_S.BILLING_READ, _S.BILLING_MANAGE, _S.TENANT_MANAGE},
    Role.OPS: _OPERATES,
    Role.AUDITOR: _READS | {_S.BILLING_READ},
    Role.FOLLOWER: frozenset({_S.FOLLOWER_SELF}),
}
MEMBERS = frozenset(Role) - {Role.FOLLOWER}
# What programs can be given: none makes accounts or keys for others, and none is a follower.
GRANTABLE = frozenset(Scope) - {_S.ADMIN, _S.TENANT_MANAGE, _S.FOLLOWER_SELF}


MAX_EMAIL = 254
# What is an address is for the provider to say, who has verified it; this keeps out what would be read as two.
EMAIL = r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$"


def check_email(email: str) -> str:
    """As it is. Raises InvalidInput."""
    if len(email) > MAX_EMAIL or re.fullmatch(EMAIL, email) is None:
        raise InvalidInput("email", "must be an e-mail address")
    return email


def shrinks(before: Role, after: Role) -> bool:
    """Whether something that the old role allows is not allowed by the new one."""
    return not SCOPES[before] <= SCOPES[after]


def granted(wanted: Collection[str], giver: Collection[str]) -> list[str]:
    """The scopes of a new service account, sorted. Raises InvalidInput: nobody gives what he does not have."""
    if not wanted:
        raise InvalidInput("scopes", "must name at least one scope")
    for scope in sorted(wanted):
        if scope not in GRANTABLE:
            raise InvalidInput("scopes", f"{scope[:40]} cannot be given to a service account")
        if scope not in giver:
            raise InvalidInput("scopes", f"you do not have {scope} yourself")
    return sorted(set(wanted))


class Kind(StrEnum):
    """What a caller is; audit events name him by kind and subject."""

    USER = "user"
    FOLLOWER = "follower"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, for which tenant. `actor` is what audit events name.

    `session_id`: of the login that his token comes from; None for API keys, and for tokens that are minted for trials
    on the embedded stack. `follower_id`: of a follower, who sees nothing but what is his.
    """

    subject: str
    tenant_id: str
    scopes: frozenset[str]
    kind: Kind = Kind.USER
    role: Role | None = None
    session_id: str | None = None
    follower_id: str | None = None

    @property
    def actor(self) -> str:
        return f"{self.kind}:{self.subject}"
